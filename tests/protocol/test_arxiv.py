"""Papers come from arXiv politely, pinned, and once; trouble costs a paper, not the run."""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from arxiv_server import ArxivServer, Paper
from loopback import Fault, Handler, cut

from cutoff import files, params
from cutoff.errors import CutoffError
from cutoff.generate.papers import arxiv_source, collection, downloads

CONTACT = "tester@example.org"
Fetch = Callable[..., list[dict[str, Any]]]
Choose = Callable[..., list[str]]


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def patient() -> tuple[downloads.PoliteSession, Clock]:
    """A session whose pauses cost no time, and the clock that counts them."""
    clock = Clock()
    return downloads.PoliteSession(CONTACT, clock=clock, sleep=clock.sleep), clock


def made(number: int, day: str, **fields: Any) -> Paper:
    stamp = f"{day}T12:00:{number:02}Z"
    return Paper(
        id=f"{day[2:4]}{day[5:7]}.{10000 + number}",
        published=stamp,
        updated="2026-06-01T00:00:00Z",
        title=f"Paper {number} on Looms & <Wefts>",
        **fields,
    )


@pytest.fixture
def server() -> Iterator[ArxivServer]:
    post = [made(n, f"2025-01-{1 + n % 3:02}") for n in range(9)]
    control = [made(20 + n, f"2023-01-{1 + n % 2:02}", has_html=False) for n in range(4)]
    others = [made(40, "2025-01-02", categories=("math.CO",)), made(41, "2024-01-01")]
    own = ArxivServer([*post, *control, *others])
    yield own
    own.close()


def settings(**changes: Any) -> params.Params:
    chosen = {
        "paper_source": "arxiv",
        "arxiv_contact": CONTACT,
        "post_from": "2025-01-01",
        "post_until": "2025-01-03",
        "control_from": "2023-01-01",
        "control_until": "2023-01-02",
        "n_post_papers": 3,
        "n_control_papers": 1,
        "n_unseen_papers": 1,
    }
    return params.load("tiny", chosen | changes)


@pytest.fixture
def fetch(server: ArxivServer, tmp_path: Path) -> Fetch:
    """Makes the papers in ``tmp_path/data`` (or ``folder``), without pauses."""

    def make(folder: str = "data", **changes: Any) -> list[dict[str, Any]]:
        p, target = settings(**changes), tmp_path / folder
        return collection.make_papers(p, target, server=server.server, session=patient()[0])

    return make


def html_of(record: dict[str, Any]) -> str:
    return f"/html/{record['paper_id']}v1"


