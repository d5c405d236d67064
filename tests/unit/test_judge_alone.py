"""Answers from elsewhere: read strictly, judged like all others, kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from cutoff import files, params
from cutoff.errors import CutoffError
from cutoff.evaluate.judging import foreign_answers
from cutoff.run import folders

QUESTIONS = [
    {"question_id": "a", "question": "What is it?", "reference": "planning"},
    {"question_id": "b", "question": "How many?", "reference": "84 %"},
]
ANSWERS = [
    {"question_id": "a", "response": "Planning [3]."},
    {"question_id": "b", "response": "About 85 %."},
]


@pytest.fixture
def p(tmp_path: Path) -> params.Params:
    return params.load("tiny", {"output_dir": str(tmp_path / "outputs")})


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_answers_of_people_are_judged_against_a_file_of_questions(
    tmp_path: Path, p: params.Params
) -> None:
    answers = write(tmp_path / "human.jsonl", ANSWERS)
    text = foreign_answers.judge_file(p, answers, write(tmp_path / "exam.jsonl", QUESTIONS))
    records = files.read_jsonl(tmp_path / "human.judged/judgements.jsonl")
    assert [(r["key"], r["verdict"], r["passed"]) for r in records] == [
        ("reference|human|a", "correct", True),
        ("reference|human|b", "incorrect", False),
    ]
    assert "human 50.0" in text and "human.judged" in text
    assert answers.read_text().count("\n") == 2  # what was given is left as it was


def test_answers_of_an_earlier_run_are_judged_by_condition_against_the_data_set(
    tmp_path: Path, p: params.Params
) -> None:
    dataset = folders.open_stage("04_evaluate", p).dataset_folder
    write(dataset / "eval.jsonl", QUESTIONS)
    earlier = [{**a, "condition": c} for c in ("base", "base_rag") for a in ANSWERS]
    text = foreign_answers.judge_file(p, write(tmp_path / "responses.jsonl", earlier))
    assert "Base 50.0" in text and "Base + RAG 50.0" in text


@pytest.mark.parametrize(
    ("questions", "answers", "words"),
    [
        (QUESTIONS, [], "holds no record"),
        (QUESTIONS, [{"question_id": "a"}], "record 1: the field 'response' is missing"),
        (QUESTIONS, [{"question_id": "a", "response": None}], "'response' is missing or no text"),
        (QUESTIONS, [*ANSWERS, {"question_id": "z", "response": "x"}], "line 3: .* question 'z'"),
        (QUESTIONS, [*ANSWERS, ANSWERS[0]], r"the answer 'human\|a' stands there 2 times"),
        ([*QUESTIONS, QUESTIONS[1]], ANSWERS, "the question 'b' stands there 2 times"),
    ],
)
def test_a_file_that_lacks_something_is_an_error_that_names_it(
    tmp_path: Path,
    p: params.Params,
    questions: list[dict[str, Any]],
    answers: list[dict[str, Any]],
    words: str,
) -> None:
    exam = write(tmp_path / "exam.jsonl", questions)
    with pytest.raises(CutoffError, match=words):
        foreign_answers.judge_file(p, write(tmp_path / "human.jsonl", answers), exam)
    assert not (tmp_path / "human.judged").exists()
