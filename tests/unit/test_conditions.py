"""What is asked under which condition, and what an answer depends on."""

from typing import Any

import pytest

from cutoff import params, prompts
from cutoff.errors import CutoffError
from cutoff.evaluate import answering
from cutoff.experiment import CONDITIONS, CONTRASTS, EXTRA_CONDITIONS, MODELS

QUESTIONS = [
    {"question_id": f"q{i}", "question": f"What is {i}?", "context": ["One.", "Two."]}
    for i in range(3)
]


def test_conditions_with_the_same_context_send_the_same_prompt() -> None:
    for question in QUESTIONS:
        for name, condition in CONDITIONS.items():
            request = answering.request(name, question, 64)
            assert request.key == f"{name}|{question['question_id']}"
            expected = (
                prompts.render_closed_book(question["question"])
                if condition.context == "none"
                else prompts.render_rag(question["question"], question["context"])
            )
            assert request.messages == expected


def test_answers_depend_on_weights_questions_and_settings_but_not_on_concurrency() -> None:
    weights = {"base": {"files": ["a"]}, "rag_ft": {"files": ["b"]}}

    def made_from(questions: list[dict[str, Any]] = QUESTIONS, **overrides: Any) -> str:
        return answering.made_from(params.load("tiny", overrides), questions, weights)

    first = made_from()
    assert made_from(parallel=3) == made_from(bootstrap_replicates=200) == first
    others = [
        made_from(max_new_tokens=32),
        made_from(num_ctx=2048),
        made_from(temperature=0.5),
        made_from(repeat_penalty=1.1),
        made_from(QUESTIONS[:2]),
        made_from([{**QUESTIONS[0], "context": ["One.", "Other."]}, *QUESTIONS[1:]]),
    ]
    weights["rag_ft"] = {"files": ["trained again"]}
    others.append(made_from())
    assert len({first, *others}) == 8


def test_a_further_training_seed_asks_its_own_models_under_the_trained_conditions() -> None:
    p = params.load("tiny", {"training_seed": 3, "training_seeds": 2})
    first = answering.models_asked(p)
    assert first == {name: c.model for name, c in CONDITIONS.items()}
    assert answering.models_asked(p, 3) == first and answering.seed_suffix(p, 3) == ""
    trained = {name: model for name, model in first.items() if model != "base"}
    assert answering.models_asked(p, 4) == {n: f"{m}.seed-4" for n, m in trained.items()}
    assert answering.seed_suffix(p, 4) == ".seed-4"


def test_conditions_are_every_training_with_every_context() -> None:
    for conditions, contexts in (
        (CONDITIONS, ("none", "retrieved")),
        (EXTRA_CONDITIONS, ("oracle", "distractor")),
    ):
        pairs = [(c.model, c.context) for c in conditions.values()]
        assert sorted(pairs) == sorted((m, context) for m in MODELS for context in contexts)
    assert {name for c in CONTRASTS for name in c.plus + c.minus} <= set(CONDITIONS)


def test_extra_contexts_are_named_with_commas() -> None:
    def named(value: str | None) -> tuple[str, ...]:
        return answering.extra_contexts(params.load("tiny", {"extra_contexts": value}))

    assert named(None) == () and named("oracle") == ("oracle",)
    assert named(" distractor , oracle") == named("both") == ("oracle", "distractor")
    for value in ("orakel", "oracle,all", ",", "oracle;distractor"):
        with pytest.raises(CutoffError, match="oracle, distractor, both, or null"):
            named(value)


def test_answers_with_extra_contexts_depend_on_those_passages_only() -> None:
    p, weights = params.load("tiny"), {"base": {"files": ["a"]}}
    names = [name for name, c in EXTRA_CONDITIONS.items() if c.context == "oracle"]

    def made_from(oracle: str, other: str = "x", retrieved: str = "r") -> str:
        kinds = {"oracle": oracle, "distractor": other}
        made = {k: {"context": [v], "context_passage_ids": ["p#1"]} for k, v in kinds.items()}
        question = QUESTIONS[0] | {"context": [retrieved], "extra_contexts": made}
        return answering.made_from(p, [question], weights, names)

    assert made_from("a") == made_from("a", other="y") == made_from("a", retrieved="s")
    assert made_from("a") != made_from("b")
