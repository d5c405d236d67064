"""One row per answer, in one order, and nothing filled in or left out in silence."""

from typing import Any

import pandas as pd
import pytest

from cutoff.errors import CutoffError
from cutoff.evaluate import joined

QUESTIONS = [
    {
        "question_id": f"q{i}",
        "paper_id": "p",
        "stratum": "seen",
        "question": "Which?",
        "reference": "ring",
        "statement": "It is ring.",
        "gold_passage_ids": ["p#0"],
        "context_passage_ids": ["p#0", "p#1"],
        "context": ["It is ring.", "It is not."],
    }
    for i in range(2)
]
CONDITIONS = ("base_rag", "base")


def response(condition: str, question: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("prompt_tokens", "completion_tokens", "latency_seconds"), 1)
    row = {"condition": condition, "question_id": question, "finish_reason": "stop"}
    return {**row, **numbers, "response": f"{condition} {question}"}


def judgement(condition: str, question: str, passed: bool | None = True) -> dict[str, Any]:
    flags = dict.fromkeys(("retrieval_hit", "citation_present", "citation_right"))
    row = {"condition": condition, "question_id": question, "passed": passed}
    return {**row, **flags, "verdict": "correct" if passed else "judge_failed"}


PAIRS = [(condition, f"q{i}") for condition in CONDITIONS for i in (1, 0)]
RESPONSES = [response(*pair) for pair in PAIRS]
JUDGEMENTS = [judgement(*pair, passed=None if pair[1] == "q1" else True) for pair in PAIRS]


def test_every_answer_is_a_row_in_the_order_of_conditions_and_questions() -> None:
    frame = joined.join(QUESTIONS, RESPONSES, JUDGEMENTS)
    assert list(frame["response"]) == ["base q0", "base q1", "base_rag q0", "base_rag q1"]
    assert list(frame["context"]) == [[], [], *[QUESTIONS[0]["context"]] * 2]
    assert frame["passed"].isna().tolist() == [False, True] * 2
    assert pd.api.types.is_bool_dtype(frame["passed"]) and frame["retrieval_hit"].isna().all()


@pytest.mark.parametrize(
    ("responses", "judgements", "words"),
    [
        (RESPONSES[:-1], JUDGEMENTS, "base.q0 was not answered;"),
        (RESPONSES, JUDGEMENTS[1:], "base_rag.q1 was not judged;"),
    ],
)
def test_a_missing_record_is_an_error_that_names_it(
    responses: list[Any], judgements: list[Any], words: str
) -> None:
    with pytest.raises(CutoffError, match=words):
        joined.join(QUESTIONS, responses, judgements)
