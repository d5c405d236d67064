"""Six conditions answered by real llama.cpp: complete, resumed after a kill, never mixed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cutoff import files, models, params
from cutoff.engines import llama_cpp
from cutoff.errors import CutoffError
from cutoff.evaluate import answering
from cutoff.experiment import CONDITIONS
from cutoff.run import folders

QUESTIONS = [
    {
        "question_id": f"paper-{i}/task?4",
        "paper_id": f"paper-{i}",
        "stratum": "seen",
        "question": f"What is method {i} for?",
        "context": [f"Method {i} is for parsing.", "It is short."],
    }
    for i in range(6)
]
N_ANSWERS = 36


@pytest.fixture(scope="module")
def weights(varied_weights: Path) -> Path:
    return varied_weights


def open_run(folder: Path, weights: Path, **overrides: Any) -> folders.Run:
    """Stage 04 of a run whose three models are the same small one."""
    settings = {"output_dir": str(folder), "max_new_tokens": 8, "parallel": 4, **overrides}
    stage = folders.open_stage("04_evaluate", params.load("tiny", settings))
    for model in ("base", *models.adapters(stage.params)):
        path = served(stage, model)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(weights.read_bytes())
    files.write_json_atomic(stage.folder / "parity.json", {"provider": "llama_cpp"})
    return stage


def keys(conditions: Iterable[str], questions: Sequence[Any] = QUESTIONS) -> list[str]:
    return [f"{name}|{question['question_id']}" for name in conditions for question in questions]


def served(stage: folders.Run, model: str) -> Path:
    return models.files_of(stage.folder, model, stage.params).served


def test_every_condition_answers_every_question_alike_at_any_concurrency(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = open_run(tmp_path / "a", weights, parallel=8)
    records = answering.answer(stage, QUESTIONS)
    assert [record["key"] for record in records] == keys(CONDITIONS)
    closed, rag = records[0], records[len(QUESTIONS)]
    assert rag["prompt_tokens"] > closed["prompt_tokens"]
    # The three models are one file here: only the prompt can make a difference.
    texts = {record["key"]: record["response"] for record in records}
    assert texts["base|paper-0/task?4"] == texts["rag_ft|paper-0/task?4"]
    one = answering.answer(open_run(tmp_path / "b", weights, parallel=1), QUESTIONS)
    same = ("key", "response", "prompt_tokens", "completion_tokens", "finish_reason")
    assert [[r[name] for name in same] for r in records] == [
        [r[name] for name in same] for r in one
    ]
    monkeypatch.setattr(llama_cpp, "serve", None)  # what is finished needs no server
    assert answering.answer(stage, QUESTIONS) == records


def test_a_killed_run_goes_on_where_it_stood(tmp_path: Path, weights: Path) -> None:
    stage = open_run(tmp_path, weights)
    whole = answering.answer(open_run(tmp_path / "whole", weights), QUESTIONS)
    script = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        import test_llm_conditions as t
        from cutoff.evaluate import answering
        stage = t.open_run(Path({str(tmp_path)!r}), Path({str(weights)!r}))
        answering.answer(stage, t.QUESTIONS)
        """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], env=os.environ)
    path = stage.folder / "responses.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= 5:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = path.read_bytes()
    assert before.count(b"\n") >= 5

    path.write_bytes(before + b'{"key": "rag_ft_rag|torn')  # what a kill inside a write leaves
    records = answering.answer(stage, QUESTIONS)
    after = path.read_bytes()
    assert after.startswith(before[: before.rfind(b"\n") + 1])  # kept, not asked again
    assert after.count(b"\n") == N_ANSWERS == len(records)
    assert [r["response"] for r in records] == [r["response"] for r in whole]


