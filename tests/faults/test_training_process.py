"""The training process: killed and resumed, repeated, interrupted, failing."""

import dataclasses
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cutoff import files
from cutoff.device import Device
from cutoff.errors import CutoffError, DeadlineReached
from cutoff.finetune import adapter, gpu_memory, launch, settings, training_errors
from cutoff.finetune.settings import Training
from cutoff.micro_batch import Plan

SOURCE = str(Path(__file__).parents[2] / "src")


def adapters_sha256(training: Training) -> list[str]:
    folder = Path(training.adapters_folder)
    files = [folder / name / "adapter_model.safetensors" for name in settings.adapters(training)]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def moved(training: Training, folder: Path, **changes: Any) -> Training:
    return dataclasses.replace(
        training,
        adapters_folder=str(folder),
        progress_file=str(folder / "progress.jsonl"),
        **changes,
    )


def losses(reports: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {variant: report["losses"] for variant, report in reports.items()}


def start(training: Training) -> subprocess.Popen[bytes]:
    files.make_folder(Path(training.adapters_folder))
    config = Path(training.adapters_folder, "training_config.json")
    files.write_json_atomic(config, dataclasses.asdict(training))
    return subprocess.Popen(
        [sys.executable, "-m", "cutoff.finetune.train", str(config)],
        env={**os.environ, "PYTHONPATH": SOURCE},
        stderr=subprocess.DEVNULL,
    )


def wait_for(condition: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()  # a failing test leaves no training behind
            raise AssertionError(f"the process ended with {process.wait()} or took too long")
        time.sleep(0.02)


def test_a_killed_training_resumes_to_the_same_bytes_and_losses(
    small_training: dict[str, Any], tmp_path: Path
) -> None:
    # Long enough that a point of the loss curve averages several steps.
    small_training = {**small_training, "epochs": 70, "checkpoint_seconds": 0.3}
    undisturbed = Training(**{**small_training, "checkpoint_seconds": 3600.0})
    reports = launch.train_all(undisturbed)
    assert all(report["resumed_at_step"] == 0 for report in reports.values())

    killed = moved(Training(**small_training), tmp_path / "killed")
    work = settings.work_folder(killed, "rag_ft")
    process = start(killed)
    wait_for(lambda: settings.newest_checkpoint(work), process)
    process.kill()
    process.wait()
    assert settings.finished(killed, "instruct_ft") and not settings.finished(killed, "rag_ft")
    marker = Path(killed.adapters_folder, "instruct_ft", "training.json")
    before = marker.stat().st_mtime_ns

    newest = settings.newest_checkpoint(work)
    assert newest is not None
    torn = work / "checkpoint-999"  # a save that the kill has cut off
    shutil.copytree(newest, torn)
    (torn / settings.COMPLETE).unlink()
    (torn / "trainer_state.json").write_text('{"epoch": 0.')
    assert settings.newest_checkpoint(work) == newest

    resumed = launch.train_all(killed)
    assert resumed["rag_ft"]["resumed_at_step"] == int(newest.name.removeprefix("checkpoint-"))
    assert marker.stat().st_mtime_ns == before, "a finished adapter was trained again"
    assert adapters_sha256(killed) == adapters_sha256(undisturbed)
    assert losses(resumed) == losses(reports)
    assert not work.exists()

    config = Path(killed.adapters_folder, "training_config.json")
    written = config.stat().st_mtime_ns
    assert launch.train_all(killed) == resumed
    assert config.stat().st_mtime_ns == written, "a process was started with nothing to do"


def test_a_changed_setting_trains_another_adapter(small_training: dict[str, Any]) -> None:
    training = Training(**small_training)
    for change in ({"lora_rank": 8}, {"epochs": 2}, {"training_seed": 1}, {"learning_rate": 1e-4}):
        other = dataclasses.replace(training, **change)
        marks = [settings.fingerprint(t, "rag_ft") for t in (training, other)]
        assert marks[0] != marks[1], change
    same = dataclasses.replace(training, adapters_folder="elsewhere", checkpoint_seconds=1.0)
    assert settings.fingerprint(same, "rag_ft") == settings.fingerprint(training, "rag_ft")


def test_a_diverging_loss_ends_in_one_sentence(small_training: dict[str, Any]) -> None:
    training = Training(**{**small_training, "learning_rate": 1e30})
    with pytest.raises(CutoffError, match=r"instruct_ft diverged: .*smaller learning_rate") as info:
        launch.train_all(training)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed"),
        ("print('what went on'); raise RuntimeError('unheard of')", "status 1: .*unheard of"),
        (f"import sys; sys.exit(print('{training_errors.ERROR_MARK}Do this.') or 2)", "^Do this.$"),
    ],
    ids=["killed", "unforeseen", "sentence"],
)
def test_every_death_of_the_process_reaches_the_notebook(
    small_training: dict[str, Any], code: str, message: str
) -> None:
    training = Training(**small_training)
    files.make_folder(Path(training.adapters_folder))
    with pytest.raises(CutoffError, match=message):
        launch._run_process([sys.executable, "-c", code], training, {})


