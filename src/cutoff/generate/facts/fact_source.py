"""From passages to facts that may be asked: found, rated, and no more than wanted.

    found, unfit = fact_source.find(p, papers, passages, folder)
    ratings = dataset_judge.rate(p, found, passages, wordings, folder)
    good, poor = dataset_judge.keep(found, ratings, p)
    chosen, surplus = strata.choose(good, p)
    usable, outside = fact_source.apart(chosen, corpus)
    held_out, answered = unanswerable.select(outside, passages_of_corpus, p)

Two sources: ``truth`` (what the phantom's papers were built from) and ``generator`` (what a
language model finds). Either way the evidence must stand in a passage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.generate.facts import generator
from cutoff.generate.papers import collection
from cutoff.generate.questions import evidence
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

    def write(self, folder: Path) -> None:
        """Write ``FILES``; raises ``CutoffError`` where no fact can be asked about."""
        files.write_jsonl_atomic(folder / FOUND, self.found)
        files.write_jsonl_atomic(folder / RATINGS, self.ratings)
        files.write_jsonl_atomic(folder / REJECTED, self.rejected)
        if not self.usable:
            raise CutoffError(
                f"No fact can be asked about: {len(self.found)} were found, {len(self.rejected)} "
                f"facts and passages were rejected (reasons in {folder / REJECTED})."
            )


def read(corpus: Sequence[Paper], folder: Path) -> Facts:
    """What a complete data set holds; ``corpus`` are the papers that are not held out."""
    read: list[list[Any]] = [files.read_jsonl(folder / name) for name in FILES]
    found, ratings, rejected = read
    gone = {record["fact_id"] for record in rejected if "fact_id" in record}
    left = [fact for fact in found if fact["fact_id"] not in gone]
    asked = {record["fact_id"] for record in files.read_jsonl(folder / "unanswerable.jsonl")}
    usable, outside = apart(left, corpus)
    held_out = [fact for fact in outside if fact["fact_id"] in asked]
    return Facts(found, ratings, rejected, usable, held_out)


def apart(facts: Sequence[Fact], corpus: Sequence[Paper]) -> tuple[list[Fact], list[Fact]]:
    """(facts of the papers of ``corpus``, facts of papers that are held out)."""
    inside = {paper["paper_id"] for paper in corpus}
    return (
        [fact for fact in facts if fact["paper_id"] in inside],
        [fact for fact in facts if fact["paper_id"] not in inside],
    )


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
