"""Verdicts as frames: complete, in order, and missing stays missing."""

from typing import Any

import pandas as pd
import pytest

from cutoff.errors import CutoffError
from cutoff.evaluate.judging import scoring
from cutoff.evaluate.stats import effect_table
from cutoff.experiment import CONDITIONS
from cutoff.report import claims

STRATA = ("seen", "unseen_fact", "unseen_paper", "control")
QUESTIONS = [
    {
        "question_id": f"q{i}",
        "paper_id": f"p{i // 2}",
        "stratum": STRATA[i % 4],
        "question": f"What is {i}?",
        "reference": f"value {i}",
    }
    for i in range(8)
]


def judgement(condition: str, question: dict[str, Any], **changed: Any) -> dict[str, Any]:
    rag = CONDITIONS[condition].context == "retrieved"
    record = {
        "condition": condition,
        "question_id": question["question_id"],
        "verdict": "correct" if rag else "incorrect",
        "passed": rag,
        "retrieval_hit": True if rag else None,
        "citation_present": True if rag else None,
        "citation_right": True if rag else None,
    }
    return {**record, **changed}


@pytest.fixture
def judgements() -> list[dict[str, Any]]:
    """RAG answers pass and others fail; in the reverse of the canonical order."""
    return [judgement(c, q) for c in reversed(CONDITIONS) for q in reversed(QUESTIONS)]


def change(judgements: list[dict[str, Any]], condition: str, question_id: str, **to: Any) -> None:
    for record in judgements:
        if (record["condition"], record["question_id"]) == (condition, question_id):
            record.update(to)


def test_rows_stand_in_canonical_order_whatever_the_order_of_judging(
    judgements: list[dict[str, Any]],
) -> None:
    frame = scoring.verdicts(QUESTIONS, judgements)
    assert list(frame["condition"].unique()) == list(CONDITIONS)
    assert list(frame["question_id"][:8]) == [q["question_id"] for q in QUESTIONS]
    pd.testing.assert_frame_equal(frame, scoring.verdicts(QUESTIONS, judgements[::-1]))


def test_a_failed_judgement_is_missing_counted_and_above_one_percent_invalid(
    judgements: list[dict[str, Any]],
) -> None:
    change(judgements, "base_rag", "q3", verdict="judge_failed", passed=None)
    frame = scoring.verdicts(QUESTIONS, judgements)
    assert frame["passed"].isna().sum() == 1
    outcomes = scoring.outcomes(frame).set_index("condition")
    assert outcomes.loc["base_rag", "judge_failed"] == 1
    assert outcomes.loc["base_rag", "correct"] == 7
    assert "1 of 48 judgements failed" in str(claims.validity(effect_table.pass_rates(frame)))


def test_a_missing_judgement_is_an_error_that_names_it(judgements: list[dict[str, Any]]) -> None:
    lost = [j for j in judgements if (j["condition"], j["question_id"]) != ("rag_ft", "q5")]
    with pytest.raises(CutoffError, match="q5 has no judgement under rag_ft"):
        scoring.verdicts(QUESTIONS, lost)


def test_two_judgements_of_one_answer_are_an_error(judgements: list[dict[str, Any]]) -> None:
    with pytest.raises(CutoffError, match="judged twice under rag_ft_rag"):
        scoring.verdicts(QUESTIONS, [*judgements, judgements[0]])


def test_outcomes_count_every_answer_once(judgements: list[dict[str, Any]]) -> None:
    change(judgements, "base", "q0", verdict="not_attempted")
    outcomes = scoring.outcomes(scoring.verdicts(QUESTIONS, judgements)).set_index("condition")
    assert (outcomes.sum(axis=1) == len(QUESTIONS)).all()
    assert outcomes.loc["base"].to_dict() == {
        "correct": 0,
        "incorrect": 7,
        "not_attempted": 1,
        "judge_failed": 0,
    }


def test_examples_follow_their_rule_and_take_no_question_twice(
    judgements: list[dict[str, Any]],
) -> None:
    for name in ("q0", "q4"):  # both are seen; q0 is taken by the first kind
        change(judgements, "instruct_ft", name, verdict="correct", passed=True)
    frame = scoring.verdicts(QUESTIONS, judgements)
    responses = [
        {"condition": c, "question_id": q["question_id"], "response": f"{c} {q['question_id']}"}
        for c in CONDITIONS
        for q in QUESTIONS
    ]
    chosen = dict(scoring.examples(frame, QUESTIONS, responses))
    first = chosen["Retrieval supplied the answer"]
    assert list(first["condition"]) == list(CONDITIONS)
    assert list(first["response"]) == [f"{c} q0" for c in CONDITIONS]
    assert list(first["passed"]) == [False, True, True, True, False, True]
    assert chosen["Training supplied the answer"]["question"][0] == "What is 4?"
    assert "The evidence was not retrieved" not in chosen
    questions = [rows["question"][0] for rows in chosen.values()]
    assert len(set(questions)) == len(questions)


def test_a_question_without_every_verdict_is_no_example(judgements: list[dict[str, Any]]) -> None:
    for question in QUESTIONS:
        change(judgements, "base", question["question_id"], verdict="judge_failed", passed=None)
    responses = [{**j, "response": ""} for j in judgements]
    assert scoring.examples(scoring.verdicts(QUESTIONS, judgements), QUESTIONS, responses) == []
