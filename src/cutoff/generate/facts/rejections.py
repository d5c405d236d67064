"""Why passages and facts were rejected, and the funnels of 01 that count them.

Every rejection has one named reason, so that the rows of a funnel add up.
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from cutoff.records import Fact


class Reason(StrEnum):
    """In the order of the checks. The first three reject a passage, the others a fact."""

    NO_ANSWER = "the generator did not answer"
    NOT_JSON = "the reply is no JSON of the asked form"
    NOTHING = "no fact was found in the passage"
    NO_EVIDENCE = "evidence stands whole in no passage"
    MORE_THAN_ASKED = "more facts than asked for"
    BAD_FIELD = "a field is missing, empty or too long"
    NO_QUOTE = "the quote is not in the passage"
    ORDERS = "the quote speaks to a model"
    NO_SUBJECT = "the subject is not in the paper"
    NO_NAME = "the subject is no name"
    NOT_NAMED = "the question does not name its subject"
    BAD_LENGTH = "the question is too short or too long"
    NEEDS_PAPER = "the question needs the paper"
    GIVEN_AWAY = "the question gives the answer away"
    TOO_LONG = "the answer is too short or too long"
    NOT_IN_QUOTE = "the answer is not in the quote"
    NO_CITATION = "no cited work is named"
    BAD_STATEMENT = "the statement does not give the answer"
    FEW_WORDINGS = "too few different wordings"
    REPEATED = "the question was asked before"
    ALIKE = "nearly the same question was asked before"
    SAME_MEANING = "the same was asked before in other words"
    NOT_RATED = "the data set judge gave no rating"
    TOO_LOW = "rated too low by the data set judge"
    MORE_THAN_WANTED = "more facts than wanted of this paper"
    ANSWERABLE = "held out, but the corpus answers it"


OF_PASSAGES = (Reason.NO_ANSWER, Reason.NOT_JSON, Reason.NOTHING)
Rejected = dict[str, Any]  # fact_id or passage_id with task, reason, and what is known


def of_passages(found: Sequence[Fact], rejected: Sequence[Rejected]) -> list[dict[str, Any]]:
    """Rows ``{kept, dropped, reason}`` for the passages asked, each once per task; maybe none.

    ``found`` are all facts that stood the checks, ``rejected`` is what did not.
    """
    gone = [record["reason"] for record in rejected if record["reason"] in OF_PASSAGES]
    fruitful = {
        (record["passage_id"], record["task"])
        for record in [*found, *rejected]
        if "passage_id" in record and record.get("reason") not in OF_PASSAGES
    }
    return _rows("asked", gone, len(fruitful)) if gone or fruitful else []


def of_facts(found: Sequence[Fact], rejected: Sequence[Rejected]) -> list[dict[str, Any]]:
    """Rows ``{kept, dropped, reason}`` for the facts that came, and were rejected then or later."""
    reasons = [record["reason"] for record in rejected if record["reason"] not in OF_PASSAGES]
    gone = {record.get("fact_id") for record in rejected}
    return _rows("found", reasons, sum(fact["fact_id"] not in gone for fact in found))


def _rows(first: str, reasons: Sequence[str], n_left: int) -> list[dict[str, Any]]:
    dropped = Counter(map(Reason, reasons))
    kept = n_left + len(reasons)
    rows = [{"kept": kept, "dropped": 0, "reason": first}]
    for reason in Reason:
        if dropped[reason]:
            kept -= dropped[reason]
            rows.append({"kept": kept, "dropped": dropped[reason], "reason": str(reason)})
    return rows
