"""Where the facts of the phantom stand in its passages, looked up word by word."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, cast

from cutoff.generate.facts.rejections import Reason, Rejected
from cutoff.phantom import world
from cutoff.records import Fact, Passage


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


def normalise(text: str) -> str:
    """Text for comparison: one form of each character, of case, and of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


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
