"""Papers: from a source to files on disk, and from the files to text, section by section.

Every source ends in files, and everything later is read from those files. The phantom could
hand over its sentences directly; it goes through PDF like any other paper, so that its
extraction is as real as that of a paper somebody downloads.
"""

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cutoff import deadline, files
from cutoff.errors import CutoffError
from cutoff.generate.papers import folder_source
from cutoff.generate.papers.sources import Candidate, rejection, safe_name
from cutoff.generate.reading import quality, reader
from cutoff.generate.reading.cleaning import clean
from cutoff.generate.reading.document import Document, Rejected
from cutoff.params import Params
from cutoff.phantom import pages, world
from cutoff.records import Paper

MANIFEST = "manifest.json"
IN_MANIFEST = "paper_id version period title first_version licence file sha256".split()
STAGES = "folder download file reading quality".split()  # where a paper can be left out
REJECTED = "papers_rejected.jsonl"
LONGEST_TITLE = 300  # characters


def make_papers(p: Params, folder: Path, **arxiv: Any) -> list[Paper]:
    """Bring the papers of ``paper_source`` into ``folder`` and read them.

    Returns the records of ``papers.jsonl``: post-cutoff first, then control. Beside them it
    writes ``manifest.json`` (what was taken) and ``papers_rejected.jsonl`` (what was not, and
    why). ``arxiv`` is passed to ``arxiv_source.candidates``. Raises ``CutoffError`` if too few
    papers are left for an experiment.
    """
    if p.paper_source == "phantom":
        papers = [_phantom_record(paper, folder) for paper in phantom_papers(p)]
        _write_lists(p, folder, papers, [], found=len(papers))
        return papers
    rejected: list[dict[str, Any]] = []
    found = None
    offered: Mapping[str, Iterable[Candidate]]
    if p.paper_source == "folder":
        in_folder, rejected = folder_source.candidates(p, folder / "files")
        found = len(rejected) + sum(map(len, in_folder.values()))
        offered = in_folder
    else:
        from cutoff.generate.papers import arxiv_source

        offered = arxiv_source.candidates(p, folder / "arxiv", **arxiv)
    papers = []
    contents: dict[str, str] = {}
    wanted = {"post": p.n_post_papers, "control": p.n_control_papers}
    for period, candidates in offered.items():
        taken, refused = _take(p, candidates, wanted[period], folder, contents)
        papers += taken
        rejected += refused
    found = len(papers) + len(rejected) if found is None else found
    _write_lists(p, folder, papers, rejected, found)
    _check_enough(p, folder, papers, len(rejected))
    return papers


def phantom_papers(p: Params) -> list[world.Paper]:
    """The fictional papers of this run, with their truth: post-cutoff first, then control."""
    try:
        return world.make_papers(p.seed, p.n_post_papers, p.n_control_papers)
    except ValueError as error:
        raise CutoffError(
            f"The phantom cannot make these papers: {error}. "
            "Change n_post_papers or n_control_papers."
        ) from None


def _phantom_record(paper: world.Paper, folder: Path) -> Paper:
    path = folder / "pdf" / f"{safe_name(paper.paper_id)}.pdf"
    files.write_bytes_atomic(path, pages.render_pdf(paper))
    candidate = Candidate(
        paper_id=paper.paper_id,
        period=paper.period,
        name=path.name,
        files=lambda: iter([path]),
        title=paper.title,
        first_version=paper.first_version.isoformat(),
    )
    return _record("phantom", candidate, reader.read_here(path, "pdf"), path, folder)


def _take(
    p: Params, candidates: Iterable[Candidate], wanted: int, folder: Path, contents: dict[str, str]
) -> tuple[list[Paper], list[dict[str, Any]]]:
    """The first ``wanted`` papers that can be read well enough, and rejections of the others.

    ``contents`` (SHA-256 to name) holds what was taken before: no paper is taken twice. The
    records come in the order of their ids. Files of a folder are read side by side; arXiv
    wants one request at a time.
    """
    at_once = (os.cpu_count() or 1) if p.paper_source == "folder" else 1
    waiting = iter(candidates)
    taken: list[Paper] = []
    rejected: list[dict[str, Any]] = []
    with ThreadPoolExecutor(at_once) as pool:
        while batch := list(itertools.islice(waiting, min(at_once, wanted - len(taken)))):
            deadline.check(f"{len(taken)} of at most {wanted} papers were read")
            results = pool.map(lambda candidate: _try(p, candidate, folder), batch)
            for candidate, result in zip(batch, results, strict=True):
                if not isinstance(result, Rejected):
                    twin = contents.setdefault(result["sha256"], candidate.name)
                    if twin == candidate.name:
                        taken.append(result)
                        continue
                    if p.paper_source == "folder":  # a copy; what was downloaded stays
                        (folder / result["file"]).unlink()
                    result = Rejected("same content as another", twin, "file")
                rejected.append(rejection(candidate.name, candidate.period, result))
    return sorted(taken, key=lambda paper: paper["paper_id"]), rejected