def test_answers_of_other_weights_are_set_aside_and_said_so(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = open_run(tmp_path, weights)
    answering.answer(stage, QUESTIONS)
    old = (stage.folder / "responses.jsonl").read_bytes()
    changed = served(stage, "rag_ft")
    changed.write_bytes(changed.read_bytes() + b"\0")  # the same weights in another file
    answering.answer(stage, QUESTIONS)
    assert "what made the records has changed" in capsys.readouterr().out
    assert (stage.folder / "responses.jsonl").read_bytes() != old  # asked again: other latencies
    parked = [path for path in stage.folder.glob("responses.*.jsonl") if path.read_bytes() == old]
    assert len(parked) == 1


def test_a_prompt_that_does_not_fit_names_its_question_and_keeps_the_others(
    tmp_path: Path, weights: Path
) -> None:
    stage = open_run(tmp_path, weights, num_ctx=256, parallel=1)
    long = {**QUESTIONS[3], "context": ["word " * 400, "Short."]}
    with pytest.raises(CutoffError, match=r"base_rag\|paper-3/task\?4.*num_ctx = 256"):
        answering.answer(stage, [*QUESTIONS[:3], long, *QUESTIONS[4:]])
    assert (stage.folder / "responses.jsonl").read_bytes().count(b"\n") == 3


def test_a_further_training_seed_is_answered_beside_the_first_and_kept_apart(
    tmp_path: Path, weights: Path
) -> None:
    stage = open_run(tmp_path, weights, training_seeds=2)
    first = answering.answer(stage, QUESTIONS)
    second = answering.answer(stage, QUESTIONS, training_seed=1)
    trained = [name for name, c in CONDITIONS.items() if c.model != "base"]
    assert [r["key"] for r in second] == keys(trained)
    assert answering.answer(stage, QUESTIONS) == first
    with pytest.raises(CutoffError, match="seed-1.*03_export_gguf"):
        served(stage, "rag_ft.seed-1").unlink()
        answering.answer(stage, QUESTIONS, training_seed=1)


EXTRA_QUESTIONS = [
    question
    | {
        "extra_contexts": {
            "oracle": {"context_passage_ids": ["p#1"], "context": [question["context"][0]]},
            "distractor": {"context_passage_ids": ["p#2"], "context": [question["context"][1]]},
        }
    }
    for question in QUESTIONS
]


def test_extra_contexts_are_asked_beside_the_six_and_kept_when_one_is_added(
    tmp_path: Path, weights: Path
) -> None:
    stage = open_run(tmp_path, weights, extra_contexts="oracle")
    six = answering.answer(stage, EXTRA_QUESTIONS)
    main = (stage.folder / "responses.jsonl").read_bytes()
    oracle = answering.answer_extra(stage, EXTRA_QUESTIONS)
    names = ("base_oracle", "instruct_ft_oracle", "rag_ft_oracle")
    assert [r["key"] for r in oracle] == keys(names)
    # One passage instead of two: longer than closed book, shorter than retrieved.
    closed, retrieved = six[0]["prompt_tokens"], six[len(QUESTIONS)]["prompt_tokens"]
    assert closed < oracle[0]["prompt_tokens"] < retrieved
    kept = (stage.folder / "responses.oracle.jsonl").read_bytes()

    stage = open_run(tmp_path, weights, extra_contexts="both")
    both = answering.answer_extra(stage, EXTRA_QUESTIONS)
    assert both[: len(oracle)] == oracle and len(both) == 2 * len(oracle)
    assert (stage.folder / "responses.oracle.jsonl").read_bytes() == kept
    assert (stage.folder / "responses.jsonl").read_bytes() == main


def test_unanswerable_questions_are_put_to_the_six_conditions_in_a_file_of_their_own(
    tmp_path: Path, weights: Path
) -> None:
    stage = open_run(tmp_path, weights)
    records = answering.answer_unanswerable(stage, QUESTIONS[:2])
    assert [r["key"] for r in records] == keys(CONDITIONS, QUESTIONS[:2])
    assert answering.answer_extra(stage, QUESTIONS) == []  # nothing more is asked
    assert answering.answer_unanswerable(stage, []) == []
    assert [path.name for path in stage.folder.glob("responses*.jsonl")] == [
        "responses.unanswerable.jsonl"
    ]
    assert answering.answer_unanswerable(stage, QUESTIONS[:2]) == records
