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
import math
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.generate.papers import sources
from cutoff.generate.papers.sources import Candidate, Rejected
from cutoff.generate.reading.reader import MAX_BYTES
from cutoff.params import Params

if TYPE_CHECKING:
    from cutoff.generate.papers.downloads import PoliteSession

Record = dict[str, Any]

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


def candidates(
    p: Params,
    target: Path,
    server: Server | None = None,
    session: "PoliteSession | None" = None,
    today: date | None = None,
) -> dict[str, Iterator[Candidate]]:
    """Candidates of each period in seeded order; files are downloaded to ``target``.

    Raises ``CutoffError`` for missing or impossible parameters, before any request.
    """
    from cutoff.generate.papers import downloads

    categories = [name.strip() for name in p.arxiv_categories.split(",") if name.strip()]
    for name in categories or [""]:
        if not CATEGORY.fullmatch(name):
            raise CutoffError(
                f"arxiv_categories: {name!r} is no category; write them like cs.CL,cs.LG."
            )
    own = session or downloads.PoliteSession(downloads.check_contact(p.arxiv_contact))
    end = _end(target, today or datetime.now(UTC).date())
    place = server or Server()
    return {
        period: _of_period(
            p, period, sources.window(p, period, end), categories, target, place, own
        )
        for period in ("post", "control")
    }


def _end(target: Path, today: date) -> date:
    """The last day of an open span: the day of the first run, also when it is continued."""
    path = target / "search" / "until.json"
    if not path.exists():
        files.write_json_atomic(path, today.isoformat())
    return sources.to_date(files.read_json(path), str(path))


def _of_period(
    p: Params,
    period: str,
    window: tuple[date, date],
    categories: list[str],
    target: Path,
    server: Server,
    session: "PoliteSession",
) -> Iterator[Candidate]:
    wanted = p.n_post_papers if period == "post" else p.n_control_papers
    found = _in_seeded_order(
        p.seed, period, window, wanted, partial(_search, categories, target, server, session)
    )
    for _, entry in zip(range(TRIES_PER_PAPER * wanted + 10), found, strict=False):
        name = entry["id"].replace("/", "-")
        paper = sources.safe_name(name)
        yield Candidate(
            paper_id=paper,
            period=period,
            name=entry["id"],
            files=partial(_files, entry, paper, target, server, session),
            title=entry["title"],
            first_version=entry["published"],
            version="v1",
            licence=partial(_licence, entry["id"], paper, target, server, session),
        )


def _in_seeded_order(
    seed: int,
    period: str,
    window: tuple[date, date],
    wanted: int,
    search: Callable[[date], list[Record]],
) -> Iterator[Record]:
    """Papers of random days: a few of each day first, the others of these days at the end.

    Which papers of a day come first follows from their identifiers alone, so a paper that is
    added to or withdrawn from arXiv later changes no other choice.
    """
    first, last = window
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    random.Random(f"{seed} arxiv {period}").shuffle(days)
    per_day = max(1, math.ceil(wanted / DAYS_WANTED))
    others: list[Record] = []
    for day in days:
        entries = sorted(search(day), key=lambda entry: _lot(seed, entry["id"]))
        yield from entries[:per_day]
        others += entries[per_day:]
    yield from others


def _lot(seed: int, paper: str) -> str:
    return hashlib.sha256(f"{seed} {paper}".encode()).hexdigest()


def _search(
    categories: list[str], target: Path, server: Server, session: "PoliteSession", day: date
) -> list[Record]:
    """Papers whose first version is of this day; asked once, then read from disk."""
    path = target / "search" / f"{day}.json"
    if path.exists():
        return files.read_json(path)
    import arxiv

    client = arxiv.Client(page_size=PAGE_SIZE, delay_seconds=0, num_retries=2)
    client._session = session  # keeps the pause, and names the contact, for downloads as well
    client.query_url_format = server.search + "?{}"
    either = " OR ".join(f"cat:{name}" for name in categories)
    stamp = f"{day:%Y%m%d}"
    search = arxiv.Search(
        query=f"({either}) AND submittedDate:[{stamp}0000 TO {stamp}2359]",
        max_results=None,
        sort_by=arxiv.SortCriterion.SubmittedDate,
        sort_order=arxiv.SortOrder.Ascending,
    )
    try:
        results = list(client.results(search))
    except Exception as error:  # requests, lxml and the client have no common root
        if isinstance(error, CutoffError):
            raise
        raise CutoffError(
            f"arXiv's search for {day} failed ({type(error).__name__}: {str(error):.200}); "
            "run again later, what was found is kept."
        ) from None
    entries = [entry for result in results if (entry := _entry(result, day))]
    files.write_json_atomic(path, entries)
    return entries


def _entry(result: Any, day: date) -> Record | None:
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


def _files(
    entry: Record, paper: str, target: Path, server: Server, session: "PoliteSession"
) -> Iterator[Path]:
    """The HTML of a paper, then its PDF; a file that is on disk is not asked for again."""
    if entry["withdrawn"]:
        raise Rejected("download", "withdrawn")
    missing = target / "files" / f"{paper}v1.no-html"
    page = target / "files" / f"{paper}v1.html"
    if not missing.exists():
        try:
            if not page.exists():
                content = session.fetch(
                    f"{server.files}/html/{entry['id']}v1", "text/html", MAX_BYTES
                )
                if b"ltx_document" not in content:
                    raise Rejected("download", "no HTML version")
                files.write_bytes_atomic(page, content)
            yield page
        except Rejected as error:
            if error.reason in ("no such file", "no HTML version"):
                files.write_bytes_atomic(missing, b"")
    printed = target / "files" / f"{paper}v1.pdf"
    if not printed.exists():
        content = session.fetch(f"{server.files}/pdf/{entry['id']}v1", "application/pdf", MAX_BYTES)
        if b"%PDF-" not in content[:1024]:
            raise Rejected("download", "not what its type says", "named application/pdf")
        files.write_bytes_atomic(printed, content)
    yield printed


def _licence(
    identifier: str, paper: str, target: Path, server: Server, session: "PoliteSession"
) -> str | None:
    """Address of the licence by arXiv's open archive; the search results do not hold it."""
    path = target / "files" / f"{paper}v1.licence.json"
    if not path.exists():
        query = f"verb=GetRecord&metadataPrefix=arXiv&identifier=oai:arXiv.org:{identifier}"
        try:
            content = session.fetch(f"{server.records}?{query}", "text/xml", 1_000_000)
        except Rejected:
            return None  # asked again next time; a paper is not lost for it
        found = LICENCE.search(content)
        files.write_json_atomic(path, found[1].decode("ascii", "replace") if found else None)
    return files.read_json(path)
