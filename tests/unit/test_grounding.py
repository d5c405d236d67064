"""Citations and groundedness against the passages that the prompt really held."""

from typing import Any

import pandas as pd
import pytest

from cutoff.evaluate.answering import context
from cutoff.evaluate.diagnostics import grounding
from cutoff.experiment import ALL_CONDITIONS

QUESTION = {
    "question_id": "p/task?4",
    "paper_id": "p",
    "stratum": "seen",
    "question": "What is Linen Garden for?",
    "reference": "planning",
    "gold_passage_ids": ["p#2", "p#5", "p#9"],
    "context_passage_ids": ["p#1", "p#2", "p#5"],
    "context": ["It runs on printers.", "The task is planning.", "For planning, it is good …"],
    "extra_contexts": {
        "oracle": {"context_passage_ids": ["p#2"], "context": ["The task is planning."]},
        "distractor": {"context_passage_ids": ["p#1"], "context": ["It runs on printers."]},
    },
}


def score(text: str, condition: str = "base_rag", **changed: Any) -> dict[str, Any]:
    return dict(grounding.scores(answered(text, condition, **changed)).iloc[0])


def answered(text: str, condition: str, **changed: Any) -> pd.DataFrame:
    question = {**QUESTION, **changed}
    held = context(ALL_CONDITIONS[condition].context, question)
    return pd.DataFrame([{**question, **held, "condition": condition, "response": text}])


@pytest.mark.parametrize(
    ("text", "precision", "recall"),
    [
        ("Planning. [2]", 1, 1 / 2),
        ("Planning. [2][3]", 1, 1),
        ("Planning. [2, 2]", 1, 1 / 2),
        ("Planning. [1]", 0, 0),
        ("Planning. [1][2]", 1 / 2, 1 / 2),
        ("Planning. [2][7]", 1 / 2, 1 / 2),  # there is no passage 7
        ("Planning. [1-3]", 2 / 3, 1),
        ("Planning.", None, 0),
    ],
)
def test_precision_and_recall_count_what_the_prompt_held(
    text: str, precision: float | None, recall: float
) -> None:
    row = score(text)  # p#9 is evidence, but was not in the prompt: nobody could cite it
    assert row["citation_recall"] == pytest.approx(recall)
    if precision is None:
        assert pd.isna(row["citation_precision"]) and pd.isna(row["answer_in_cited"])
    else:
        assert row["citation_precision"] == pytest.approx(precision)


def test_without_evidence_in_the_prompt_there_is_no_recall_and_no_precision() -> None:
    row = score("Planning. [1]", gold_passage_ids=["p#9"])
    assert pd.isna(row["citation_recall"]) and row["citation_precision"] == 0


def test_the_answer_is_looked_for_in_the_text_that_was_shown() -> None:
    row = score("Planning. [1]")
    assert (row["answer_in_context"], row["answer_in_cited"]) == (1, 0)
    assert score("Planning. [2]")["answer_in_cited"] == 1
    cut = ["It runs.", "The …", "For …"]  # shortened: the gold passage is there, its answer not
    assert score("Planning. [2]", context=cut)["answer_in_context"] == 0


def test_words_of_the_question_ground_nothing_and_invented_words_lower_the_share() -> None:
    assert score("Linen Garden is for planning. [2]")["grounded"] == 1
    assert score("Linen Garden is for cooking. [2]")["grounded"] == 0
    assert score("Linen Garden is for planning meals. [2]")["grounded"] == 1 / 2
    assert pd.isna(score("Linen Garden is for. [2]")["grounded"])


def test_every_context_is_measured_by_its_own_passages() -> None:
    text = "Planning. [1]"
    assert score(text)["citation_precision"] == 0
    assert score(text, "base_oracle")["citation_precision"] == 1
    assert score(text, "rag_ft_distractor")["answer_in_context"] == 0
    response = {"condition": "base_oracle", "question_id": "p/task?4", "response": text}
    assert grounding.citations(QUESTION, response) == {
        "retrieval_hit": True,
        "citation_present": True,
        "citation_right": True,
    }


def test_closed_book_answers_are_left_out() -> None:
    frame = grounding.scores(answered("Planning. [2]", "rag_ft"))
    assert frame.empty and set(grounding.MEASURES) <= set(frame.columns)


@pytest.mark.parametrize(
    ("text", "answer", "there"),
    [
        ("It reaches 84.0 % there.", "84 percent", True),
        ("It has 7 billion weights.", "7B", True),
        ("It reaches 840 percent.", "84 percent", False),
        ("It uses GLIDE.", "Glide", True),
        ("It glides.", "Glide", False),
        ("It uses the Glide method.", "Glide method", True),
        ("Glide is a method.", "Glide method", False),
        ("Anything.", "", False),
    ],
)
def test_an_answer_stands_there_as_whole_words_or_by_value(
    text: str, answer: str, there: bool
) -> None:
    assert grounding.holds(text, answer) is there
