"""What became of all passages that were asked and of all facts that came back.

Rows are ``{step, kept, dropped, reason}``, like those of ``papers.funnel``: every rejection has
one named reason, and the rows add up.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from cutoff.generate.facts import checks, dataset_judge
from cutoff.generate.questions import evidence, strata, unanswerable
from cutoff.records import Fact

# Reason -> what is left when it is through, in the order of the checks.
PASSAGE_STEPS = {
    checks.NO_ANSWER: "answered",
    checks.NOT_JSON: "reply could be read",
    checks.NOTHING: "with facts",
}
FACT_STEPS = {
    evidence.NO_EVIDENCE: "evidence in a passage",
    checks.MORE_THAN_ASKED: "as many as asked for",
    checks.BAD_FIELD: "complete",
    checks.NO_QUOTE: "quote in the passage",
    checks.ORDERS: "quote speaks to readers",
    checks.NO_SUBJECT: "subject in the paper",
    checks.NO_NAME: "subject is a name",
    checks.NOT_NAMED: "question names it",
    checks.BAD_LENGTH: "question of fair length",
    checks.NEEDS_PAPER: "question stands alone",
    checks.GIVEN_AWAY: "answer not given away",
    checks.TOO_LONG: "answer of fair length",
    checks.NOT_IN_QUOTE: "answer in the quote",
    checks.NO_CITATION: "cited work named",
    checks.BAD_STATEMENT: "statement gives the answer",
    checks.FEW_WORDINGS: "enough wordings",
    checks.REPEATED: "not asked before",
    checks.ALIKE: "not nearly the same",
    checks.SAME_MEANING: "not the same in meaning",
    dataset_judge.NOT_RATED: "rated",
    dataset_judge.TOO_LOW: "rated well enough",
    strata.MORE_THAN_WANTED: "wanted of this paper",
    unanswerable.ANSWERABLE: "held out and not answered",
}


def of_passages(found: Iterable[Fact], rejected: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows for the passages that were asked, each once per task; none where none were asked.

    ``found`` are all facts that stood the checks, ``rejected`` is what did not.
    """
    gone = [record for record in rejected if record.get("level") == "passage"]
    fruitful = {
        (record["passage_id"], record["task"])
        for record in [*found, *rejected]
        if "passage_id" in record and record.get("level") != "passage"
    }
    if not gone and not fruitful:
        return []
    reasons = [record["reason"] for record in gone]
    return _rows("passages asked", PASSAGE_STEPS, reasons, len(fruitful))


def of_facts(
    found: Sequence[Fact], rejected: Sequence[dict[str, Any]], first: str
) -> list[dict[str, Any]]:
    """Rows for the facts; ``first`` says where they come from."""
    reasons = [record["reason"] for record in rejected if record.get("level") != "passage"]
    return _rows(first, FACT_STEPS, reasons, len(found))


def _rows(
    first: str, steps: dict[str, str], reasons: Sequence[str], left: int
) -> list[dict[str, Any]]:
    kept = left + len(reasons)
    rows = [{"step": first, "kept": kept, "dropped": 0, "reason": ""}]
    dropped = Counter(reasons)
    unknown = set(dropped) - set(steps)
    assert not unknown, f"reasons without a step: {unknown}"
    for reason, step in steps.items():
        if dropped[reason]:
            kept -= dropped[reason]
            rows.append({"step": step, "kept": kept, "dropped": dropped[reason], "reason": reason})
    return rows