def test_an_empty_answer_of_the_search_is_no_finding(
    fetch: Fetch, server: ArxivServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as outage, pytest.raises(CutoffError, match="Only 0 papers"):
        outage.setattr(server, "feed", lambda query: b"")
        fetch()
    assert len(fetch()) == 4


def test_papers_are_read_from_html_and_from_pdf_where_there_is_no_html(
    fetch: Fetch, server: ArxivServer, tmp_path: Path
) -> None:
    records = fetch()
    assert [record["period"] for record in records] == ["post"] * 3 + ["control"]
    for record in records:
        paper = next(paper for paper in server.papers if paper.id == record["paper_id"])
        post = record["period"] == "post"
        assert record["file"].endswith(".html" if post else ".pdf")
        assert record["licence"] == ("CC BY 4.0" if post else paper.licence)
        assert record["first_version"] == paper.published[:10]  # not the day of version 3
        assert (record["title"], record["version"]) == (paper.title, "v1")
        assert record["quality"] == 1.0 and record["source"] == "arxiv"
        text = " ".join(section["text"] for section in record["sections"])
        for sentence in paper.sentences:
            assert sentence in text
        for foreign in ("Navigation", "Smith", "LaTeXML", "script", "License", "arXiv:"):
            assert foreign not in text
    first = records[0]["sections"]
    assert [section["heading"] for section in first] == ["Abstract", "1 Introduction"]
    assert r"The loss is \mathcal{L}=84.3% in all. In the" in first[1]["text"]
    assert first[1]["text"].endswith("A note at the foot.")
    manifest = files.read_json(tmp_path / "data" / "manifest.json")
    for entry, record in zip(manifest["papers"], records, strict=True):
        assert entry == {name: record[name] for name in entry}
        assert {"paper_id", "version", "first_version", "licence", "sha256"} <= set(entry)


@pytest.fixture
def choose(server: ArxivServer, tmp_path: Path) -> Choose:
    """Identifiers of the candidates after the cutoff, in their order, by a search anew."""

    def make(folder: str, **changes: Any) -> list[str]:
        p, target = settings(**changes), tmp_path / folder
        found = arxiv_source.candidates(p, target, server.server, patient()[0])
        return [candidate.paper_id for candidate in found["post"]]

    return make


def test_the_same_parameters_choose_the_same_papers_and_another_seed_others(
    choose: Choose, server: ArxivServer
) -> None:
    first = choose("a")
    assert len(first) == 9
    server.most_per_page = 1
    assert choose("one by one") == first
    assert server.asked("start=2")
    server.papers.append(made(50, "2025-01-05"))  # appears later, on another day
    server.papers.append(made(51, "2025-01-02", categories=("math.CO",)))
    server.papers.reverse()
    assert choose("b") == first
    assert any(choose(f"seed {seed}", seed=seed) != first for seed in (1, 2, 3))


def test_a_second_run_asks_only_for_what_is_missing(
    fetch: Fetch, server: ArxivServer, tmp_path: Path
) -> None:
    first = fetch()
    server.paths.clear()
    assert fetch() == first
    assert server.paths == []
    (tmp_path / "data" / first[1]["file"]).unlink()
    assert fetch() == first
    assert server.paths == [html_of(first[1])]


def test_every_request_is_paced_and_names_the_contact(server: ArxivServer, tmp_path: Path) -> None:
    session, clock = patient()
    collection.make_papers(settings(), tmp_path, server=server.server, session=session)
    assert len(server.paths) >= 9
    assert clock.slept == pytest.approx([3.0] * (len(server.paths) - 1))
    assert {headers["from"] for headers in server.headers} == {CONTACT}
    assert all(CONTACT in headers["user-agent"] for headers in server.headers)


def busy(status: int, **headers: str) -> Fault:
    def answer(handler: Handler) -> None:
        handler.send(b"busy", "text/plain", status, **headers)  # type: ignore[attr-defined]

    return answer


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_given_the_time_it_asks_for(
    server: ArxivServer, tmp_path: Path, status: int
) -> None:
    session, clock = patient()
    server.trouble["/api/query"] = [busy(status, Retry_After="47")]
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    for paper in server.papers:
        server.trouble[f"/html/{paper.id}v1"] = [busy(status, Retry_After=when)]
    records = collection.make_papers(settings(), tmp_path, server=server.server, session=session)
    assert len(records) == 4
    assert clock.slept[0] == 47.0
    assert sum(80 < seconds <= 90 for seconds in clock.slept) == len(records)


def test_a_server_that_asks_for_hours_is_left_alone(server: ArxivServer, fetch: Fetch) -> None:
    server.trouble["/api/query"] = [busy(503, Retry_After="7200")]
    with pytest.raises(CutoffError, match="asks to wait 120 minutes; run again then"):
        fetch()
    assert len(server.paths) == 1


def cut_download(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html; charset=utf-8")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"<html><article class='ltx_document'>half of")
    handler.wfile.flush()
    cut(handler)


def test_a_download_that_breaks_off_is_repeated_and_never_kept(
    fetch: Fetch, server: ArxivServer
) -> None:
    whole = fetch("whole")
    for paper in server.papers:
        server.trouble[f"/html/{paper.id}v1"] = [cut_download, cut]
    assert fetch("broken") == whole


def of_type(content_type: str, data: bytes, **headers: str) -> Fault:
    def answer(handler: Handler) -> None:
        handler.send(data, content_type, **headers)  # type: ignore[attr-defined]

    return answer


@pytest.mark.parametrize(
    "fault",
    [
        of_type("application/x-eprint-tar", b"\x1f\x8b"),
        of_type("text/html", b"<html><body>HTML is not available</body></html>"),
        of_type("text/html", b"<html><article class='ltx_document'>See pages 1-last</article>"),
        of_type("text/html", gzip.compress(b" " * 60_000_000), Content_Encoding="gzip"),
    ],
    ids=["wrong type", "no conversion", "stub", "bomb"],
)
def test_html_that_is_no_paper_gives_way_to_the_pdf(
    fetch: Fetch, server: ArxivServer, fault: Fault
) -> None:
    for paper in server.papers:
        server.trouble[f"/html/{paper.id}v1"] = [fault]
    records = fetch(n_post_papers=2)
    assert [Path(record["file"]).suffix for record in records] == [".pdf"] * 3
    assert all(record["licence"].startswith("http") for record in records)


def test_papers_that_cannot_be_had_are_listed_and_replaced(
    fetch: Fetch,
    choose: Choose,
    server: ArxivServer,
    tmp_path: Path,
) -> None:
    lost, withdrawn = choose("before")[:2]
    server.papers = [
        replace(paper, comment="This paper has been withdrawn") if paper.id == withdrawn else paper
        for paper in server.papers
    ]
    for kind in ("html", "pdf"):
        server.trouble[f"/{kind}/{lost}v1"] = [
            of_type("text/plain", b"?") if kind == "html" else busy(403)
        ]
    records = fetch("after")
    assert len(records) == 4 and not {lost, withdrawn} & {r["paper_id"] for r in records}
    rejected = files.read_jsonl(tmp_path / "after" / "papers_rejected.jsonl")
    assert {(r["file"], r["stage"], r["reason"]) for r in rejected} == {
        (lost, "download", "HTTP 403"),
        (withdrawn, "download", "withdrawn"),
    }
    assert [(row["step"], row["dropped"]) for row in collection.funnel(tmp_path / "after")] == [
        ("found", 0),
        ("download", 1),
        ("download", 1),
        ("used", 0),
    ]


def test_a_server_that_is_down_stops_the_run_and_keeps_what_is_there(
    fetch: Fetch, server: ArxivServer
) -> None:
    for paper in server.papers:
        for kind in ("html", "pdf"):
            server.trouble[f"/{kind}/{paper.id}v1"] = [cut] * 100
    with pytest.raises(CutoffError, match="times in a row"):
        fetch()
    server.trouble.clear()
    assert len(fetch()) == 4


def test_a_search_that_fails_says_so(fetch: Fetch, server: ArxivServer) -> None:
    server.trouble["/api/query"] = [cut] * 100
    with pytest.raises(CutoffError, match="search for 2025-01-0.* run again later"):
        fetch()


def test_too_few_papers_is_a_sentence(fetch: Fetch) -> None:
    few = {"post_until": "2025-01-01", "n_control_papers": 0}
    with pytest.raises(CutoffError, match="Only 3 papers .* n_unseen_papers = 3"):
        fetch(n_post_papers=4, n_unseen_papers=3, **few)
    with pytest.raises(CutoffError, match="n_control_papers=0 and n_eval_control=0"):
        fetch(n_post_papers=2, control_until="2022-06-30", control_from="2022-06-29")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arxiv_contact": None}, "needs arxiv_contact: your e-mail address"),
        ({"arxiv_contact": "me@x.org\r\nEvil: 1"}, "must be an e-mail address"),
        ({"arxiv_categories": "cs.CL) OR (all:x"}, "is no category"),
        ({"post_from": "2025-02-01"}, "post_from = 2025-02-01 lies after"),
        ({"post_until": "soon"}, "must be a day such as 2024-12-01"),
        ({"control_until": "2025-01-02"}, "must lie before post_from"),
    ],
)
def test_impossible_settings_are_a_sentence_before_any_request(
    server: ArxivServer, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(CutoffError, match=words):
        collection.make_papers(settings(**changes), tmp_path, server=server.server)
    assert server.paths == []


def test_an_open_span_ends_on_the_day_of_the_first_run(server: ArxivServer, tmp_path: Path) -> None:
    p = settings(post_until=None, n_post_papers=9)
    chosen = []
    for today in (date(2025, 1, 2), date(2025, 1, 3)):
        found = arxiv_source.candidates(p, tmp_path, server.server, patient()[0], today)
        chosen.append({candidate.paper_id for candidate in found["post"]})
    assert len(chosen[0]) == 6 and chosen[0] == chosen[1]
