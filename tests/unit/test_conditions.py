"""What is asked under which condition, and when the answers are complete."""

from pathlib import Path
from typing import Any

import pytest

from cutoff import params, prompts, run
from cutoff.errors import CutoffError
from cutoff.evaluate import conditions

QUESTIONS = [
    {"question_id": f"q{i}", "question": f"What is {i}?", "context": ["One.", "Two."]}
    for i in range(3)
]
KEYS = [f"{name}|q{i}" for name in conditions.CONDITIONS for i in range(3)]


def test_the_six_conditions_are_every_training_with_every_context() -> None:
    pairs = {(c.model, c.context) for c in conditions.CONDITIONS.values()}
    models = ("base", "instruct_ft", "rag_ft")
    assert pairs == {(m, context) for m in models for context in ("none", "retrieved")}
    assert len(conditions.CONDITIONS) == 6


def test_conditions_with_the_same_context_send_the_same_prompt() -> None:
    for question in QUESTIONS:
        for name, condition in conditions.CONDITIONS.items():
            request = conditions.request(name, question, 64)
            assert request.key == f"{name}|{question['question_id']}"
            expected = (
                prompts.render_closed_book(question["question"])
                if condition.context == "none"
                else prompts.render_rag(question["question"], question["context"])
            )
            assert request.messages == expected


def records(keys: list[str]) -> list[dict[str, Any]]:
    return [{"key": key} for key in keys]


def test_complete_answers_come_in_canonical_order() -> None:
    assert conditions.complete_records(records(KEYS[::-1]), QUESTIONS) == records(KEYS)


def test_a_missing_answer_is_named() -> None:
    with pytest.raises(CutoffError, match=r"2 of 18 answers are missing, first base_rag\|q1"):
        conditions.complete_records(records([*KEYS[:4], *KEYS[5:-1]]), QUESTIONS)


def test_an_answer_given_twice_is_named() -> None:
    with pytest.raises(CutoffError, match=r"rag_ft_rag\|q2 was answered twice"):
        conditions.complete_records(records([*KEYS, KEYS[-1]]), QUESTIONS)


def test_an_answer_to_no_question_is_named() -> None:
    with pytest.raises(CutoffError, match=r"base\|q9"):
        conditions.complete_records(records([*KEYS, "base|q9"]), QUESTIONS)


def test_answers_depend_on_weights_questions_and_settings_but_not_on_concurrency(
    tmp_path: Path,
) -> None:
    weights = {}
    for model in conditions.MODELS:
        weights[model] = tmp_path / model
        weights[model].write_text(model)

    def made_from(questions: list[dict[str, Any]] = QUESTIONS, **overrides: Any) -> str:
        stage = run.open_stage(
            "04_evaluate", params.load("tiny", {"output_dir": str(tmp_path), **overrides})
        )
        return conditions.made_from(stage, questions, weights)

    first = made_from()
    assert made_from(parallel=3) == made_from(bootstrap_replicates=200) == first
    others = [
        made_from(max_new_tokens=32),
        made_from(num_ctx=2048),
        made_from(temperature=0.5),
        made_from(QUESTIONS[:2]),
        made_from([{**QUESTIONS[0], "context": ["One.", "Other."]}, *QUESTIONS[1:]]),
    ]
    weights["rag_ft"].write_text("trained again")
    others.append(made_from())
    assert len({first, *others}) == 7
