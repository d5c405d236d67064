"""Papers from arXiv: a seeded choice among the first versions of two spans of time.

arXiv asks for at most one request every three seconds over one connection, and for a way to
reach whoever sends them (https://info.arxiv.org/help/api/tou.html); ``PoliteSession`` keeps to it
for searches and downloads alike. Searches, files and licences are kept on disk, so that an
interrupted run asks for nothing twice.

Always the *first* version of a paper is taken: the cutoff is about its date
(``published`` in the search results; ``updated`` is the date of the latest version), and it
is the one version that can never change.
"""

import hashlib
import itertools
import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.generate.papers import sources
from cutoff.generate.papers.downloads import PoliteSession, check_contact
from cutoff.generate.papers.sources import Candidate
from cutoff.generate.reading.document import Rejected
from cutoff.params import Params

CATEGORY = re.compile(r"[a-z]+(?:-[a-z]+)*(?:\.[A-Za-z-]+)?")
PLACE = re.compile(
    r"arxiv\.org/abs/((?:\d{4}\.\d{4,5})|(?:[a-z-]+(?:\.[A-Z]{2})?/\d{7}))(?:v\d+)?$"
)
PAGE_SIZE = 200  # results per request
DAYS_WANTED = 20  # the papers of a period come from about this many days
TRIES_PER_PAPER = 3  # candidates per paper wanted, before the search ends
LICENCE = re.compile(rb"<license>\s*([^<\s]{1,200})\s*</license>")


@dataclass(frozen=True)
class Server:
    """Addresses of arXiv; tests put their own server in its place."""

    search: str = "https://export.arxiv.org/api/query"
    files: str = "https://arxiv.org"
    records: str = "https://oaipmh.arxiv.org/oai"


@dataclass(frozen=True)
class Archive:
    """Where papers are looked for and fetched, and the folder that keeps what came."""

    categories: list[str]
    folder: Path
    server: Server
    session: PoliteSession


def candidates(
    p: Params,
    folder: Path,
    server: Server | None = None,
    session: PoliteSession | None = None,
    today: date | None = None,
) -> dict[str, Iterator[Candidate]]:
    """Candidates of each period in seeded order; files are downloaded to ``folder``.

    Raises ``CutoffError`` for missing or impossible parameters, before any request.
    """
    categories = [name.strip() for name in p.arxiv_categories.split(",") if name.strip()]
    for name in categories or [""]:
        if not CATEGORY.fullmatch(name):
            raise CutoffError(
                f"arxiv_categories: {name!r} is no category; write them like cs.CL,cs.LG."
            )
    session = session or PoliteSession(check_contact(p.arxiv_contact))
    archive = Archive(categories, folder, server or Server(), session)
    end = _end(folder, today or datetime.now(UTC).date())
    windows = {period: sources.window(p, period, end) for period in sources.PERIODS}
    return {period: _of_period(p, period, days, archive) for period, days in windows.items()}


def _end(folder: Path, today: date) -> date:
    """The last day of an open span: the day of the first run, also when it is continued."""
    path = folder / "search" / "until.json"
    if not path.exists():
        files.write_json_atomic(path, today.isoformat())
    return sources.to_date(files.read_json(path), str(path))


def _of_period(
    p: Params, period: str, window: tuple[date, date], archive: Archive
) -> Iterator[Candidate]:
    """Papers of random days: a few of each day first, the others of these days at the end.

    Which papers of a day come first follows from their identifiers alone, so a paper that is
    added to or withdrawn from arXiv later changes no other choice.
    """
    wanted = p.n_post_papers if period == "post" else p.n_control_papers
    per_day = max(1, math.ceil(wanted / DAYS_WANTED))
    first, last = window
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    random.Random(f"{p.seed} arxiv {period}").shuffle(days)

    def lot(entry: dict[str, Any]) -> str:
        return hashlib.sha256(f"{p.seed} {entry['id']}".encode()).hexdigest()

    def in_seeded_order() -> Iterator[dict[str, Any]]:
        others: list[dict[str, Any]] = []
        for day in days:
            entries = sorted(_search(archive, day), key=lot)
            yield from entries[:per_day]
            others += entries[per_day:]
        yield from others

    for entry in itertools.islice(in_seeded_order(), TRIES_PER_PAPER * wanted + 10):
        paper = sources.safe_name(entry["id"].replace("/", "-"))
        yield Candidate(
            paper_id=paper,
            period=period,
            name=entry["id"],
            files=partial(_files, archive, entry, paper),
            title=entry["title"],
            first_version=entry["published"],
            version="v1",
            licence=partial(_licence, archive, entry["id"], paper),
        )