def test_the_process_says_when_time_is_up_and_when_to_start_it_once_more(
    small_training: dict[str, Any],
) -> None:
    training = Training(**small_training)
    files.make_folder(Path(training.adapters_folder))
    # Status 1: what a launcher makes of every other one.
    code = "import sys; sys.exit(print(sys.argv[1]) or 1)"
    command = [sys.executable, "-c", code]
    late = training_errors.DEADLINE_MARK + "deadline_minutes reached: run again."
    with pytest.raises(DeadlineReached, match="^deadline_minutes reached: run again.$"):
        launch._run_process([*command, late], training, {})
    assert launch._run_process([*command, training_errors.RETRY_MARK + "smaller"], training, {})
    assert not launch._run_process([sys.executable, "-c", ""], training, {})


def test_running_out_of_gpu_memory_asks_for_another_start_until_nothing_is_left_to_save(
    small_training: dict[str, Any], tmp_path: Path
) -> None:
    import torch

    class Full:
        """A trainer whose GPU is full: no part of one can run here."""

        args = SimpleNamespace(max_length=512, world_size=1)

        def train(self, resume_from_checkpoint: str | None) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    training, here = Training(**small_training), Device(None, "Tesla T4", "float16", "")
    conditions = gpu_memory.conditions_of(training, here)
    plan, made = Plan(4, False, ""), []
    with pytest.raises(CutoffError, match="micro batch 1 with checkpointing"):
        for _ in range(9):
            with pytest.raises(training_errors.TryAgain, match="ran out of memory with more"):
                adapter._fit(Full(), training, plan, here, tmp_path)
            plan = gpu_memory.stored(tmp_path / "memory.json", conditions) or plan
            made.append((plan.micro_batch, plan.checkpointing))
    assert made == [(2, False), (1, False), (1, True)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
def test_a_full_disk_is_recognised_however_a_library_words_it(tmp_path: Path) -> None:
    import torch

    with pytest.raises(OSError) as plain, open("/dev/full", "w") as file:
        file.write("x" * 100_000)
    with pytest.raises((OSError, RuntimeError)) as of_torch:
        torch.save(torch.zeros(100_000), "/dev/full")
    for error in (
        plain.value,
        of_torch.value,
        RuntimeError("No space left on device (os error 28)"),
    ):
        assert "disk is full" in (training_errors.explain(error, tmp_path) or ""), error


def test_memory_and_permission_errors_say_what_to_do_and_others_stay_visible(
    tmp_path: Path,
) -> None:
    allocation = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")
    assert "smaller batch_size" in (training_errors.explain(allocation, tmp_path) or "")
    assert "smaller batch_size" in (training_errors.explain(MemoryError(), tmp_path) or "")
    read_only = OSError(errno.EROFS, "Read-only file system")
    assert "output_dir" in (training_errors.explain(read_only, tmp_path) or "")
    assert training_errors.explain(ValueError("a bug"), tmp_path) is None


def test_an_interrupt_of_the_notebook_stops_the_training(small_training: dict[str, Any]) -> None:
    training = Training(**small_training)
    files.make_folder(Path(training.adapters_folder))
    pid_file = Path(training.adapters_folder, "pid")
    code = (
        "import os, pathlib, sys, time; pid_file = pathlib.Path(sys.argv[1])\n"
        "pid_file.write_text(str(os.getpid())); time.sleep(20); pid_file.write_text('survived')"
    )

    def interrupt(*_: object) -> None:
        if pid_file.exists() and pid_file.read_text():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            launch._run_process([sys.executable, "-c", code, str(pid_file)], training, {})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert pid_file.read_text() != "survived"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
