"""From passages to facts that may be asked: found, rated, and no more than wanted.

Two sources: ``truth`` (what the phantom's papers were built from) and ``generator`` (what a
language model finds). Either way the evidence must stand in a passage, and a data set judge,
where there is one, rates all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.generate.facts import dataset_judge, generator
from cutoff.generate.papers import collection
from cutoff.generate.questions import evidence, strata, unanswerable, wordings
from cutoff.params import Params
from cutoff.records import Fact, Paper, Passage

FOUND, RATINGS, REJECTED = FILES = ("candidates.jsonl", "ratings.jsonl", "rejected.jsonl")


@dataclass(frozen=True)
class Facts:
    """``found``: all that stood the checks; ``ratings`` of them; ``rejected``: everything else.

    ``usable`` are the facts of the corpus, ``held_out`` those to be asked without an answer.
    """

    found: list[Fact]
    ratings: list[dict[str, Any]]
    rejected: list[dict[str, Any]]
    usable: list[Fact]
    held_out: list[Fact]

    @property
    def left(self) -> list[Fact]:
        """All that was not rejected, asked about or not."""
        gone = {record["fact_id"] for record in self.rejected if "fact_id" in record}
        return [fact for fact in self.found if fact["fact_id"] not in gone]


def make(
    p: Params,
    every: Sequence[Paper],
    passages: Sequence[Passage],
    corpus: Sequence[Paper],
    folder: Path,
) -> Facts:
    """Find, rate and choose facts; writes ``FILES``.

    ``every`` and ``passages`` are all papers and their passages, ``corpus`` the papers that are
    not held out. Raises ``CutoffError`` where there is no fact at all.
    """
    found, rejected = find(p, every, passages, folder)
    ratings = dataset_judge.rate(p, found, passages, wordings.wordings_of(p), folder)
    kept, dropped = dataset_judge.keep(found, ratings, p)
    kept, surplus = strata.choose(kept, p)
    inside = {paper["paper_id"] for paper in corpus}
    usable = [fact for fact in kept if fact["paper_id"] in inside]
    texts = [passage for passage in passages if passage["paper_id"] in inside]
    outside = [fact for fact in kept if fact["paper_id"] not in inside]
    held_out, answered = unanswerable.select(outside, texts, p)
    rejected = [*rejected, *dropped, *surplus, *answered]
    files.write_jsonl_atomic(folder / FOUND, found)
    files.write_jsonl_atomic(folder / RATINGS, ratings)
    files.write_jsonl_atomic(folder / REJECTED, rejected)
    if not usable:
        raise CutoffError(
            f"No fact can be asked about: {len(found)} were found, {len(rejected)} facts and "
            f"passages were rejected (reasons in {folder / 'rejected.jsonl'})."
        )
    return Facts(found, ratings, rejected, usable, held_out)


def read(corpus: Sequence[Paper], folder: Path) -> Facts:
    """What ``make`` has left in a complete data set; ``corpus`` as there."""
    read: list[list[Any]] = [files.read_jsonl(folder / name) for name in FILES]
    found, ratings, rejected = read
    inside = {paper["paper_id"] for paper in corpus}
    gone = {record["fact_id"] for record in rejected if "fact_id" in record}
    left = [fact for fact in found if fact["fact_id"] not in gone]
    asked = {record["fact_id"] for record in files.read_jsonl(folder / "unanswerable.jsonl")}
    usable = [fact for fact in left if fact["paper_id"] in inside]
    held_out = [fact for fact in left if fact["fact_id"] in asked]
    return Facts(found, ratings, rejected, usable, held_out)


def find(
    p: Params, every: Sequence[Paper], passages: Sequence[Passage], folder: Path
) -> tuple[list[Fact], list[dict[str, Any]]]:
    """(facts with evidence, what was rejected) from the source that ``fact_source`` names."""
    if p.fact_source == "generator":
        return generator.make_facts(p, every, passages, folder)
    if p.paper_source != "phantom":
        raise CutoffError(
            f"fact_source = truth is for the phantom, whose facts are known; with paper_source = "
            f"{p.paper_source} set fact_source=generator."
        )
    return evidence.find_evidence(evidence.phantom_facts(collection.phantom_papers(p)), passages)
