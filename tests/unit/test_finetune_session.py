"""What a training is watched by: the clock of its session, and questions it does not train."""

import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cutoff import deadline, files
from cutoff.errors import CutoffError
from cutoff.finetune import held_out
from cutoff.finetune.session import MOST_SKIPPED, Session


def arguments(**changes: Any) -> Any:
    return SimpleNamespace(
        **{"fp16": False, "learning_rate": 1e-4, "logging_steps": 5, "world_size": 1, **changes}
    )


def state(step: int, entry: dict[str, Any] | None = None) -> Any:
    log = [entry] if entry else []
    return SimpleNamespace(
        global_step=step, max_steps=100, log_history=log, is_world_process_zero=True
    )


def end_of_step(
    session: Session, step: int, args: Any, optimizer: Any = None, seconds: float = 0.0
) -> SimpleNamespace:
    control = SimpleNamespace(should_save=False, should_training_stop=False, should_log=False)
    session._stepped -= seconds  # the step took this long
    session.on_step_end(args, state(step), control, optimizer=optimizer)
    return control


@pytest.mark.parametrize(
    ("step", "left", "stops"),
    [
        (10, 300.0, False),  # the next chance to save comes after 5 steps of 20 seconds
        (10, 90.0, True),
        (11, 90.0, False),  # one more step fits, and so does a save after it
        (11, 15.0, True),
        (98, 30.0, False),  # what is left of the training fits
        (100, 1.0, False),  # there is nothing left to do
    ],
)
def test_a_training_stops_where_the_next_chance_to_save_would_come_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, left: float, stops: bool
) -> None:
    end = time.time() + left + deadline.MARGIN_SECONDS
    monkeypatch.setenv(deadline.VARIABLE, repr(end))
    session = Session("rag_ft", tmp_path / "progress.jsonl", checkpoint_seconds=3600)
    control = end_of_step(session, step, arguments(), seconds=20)
    assert control.should_training_stop == control.should_save == session.out_of_time == stops
    if stops:
        assert control.should_log, "no part of a logged mean may be lost"


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path, loss: float) -> None:
    session = Session("rag_ft", tmp_path / "progress.jsonl", 3600)
    entry = {"loss": loss, "grad_norm": 1.0}
    with pytest.raises(CutoffError, match="rag_ft diverged.*smaller learning_rate"):
        session.on_log(arguments(), state(5, entry), SimpleNamespace())


def test_overflowing_gradients_stop_a_training_unless_float16_is_looking_for_its_scale(
    tmp_path: Path,
) -> None:
    session = Session("rag_ft", tmp_path / "progress.jsonl", 3600)
    entry = {"loss": 1.0, "grad_norm": math.inf}
    with pytest.raises(CutoffError, match="diverged"):
        session.on_log(arguments(), state(5, dict(entry)), SimpleNamespace())
    session.on_log(arguments(fp16=True), state(5, dict(entry)), SimpleNamespace())

    skipped, taken = (SimpleNamespace(step_was_skipped=flag) for flag in (True, False))
    half = arguments(fp16=True)
    for step in range(MOST_SKIPPED):
        end_of_step(session, step, half, skipped)
    end_of_step(session, 20, half, taken)  # found: the count starts again
    for step in range(MOST_SKIPPED):
        end_of_step(session, 21 + step, half, skipped)
    with pytest.raises(CutoffError, match="overflowed in 11 steps"):
        end_of_step(session, 40, half, skipped)


def question(number: int, stratum: str, gold: list[str]) -> dict[str, Any]:
    return {
        "question_id": f"q{number}",
        "stratum": stratum,
        "question": f"What is {number}?",
        "statement": f"It is {number}.",
        "gold_passage_ids": gold,
        "context_passage_ids": ["a", "b", "c"],
        "context": ["A.", "B.", "C."],
    }


def test_watched_questions_have_the_form_of_the_trained_examples(tmp_path: Path) -> None:
    golds = [["b"], ["c", "b"], ["x"]]
    rows = [question(i, "seen", gold) for i, gold in enumerate(golds)]
    rows += [question(9, "control", ["a"])]
    files.write_jsonl_atomic(tmp_path / "eval.jsonl", rows)
    with_passages = held_out.records(tmp_path / "eval.jsonl", "rag_ft", 40)
    assert [r["completion"] for r in with_passages] == ["It is 0. [2]", "It is 1. [2]", "It is 2."]
    assert "[3] C." in with_passages[0]["messages"][-1]["content"]
    alone = held_out.records(tmp_path / "eval.jsonl", "instruct_ft", 2)
    assert [r["completion"] for r in alone] == ["It is 0.", "It is 1."]
    assert alone[0]["messages"][-1]["content"] == "Question: What is 0?"


@pytest.mark.parametrize("epochs", [1, 5, 50])
def test_watching_costs_a_small_share_of_the_training(epochs: int) -> None:
    n = held_out.affordable(40, n_examples=480, epochs=epochs)
    assert held_out.FEWEST <= n <= 40
    passes = n * len(held_out.STRATA) * held_out.POINTS * held_out.FORWARD
    assert n == held_out.FEWEST or passes <= held_out.SHARE * 480 * epochs
    assert held_out.affordable(3, 480, epochs) == 3
