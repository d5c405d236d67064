"""What the citations of an answer with passages were worth: diagnostics beside the verdict.

Everything is measured against the passages that the prompt really held, by the text that stood
there: retrieved ones may have been shortened, and a number may name a passage that is not there.
"""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from cutoff.evaluate.answering import context
from cutoff.evaluate.judging import reference
from cutoff.experiment import ALL_CONDITIONS, CONDITIONS
from cutoff.report.wording import each

MEASURES = (
    "answer_in_context",
    "cited",
    "citation_precision",
    "citation_recall",
    "answer_in_cited",
    "grounded",
)


def cited(text: str) -> list[int]:
    """Numbers of the passages that ``text`` cites, each once, in order; ``[1-3]`` is three."""
    numbers: list[int] = []
    for marker in reference.CITATION.findall(text):
        for first, last in re.findall(r"(\d{1,4})(?:\s*[–-]\s*(\d{1,4}))?", marker):
            numbers += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(numbers))


def citations(question: Mapping[str, Any], response: Mapping[str, Any]) -> dict[str, bool | None]:
    """Diagnostics of a RAG answer; all null where there was no context.

    ``retrieval_hit``: a gold passage was in the context. ``citation_present``: something
    was cited. ``citation_right``: all that was cited are gold passages (null if nothing).
    """
    names = ("retrieval_hit", "citation_present", "citation_right")
    kind = ALL_CONDITIONS[response["condition"]].context
    if kind == "none":
        return dict.fromkeys(names)
    gold = set(question["gold_passage_ids"])
    passages = dict(enumerate(context(kind, question)["context_passage_ids"], start=1))
    numbers = cited(response["response"])
    right = all(passages.get(number) in gold for number in numbers) if numbers else None
    return dict(
        zip(names, (not gold.isdisjoint(passages.values()), bool(numbers), right), strict=True)
    )


def words(text: str) -> list[str]:
    """The words of ``text`` as the rules compare them, without citation markers."""
    return reference.words(reference.plain(reference.CITATION.sub(" ", text)))


def holds(text: str, answer: str) -> bool:
    """Does ``answer`` stand in ``text``: as whole words, or by value if it is a quantity?"""
    said, expected = reference.plain(text), reference.plain(answer)
    quantity = reference.whole_quantity(answer)
    if quantity is not None and quantity in reference.quantities(said):
        return True
    wanted = f" {' '.join(reference.words(expected))} "
    return bool(wanted.strip()) and wanted in f" {' '.join(reference.words(said))} "


def scores(answers: pd.DataFrame) -> pd.DataFrame:
    """One row per answer with passages: how it used the passages that its prompt held.

    ``answers``: see ``joined.join``.

    Columns: question_id, paper_id, stratum, condition, and as shares or flags from 0 to 1

    * ``answer_in_context``: the reference answer stands in a passage of the prompt.
    * ``cited``: the response cites anything.
    * ``citation_precision``: share of the cited numbers that name a gold passage; a number
      without a passage is wrong. Missing where nothing is cited.
    * ``citation_recall``: share of the gold passages in the prompt that are cited. Missing
      where the prompt held none. One citation is all that the training shows, so where two
      passages hold the answer, 0.5 is a complete answer.
    * ``answer_in_cited``: the reference answer stands in a cited passage. Missing where
      nothing is cited.
    * ``grounded``: share of the response's words that are not the question's and stand in a
      passage of the prompt (K-Precision, without the words of the question: they would make
      any answer look supported). Missing where the response has no other words.

    Adlakha V, BehnamGhader P, Lu XH, Meade N, Reddy S (2024). Evaluating correctness and
    faithfulness of instruction-following models for question answering. TACL 12, 681-699.
    """
    names = ["question_id", "paper_id", "stratum", "condition"]
    rows = [
        {name: row[name] for name in names} | _score(row)
        for row in answers.to_dict("records")
        if ALL_CONDITIONS[row["condition"]].context != "none"
    ]
    return pd.DataFrame(rows, columns=[*names, *MEASURES])


def _score(row: Mapping[str, Any]) -> dict[str, float | None]:
    passages = dict(enumerate(row["context_passage_ids"], start=1))
    texts = dict(enumerate(row["context"], start=1))
    text, answer = row["response"], row["reference"]
    gold = set(row["gold_passage_ids"])
    there = {number for number, name in passages.items() if name in gold}
    numbers = cited(text)
    right = there.intersection(numbers)
    new = [word for word in words(text) if word not in set(words(row["question"]))]
    known = {word for t in texts.values() for word in reference.words(reference.plain(t))}
    return {
        "answer_in_context": float(any(holds(t, answer) for t in texts.values())),
        "cited": float(bool(numbers)),
        "citation_precision": len(right) / len(numbers) if numbers else None,
        "citation_recall": len(right) / len(there) if there else None,
        "answer_in_cited": (
            float(any(holds(texts[n], answer) for n in numbers if n in texts)) if numbers else None
        ),
        "grounded": sum(word in known for word in new) / len(new) if new else None,
    }


def reading(table: pd.DataFrame) -> str:
    """How much of what was cited is evidence, and of what is said stands in the passages.

    ``table``: ``averages.by_condition`` of ``MEASURES``.
    """
    rows = table[table["stratum"].eq("all_post") & table["condition"].isin(CONDITIONS)]
    if rows.empty:
        return "**Citations: not measured**, because no answer had passages."
    precision, grounded = (
        each(rows[rows["measure"] == measure], "condition", "estimate")
        for measure in ("citation_precision", "grounded")
    )
    return (
        f"**Of what was cited, this much was evidence: {precision}.** Of the words that an answer "
        f"adds to its question, this much stands in its passages: {grounded}."
    )
