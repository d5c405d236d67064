"""Verdicts as tables: every answer is counted once, and examples are chosen by rule."""

import pandas as pd
import pytest

from cutoff.evaluate.judging import scoring
from cutoff.evaluate.stats import effect_table
from cutoff.experiment import CONDITIONS, RAG_CONDITIONS
from cutoff.report import claims

STRATA = ("seen", "unseen_fact", "unseen_paper", "control")


@pytest.fixture
def answers() -> pd.DataFrame:
    """Eight questions; answers with retrieval pass, others fail."""
    questions = pd.DataFrame({"question_id": [f"q{i}" for i in range(8)]})
    questions["paper_id"] = [f"p{i // 2}" for i in range(8)]
    questions["stratum"] = [*STRATA, *STRATA]
    questions["question"] = "What is " + questions["question_id"] + "?"
    questions["reference"] = "value of " + questions["question_id"]
    frame = questions.merge(pd.DataFrame({"condition": list(CONDITIONS)}), how="cross")
    hit = frame["condition"].isin(RAG_CONDITIONS)
    frame = frame.assign(
        response=frame["condition"] + " " + frame["question_id"],
        verdict=hit.map({True: "correct", False: "incorrect"}),
        passed=hit,
        retrieval_hit=hit.where(hit),
    )
    return frame.astype({"passed": "boolean", "retrieval_hit": "boolean"})


def change(answers: pd.DataFrame, condition: str, questions: list[str], verdict: str) -> None:
    rows = (answers["condition"] == condition) & answers["question_id"].isin(questions)
    passed = None if verdict == "judge_failed" else verdict == "correct"
    answers.loc[rows, ["verdict", "passed"]] = [verdict, passed]


def test_every_answer_is_counted_once_and_above_one_percent_failures_invalid(
    answers: pd.DataFrame,
) -> None:
    change(answers, "base", ["q0"], "not_attempted")
    change(answers, "base_rag", ["q3"], "judge_failed")
    outcomes = scoring.outcomes(answers).set_index("condition")
    assert list(outcomes.index) == list(CONDITIONS) and (outcomes.sum(axis=1) == 8).all()
    assert outcomes.loc["base"].tolist() == [0, 7, 1, 0]
    assert outcomes.loc["base_rag", ["judge_failed", "correct"]].tolist() == [1, 7]
    assert "1 of 48 judgements failed" in str(claims.validity(effect_table.pass_rates(answers)))


def test_examples_follow_their_rule_and_take_no_question_twice(answers: pd.DataFrame) -> None:
    change(answers, "instruct_ft", ["q0", "q4"], "correct")  # both seen; the first kind takes q0
    chosen = dict(scoring.examples(answers))
    first = chosen["Retrieval supplied the answer"]
    assert list(first["condition"]) == list(CONDITIONS)
    assert list(first["response"]) == [f"{c} q0" for c in CONDITIONS]
    assert list(first["passed"]) == [False, True, True, True, False, True]
    assert chosen["Training supplied the answer"]["question"][0] == "What is q4?"
    assert "The evidence was not retrieved" not in chosen
    questions = [rows["question"][0] for rows in chosen.values()]
    assert len(set(questions)) == len(questions)
    change(answers, "base", [f"q{i}" for i in range(8)], "judge_failed")
    assert scoring.examples(answers) == []  # without every verdict a question is no example
