"""One row per answer, in one order, and nothing filled in or left out in silence."""

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


NUMBERS = dict.fromkeys(("prompt_tokens", "completion_tokens", "latency_seconds"), 1)
FLAGS = dict.fromkeys(("retrieval_hit", "citation_present", "citation_right"))
PAIRS = [{"condition": c, "question_id": f"q{i}"} for c in CONDITIONS for i in (1, 0)]
RESPONSES = [
    {**pair, **NUMBERS, "finish_reason": "stop", "response": " ".join(pair.values())}
    for pair in PAIRS
]
JUDGEMENTS = [
    {**pair, **FLAGS, "verdict": "-", "passed": None if pair["question_id"] == "q1" else True}
    for pair in PAIRS
]


def test_every_answer_is_a_row_in_the_order_of_conditions_and_questions() -> None:
    frame = joined.join(QUESTIONS, RESPONSES, JUDGEMENTS)
    assert list(frame["response"]) == ["base q0", "base q1", "base_rag q0", "base_rag q1"]
    assert list(frame["context"]) == [[], [], *[QUESTIONS[0]["context"]] * 2]
    assert frame["passed"].isna().tolist() == [False, True] * 2
    assert pd.api.types.is_bool_dtype(frame["passed"]) and frame["retrieval_hit"].isna().all()


def test_a_missing_record_is_an_error_that_names_it() -> None:
    with pytest.raises(CutoffError, match="base.q0 was not answered;"):
        joined.join(QUESTIONS, RESPONSES[:-1], JUDGEMENTS)
    with pytest.raises(CutoffError, match="base_rag.q1 was not judged;"):
        joined.join(QUESTIONS, RESPONSES, JUDGEMENTS[1:])
