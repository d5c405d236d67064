"""From passages to facts that may be asked: found, rated, and no more than wanted.

Two sources: ``truth`` (what the phantom's papers were built from) and ``generator`` (what a
language model finds). Either way the evidence must stand in a passage. Notebook 01 has the steps.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.generate.facts import generator
from cutoff.generate.facts.checks import normalise
from cutoff.generate.facts.rejections import Reason, Rejected
from cutoff.generate.papers import collection
from cutoff.params import Params
from cutoff.phantom import world
from cutoff.records import Fact, Paper, Passage

FOUND, RATINGS, REJECTED = FILES = ("candidates.jsonl", "ratings.jsonl", "rejected.jsonl")


class Facts(NamedTuple):
    """``found``: all that stood the checks; ``ratings`` of them; ``rejected``: everything else.

    ``usable`` are the facts of the corpus, ``held_out`` those to be asked without an answer.
    """

    found: list[Fact]
    ratings: list[dict[str, Any]]
    rejected: list[Rejected]
    usable: list[Fact]
    held_out: list[Fact]

    def write(self, folder: Path) -> None:
        """Write ``FILES``; raises ``CutoffError`` where no fact can be asked about."""
        for name, records in zip(FILES, self[: len(FILES)], strict=True):
            files.write_jsonl_atomic(folder / name, records)
        if not self.usable:
            raise CutoffError(
                f"No fact can be asked about: {len(self.found)} were found, {len(self.rejected)} "
                f"facts and passages were rejected (reasons in {folder / REJECTED})."
            )


def read(folder: Path) -> Facts:
    """What a complete data set holds; what was held out is asked about already."""
    names = (*FILES, "facts.jsonl")
    found, ratings, rejected, usable = (files.read_jsonl(folder / name) for name in names)
    return Facts(found, ratings, rejected, usable, [])


def apart(facts: Sequence[Fact], corpus: Sequence[Paper]) -> tuple[list[Fact], list[Fact]]:
    """(facts of the papers of ``corpus``, facts of papers that are held out)."""
    inside = {paper["paper_id"] for paper in corpus}
    usable = [fact for fact in facts if fact["paper_id"] in inside]
    return usable, [fact for fact in facts if fact["paper_id"] not in inside]


def find(
    p: Params, every: Sequence[Paper], passages: Sequence[Passage], folder: Path
) -> tuple[list[Fact], list[Rejected]]:
    """(facts with evidence, what was rejected) from the source that ``fact_source`` names."""
    if p.fact_source == "generator":
        return generator.make_facts(p, every, passages, folder)
    if p.paper_source != "phantom":
        raise CutoffError(
            f"fact_source = truth is for the phantom, whose facts are known; with paper_source = "
            f"{p.paper_source} set fact_source=generator."
        )
    return find_evidence(phantom_facts(collection.phantom_papers(p)), passages)


def phantom_facts(papers: Iterable[world.Paper]) -> list[dict[str, Any]]:
    """All facts of the papers, each with the sentences that state it (``evidence``: a list)."""
    return [
        {
            "fact_id": f"{paper.paper_id}/{attribute}",
            "paper_id": paper.paper_id,
            "attribute": attribute,
            "subject": paper.method,
            "value": paper.facts[attribute],
            "statement": world.statement(attribute, paper.method, paper.facts[attribute]),
            "evidence": world.evidence(paper, attribute),
        }
        for paper in papers
        for attribute in world.ATTRIBUTES
    ]


def find_evidence(
    facts: Iterable[dict[str, Any]], passages: Iterable[Passage]
) -> tuple[list[Fact], list[Rejected]]:
    """Look each fact up in the passages of its paper: (facts found, facts rejected).

    A fact gains ``gold_passage_ids``, the passages that hold one of its sentences whole, and
    keeps a sentence that stands in the first of them as ``evidence``.
    """
    by_paper: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for passage in passages:
        by_paper[passage["paper_id"]].append((passage["passage_id"], normalise(passage["text"])))
    found: list[Fact] = []
    rejected: list[Rejected] = []
    for fact in facts:
        gold: dict[str, str] = {}
        for passage_id, text in by_paper[fact["paper_id"]]:
            for sentence in fact["evidence"]:
                if normalise(sentence) in text:
                    gold[passage_id] = sentence
        if gold:
            told = fact | {"evidence": next(iter(gold.values())), "gold_passage_ids": list(gold)}
            found.append(cast(Fact, told))
        else:
            rejected.append(fact | {"reason": Reason.NO_EVIDENCE})
    return found, rejected
