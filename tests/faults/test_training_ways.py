"""Other ways to train: two processes, 4-bit weights, sessions that end, several seeds."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors import safe_open

from cutoff import deadline, files
from cutoff.errors import CutoffError, DeadlineReached
from cutoff.finetune import adapter, base, launch, settings
from cutoff.finetune.settings import Training

Reports = dict[str, dict[str, Any]]
Train = Callable[..., Reports]


def weights(training: Training, name: str) -> dict[str, Any]:
    path = Path(training.adapters_folder, name, "adapter_model.safetensors")
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}


def adapter_bytes(training: Training) -> dict[str, bytes]:
    files = Path(training.adapters_folder).glob("*/adapter_model.safetensors")
    return {path.parent.name: path.read_bytes() for path in files}


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Difference of two adapters relative to the size of the first."""
    square = sum(float(((one[k] - other[k]) ** 2).sum()) for k in one)
    return float((square / sum(float((one[k] ** 2).sum()) for k in one)) ** 0.5)


@pytest.fixture
def variation(small_training: dict[str, Any], tmp_path: Path) -> Callable[..., Training]:
    """The small training with other settings, in a folder of its own."""

    def make(name: str, **changes: Any) -> Training:
        folder = tmp_path / name / "adapters"
        folder.mkdir(parents=True)
        places = {
            "adapters_folder": str(folder),
            "progress_file": str(folder / "progress.jsonl"),
            "checkpoint_seconds": 3600.0,
        }
        return Training(**{**small_training, **places, **changes})

    return make


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Train:
    """Trains adapters (the first one, if none is named) in this process, which has loaded the
    libraries already."""
    monkeypatch.setattr(base, "skip_bitsandbytes", lambda: None)  # other tests need it

    def some(training: Training, *names: str) -> Reports:
        for name in names or ("instruct_ft",):
            adapter.train(training, name)
        return {name: settings.finished(training, name) or {} for name in names or ("instruct_ft",)}

    return some


def stop_in_the_middle(train: Train, training: Training) -> str:
    """Train until the session ends, which it does at the first sign of progress."""
    progress = Path(training.progress_file)

    def end_session() -> None:
        while not (progress.exists() and progress.stat().st_size):
            time.sleep(0.001)
        os.environ[deadline.VARIABLE] = repr(time.time())

    threading.Thread(target=end_session, daemon=True).start()
    try:
        with pytest.raises(DeadlineReached) as info:
            train(training)
    finally:
        os.environ.pop(deadline.VARIABLE, None)
    return str(info.value)


def test_a_deadline_leaves_a_checkpoint_and_the_next_run_ends_with_the_same_bytes(
    variation: Callable[..., Training], train: Train
) -> None:
    undisturbed, stopped = variation("undisturbed", epochs=8), variation("stopped", epochs=8)
    message = stop_in_the_middle(train, stopped)
    assert "deadline_minutes reached: checkpoint of instruct_ft saved at step" in message
    assert message.endswith("of 24. Run again to continue.")
    reports = train(stopped)
    assert 0 < reports["instruct_ft"]["resumed_at_step"] < 24
    train(undisturbed)
    assert adapter_bytes(stopped) == adapter_bytes(undisturbed)