def _try(p: Params, candidate: Candidate, folder: Path) -> Paper | Rejected:
    """The record of a candidate from the first of its files that is good enough."""
    worst: Rejected | None = None
    try:
        for path in candidate.files():
            try:
                return _read(p, candidate, path, folder)
            except Rejected as error:
                worst = error
                if p.paper_source == "folder":
                    path.unlink(missing_ok=True)
    except Rejected as error:
        # Where there is no second file, the first one's reason says more.
        worst = worst or error
    return worst or Rejected("no file", stage="file")


def _read(p: Params, candidate: Candidate, path: Path, folder: Path) -> Paper:
    document = reader.read(path)
    score, reasons = quality.rate(document)
    if score < p.min_extraction_quality:
        worst = reasons[0].partition(" (")[0] if reasons else "quality"
        raise Rejected(worst, f"quality {score}: {', '.join(reasons)}", "quality")
    record = _record(p.paper_source, candidate, document, path, folder)
    record["licence"] = clean(document.licence or candidate.licence() or "") or None
    record["version"] = candidate.version
    record["quality"] = score
    record["quality_reasons"] = reasons
    return record


def _record(
    source: str, candidate: Candidate, document: Document, path: Path, folder: Path
) -> Paper:
    title = clean(candidate.title or document.title)[:LONGEST_TITLE]
    return {
        "paper_id": candidate.paper_id,
        "title": title or candidate.paper_id,
        "period": candidate.period,
        "first_version": candidate.first_version,
        "source": source,
        "file": path.relative_to(folder).as_posix(),
        "sha256": files.sha256_file(path),
        "n_pages": document.n_pages,
        "sections": document.sections,
    }


def _write_lists(
    p: Params,
    folder: Path,
    papers: Sequence[Paper],
    rejected: Sequence[dict[str, Any]],
    found: int,
) -> None:
    manifest = {
        "source": p.paper_source,
        "found": found,
        "papers": [{name: paper.get(name) for name in IN_MANIFEST} for paper in papers],
    }
    files.write_json_atomic(folder / MANIFEST, manifest)
    files.write_jsonl_atomic(folder / REJECTED, rejected)


def _check_enough(p: Params, folder: Path, papers: Sequence[Paper], n_rejected: int) -> None:
    n_post = sum(paper["period"] == "post" for paper in papers)
    why = f"{folder / REJECTED} says why {n_rejected} were left out"
    if n_post <= p.n_unseen_papers:
        raise CutoffError(
            f"Only {n_post} papers from after the cutoff can be used, and n_unseen_papers = "
            f"{p.n_unseen_papers} of them must leave some for training; {why}. "
            "Add papers or lower n_unseen_papers."
        )
    if n_post == len(papers) and p.n_control_papers and p.n_eval_control:
        raise CutoffError(
            f"No paper from before the cutoff can be used; {why}. Add some, or set "
            "n_control_papers=0 and n_eval_control=0."
        )


def funnel(folder: Path) -> list[dict[str, Any]]:
    """From papers found to papers used: rows ``{step, kept, dropped, reason}`` in order.

    The first row is what was found; every further one is a reason for which papers were
    dropped, with what is left after it; the last one is what is used.
    """
    manifest = files.read_json(folder / MANIFEST)
    rejected = files.read_jsonl(folder / REJECTED)
    dropped = Counter((record["stage"], record["reason"]) for record in rejected)
    order = sorted(dropped, key=lambda at: (STAGES.index(at[0]), -dropped[at], at[1]))
    steps = [(stage, dropped[stage, reason], reason) for stage, reason in order]
    left, used = manifest["found"], len(manifest["papers"])
    if unneeded := left - len(rejected) - used:
        steps.append(("choice", unneeded, "not needed"))
    rows: list[dict[str, Any]] = []
    for step, n, reason in [("found", 0, ""), *steps, ("used", 0, "")]:
        left -= n
        rows.append({"step": step, "kept": left, "dropped": n, "reason": reason})
    return rows
