"""Where the facts of the phantom stand in its passages, looked up word by word."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, cast

from cutoff.phantom import world
from cutoff.records import Fact, Passage

NO_EVIDENCE = "evidence stands whole in no passage"


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
) -> tuple[list[Fact], list[dict[str, Any]]]:
    """Look each fact up in the passages of its paper: (facts found, facts rejected).

    A fact gains ``gold_passage_ids``, the passages that hold one of its sentences whole, and
    keeps the first sentence found as ``evidence``. A rejected fact names its ``reason``.
    """
    by_paper: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for passage in passages:
        by_paper[passage["paper_id"]].append((passage["passage_id"], normalise(passage["text"])))
    found: list[Fact] = []
    rejected: list[dict[str, Any]] = []
    for fact in facts:
        places = by_paper[fact["paper_id"]]
        gold: dict[str, str] = {}
        for sentence in fact["evidence"]:
            wanted = normalise(sentence)
            gold |= {passage_id: sentence for passage_id, text in places if wanted in text}
        if gold:
            ordered = [passage_id for passage_id, _ in places if passage_id in gold]
            told = fact | {"evidence": gold[ordered[0]], "gold_passage_ids": ordered}
            found.append(cast(Fact, told))
        else:
            rejected.append(fact | {"reason": NO_EVIDENCE})
    return found, rejected