def test_a_training_whose_time_is_up_is_not_started(
    variation: Callable[..., Training],
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(deadline.VARIABLE, repr(time.time()))
    with pytest.raises(DeadlineReached, match="instruct_ft has not been started"):
        train(variation("late"))


def test_four_bit_weights_train_resume_exactly_and_make_another_adapter(
    variation: Callable[..., Training], train: Train
) -> None:
    shape = {"epochs": 5, "learning_rate": 1e-2, "lora_rank": 16}
    shape |= {"load_in_4bit": True, "gradient_checkpointing": "on"}
    packed, stopped = variation("packed", **shape), variation("stopped", **shape)
    plain = variation("plain", **{**shape, "load_in_4bit": False})
    reports = train(packed)
    for report in reports.values():
        assert report["load_in_4bit"] and report["checkpointing"]
        assert report["losses"][-1]["loss"] < report["losses"][0]["loss"] - 0.2
    stop_in_the_middle(train, stopped)
    train(stopped)
    assert adapter_bytes(stopped) == adapter_bytes(packed)
    train(plain)
    for name in reports:
        # The weights differ by their rounding to 4 bits, so what is learned on top does too.
        assert 0.01 < distance(weights(plain, name), weights(packed, name))


def test_every_seed_has_its_adapters_and_the_first_ones_stay_as_they_are(
    variation: Callable[..., Training], train: Train
) -> None:
    one = variation("seeds", epochs=1)
    train(one, *settings.adapters(one))
    before = adapter_bytes(one)
    more = dataclasses.replace(one, training_seeds=2)
    reports = train(more, *settings.adapters(more))
    assert list(reports) == ["instruct_ft", "rag_ft", "instruct_ft.seed-1", "rag_ft.seed-1"]
    assert [r["training_seed"] for r in reports.values()] == [0, 0, 1, 1]
    after = adapter_bytes(one)
    assert {name: after[name] for name in before} == before
    assert len(set(after.values())) == 4


def test_watching_other_questions_changes_nothing_and_a_resumed_curve_has_no_gap(
    variation: Callable[..., Training], train: Train, tmp_path: Path
) -> None:
    questions = [
        {
            "question_id": f"paper-{n}/task?9",
            "stratum": stratum,
            "question": f"And what is {stratum} {n}?",
            "statement": "The backbone of Crimson Valley is capsule.",
            "gold_passage_ids": ["a#1"],
            "context_passage_ids": ["a#0", "a#1"],
            "context": ["We hope.", "The backbone of Crimson Valley is capsule."],
        }
        for n in range(9)
        for stratum in ("seen", "unseen_fact", "control")
    ]
    files.write_jsonl_atomic(tmp_path / "eval.jsonl", questions)
    watching = {"eval_file": str(tmp_path / "eval.jsonl"), "loss_eval_questions": 4}
    unwatched = variation("unwatched", epochs=8, lora_dropout=0.1)
    watched = variation("watched", epochs=8, lora_dropout=0.1, **watching)
    stopped = variation("stopped", epochs=8, lora_dropout=0.1, **watching)
    train(unwatched)
    curves = {name: report["held_out"] for name, report in train(watched).items()}
    assert adapter_bytes(watched) == adapter_bytes(unwatched)
    for curve in curves.values():
        assert [point["step"] for point in curve] == [0, 3, 5, 8, 11, 13, 16, 19, 21, 24]
        assert all(set(point) == {"step", "seen", "unseen_fact"} for point in curve)
        assert curve[-1]["seen"] < curve[0]["seen"]  # a sentence that is trained
    stop_in_the_middle(train, stopped)
    assert {name: report["held_out"] for name, report in train(stopped).items()} == curves


def start(training: Training) -> subprocess.Popen[bytes]:
    """A process that starts a training as a notebook does."""
    config = Path(training.adapters_folder, "config.json")
    files.write_json_atomic(config, dataclasses.asdict(training))
    code = (
        "import sys; from pathlib import Path; from cutoff import files\n"
        "from cutoff.finetune import launch, settings\n"
        "launch.train_all(settings.Training(**files.read_json(Path(sys.argv[1]))))"
    )
    source = str(Path(launch.__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", code, str(config)],
        env={**os.environ, "PYTHONPATH": source},
        stderr=subprocess.DEVNULL,
    )


def test_two_processes_end_with_their_starter_resume_and_make_the_steps_of_one(
    variation: Callable[..., Training], train: Train
) -> None:
    # 12 examples x 14 epochs are 16 steps of 10 and one of 8, with which two processes cannot
    # both make a full pass of 5.
    shape = {"epochs": 14, "batch_size": 10, "lora_dropout": 0.0, "micro_batch_size": 5}
    both = variation("both", training_processes=2, **{**shape, "checkpoint_seconds": 0.0})
    work, patience = settings.work_folder(both, "instruct_ft"), time.monotonic() + 300
    starter = start(both)
    while not settings.newest_checkpoint(work):
        assert starter.poll() is None and time.monotonic() < patience
        time.sleep(0.02)
    started = psutil.Process(starter.pid).children(recursive=True)
    assert len(started) == 3, "a launcher and two processes"
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    _, alive = psutil.wait_procs(started, timeout=60)
    for process in alive:
        process.kill()
    assert not alive, "processes have outlived their starter"

    resumed = launch.train_all(dataclasses.replace(both, checkpoint_seconds=3600.0))
    assert resumed["instruct_ft"]["resumed_at_step"] > 0
    alone = variation("alone", **shape)
    for name, report in train(alone, *settings.adapters(alone)).items():
        other = resumed[name]
        assert (other["processes"], report["processes"]) == (2, 1)
        assert other["steps"] == report["steps"] == 17
        # The sums of the two halves of a batch are rounded apart, so the last digits differ,
        # and Adam divides by them; other examples in a step would show in the first digits.
        losses = [[point["loss"] for point in r["losses"]] for r in (report, other)]
        assert losses[1] == pytest.approx(losses[0], rel=0.02, abs=1e-3)
        assert distance(weights(alone, name), weights(both, name)) < 0.02
    lines = launch.read_progress(Path(both.progress_file))
    written = [(line["adapter"], line["step"]) for line in lines]
    assert len(written) == len(set(written)), "both processes have written"


def test_a_failing_process_ends_both_with_its_sentence(variation: Callable[..., Training]) -> None:
    training = variation("diverging", training_processes=2, learning_rate=1e30)
    with pytest.raises(CutoffError, match=r"^The training of instruct_ft diverged: .*learning"):
        launch.train_all(training)
    mine = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not any("cutoff.finetune" in command for command in mine)


def test_processes_that_cannot_share_a_step_are_refused_before_any_starts(
    variation: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(CutoffError, match="batch_size = 4 cannot be shared by 3 processes"):
        launch.train_all(variation("three", training_processes=3))
    with pytest.raises(CutoffError, match="micro_batch_size = 3 does not divide the 4"):
        launch.train_all(variation("uneven", micro_batch_size=3, training_processes=1))
