"""What the citations of an answer with passages were worth: diagnostics beside the verdict."""

import re
from typing import Any

from cutoff.evaluate import reference
from cutoff.evaluate.conditions import CONDITIONS

Record = dict[str, Any]


def cited(text: str) -> list[int]:
    """Numbers of the passages that ``text`` cites, each once, in order; ``[1-3]`` is three."""
    numbers: list[int] = []
    for marker in reference.CITATION.findall(text):
        for first, last in re.findall(r"(\d{1,4})(?:\s*[–-]\s*(\d{1,4}))?", marker):
            numbers += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(numbers))


def citations(question: Record, response: Record) -> Record:
    """Diagnostics of a RAG answer; all null where there was no context.

    ``retrieval_hit``: a gold passage was in the context. ``citation_present``: something
    was cited. ``citation_right``: all that was cited are gold passages (null if nothing).
    """
    names = ("retrieval_hit", "citation_present", "citation_right")
    if CONDITIONS[response["condition"]].context == "none":
        return dict.fromkeys(names)
    gold = set(question["gold_passage_ids"])
    context = dict(enumerate(question["context_passage_ids"], start=1))
    numbers = cited(response["response"])
    right = all(context.get(number) in gold for number in numbers) if numbers else None
    return dict(
        zip(names, (not gold.isdisjoint(context.values()), bool(numbers), right), strict=True)
    )