def _search(archive: Archive, day: date) -> list[dict[str, Any]]:
    """Papers whose first version is of this day; asked once, then read from disk."""
    path = archive.folder / "search" / f"{day}.json"
    if path.exists():
        return files.read_json(path)
    import arxiv

    client = arxiv.Client(page_size=PAGE_SIZE, delay_seconds=0, num_retries=2)
    client._session = archive.session  # keeps the pause, and names the contact
    client.query_url_format = archive.server.search + "?{}"
    either = " OR ".join(f"cat:{name}" for name in archive.categories)
    stamp = f"{day:%Y%m%d}"
    search = arxiv.Search(
        query=f"({either}) AND submittedDate:[{stamp}0000 TO {stamp}2359]",
        max_results=None,
        sort_by=arxiv.SortCriterion.SubmittedDate,
        sort_order=arxiv.SortOrder.Ascending,
    )
    try:
        results = list(client.results(search))
    except CutoffError:
        raise
    except Exception as error:  # requests, lxml and the client have no common root
        raise CutoffError(
            f"arXiv's search for {day} failed ({type(error).__name__}: {str(error):.200}); "
            "run again later, what was found is kept."
        ) from None
    entries = [entry for result in results if (entry := _entry(result, day))]
    if entries:  # an empty answer can be an outage: the next run asks again
        files.write_json_atomic(path, entries)
    return entries


def _entry(result: Any, day: date) -> dict[str, Any] | None:
    """What is kept of a search result; None for another day's or a strange identifier."""
    place = PLACE.search(result.entry_id)
    if place is None or result.published.date() != day:
        return None
    return {
        "id": place[1],
        "title": result.title.strip(),
        "published": result.published.date().isoformat(),
        "withdrawn": "withdrawn" in (result.comment or "").lower(),
    }


def _files(archive: Archive, entry: dict[str, Any], paper: str) -> Iterator[Path]:
    """The HTML of a paper, then its PDF; a file that is on disk is not asked for again."""
    if entry["withdrawn"]:
        raise Rejected("withdrawn", stage="download")
    html, pdf, no_html = (
        archive.folder / "files" / f"{paper}v1.{end}" for end in ("html", "pdf", "no-html")
    )
    if not no_html.exists():
        try:
            _fetch(archive, f"html/{entry['id']}v1", "text/html", b"ltx_document", html)
            yield html
        except Rejected as error:
            if error.reason in ("no such file", "not what its type says"):
                files.write_bytes_atomic(no_html, b"")
    _fetch(archive, f"pdf/{entry['id']}v1", "application/pdf", b"%PDF-", pdf)
    yield pdf


def _fetch(archive: Archive, place: str, content_type: str, sign: bytes, path: Path) -> None:
    """Keep a file of arXiv's at ``path``; one without its ``sign`` is none, such as a message."""
    if not path.exists():
        content = archive.session.fetch(f"{archive.server.files}/{place}", content_type)
        if sign not in content:
            raise Rejected("not what its type says", f"named {content_type}", "download")
        files.write_bytes_atomic(path, content)


def _licence(archive: Archive, identifier: str, paper: str) -> str | None:
    """Address of the licence by arXiv's open archive; the search results do not hold it."""
    path = archive.folder / "files" / f"{paper}v1.licence.json"
    if not path.exists():
        query = f"verb=GetRecord&metadataPrefix=arXiv&identifier=oai:arXiv.org:{identifier}"
        try:
            content = archive.session.fetch(f"{archive.server.records}?{query}", "text/xml")
        except Rejected:
            return None  # asked again next time; a paper is not lost for it
        found = LICENCE.search(content)
        files.write_json_atomic(path, found[1].decode("ascii", "replace") if found else None)
    return files.read_json(path)
