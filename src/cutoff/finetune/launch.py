"""Starts the training process for the notebook, shows its progress, passes on its errors."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from cutoff import device, files, micro_batch, models
from cutoff.errors import CutoffError, DeadlineReached
from cutoff.finetune import settings, training_errors
from cutoff.finetune.settings import Training
from cutoff.run import folders

KEPT_LINES = 400  # of the process's output, for an unforeseen error
POLL_SECONDS = 0.5
# GNU OpenMP's threads wait spinning; beside other programs they would keep the cores from those
# they wait for, and training takes many times as long. A user's own value wins.
SPIN_COUNT = "3000"


def training_of(stage: folders.Run) -> Training:
    """The training that a run's parameters and data set ask for."""
    p = stage.params
    folder = stage.folder / "adapters"
    same = (
        "lora_rank lora_alpha lora_dropout learning_rate lr_scheduler warmup_ratio epochs "
        "batch_size training_seed training_seeds load_in_4bit micro_batch_size "
        "gradient_checkpointing training_processes loss_eval_questions"
    ).split()
    return Training(
        base_folder=str(models.base_folder(p)),
        train_file=str(stage.require(stage.dataset_folder / "train.jsonl", "01_generate")),
        eval_file=str(stage.require(stage.dataset_folder / "eval.jsonl", "01_generate")),
        adapters_folder=str(folder),
        progress_file=str(folder / "progress.jsonl"),
        **{name: getattr(p, name) for name in same},
    )


def train(stage: folders.Run) -> dict[str, dict[str, Any]]:
    """Train the adapters that are not finished yet; ``training.json`` of each by its name.

    What the process reports as a sentence is raised as ``CutoffError`` or ``DeadlineReached``.
    """
    return train_all(training_of(stage))


def train_all(training: Training) -> dict[str, dict[str, Any]]:
    """``train`` for settings that are already at hand."""
    folder = Path(training.adapters_folder)
    files.make_folder(folder)
    names = settings.adapters(training)
    if not all(settings.finished(training, name) for name in names):
        config = folder / "training_config.json"
        files.write_json_atomic(config, asdict(training))
        files.write_bytes_atomic(Path(training.progress_file), b"")
        gpus = device.visible_gpus()
        n_processes = count_processes(training, len(gpus))
        launcher = [sys.executable, *_launcher(n_processes, folder)]
        # One process with several GPUs in sight would spread each batch over them.
        seen = {"CUDA_VISIBLE_DEVICES": ",".join(gpus[:n_processes])} if gpus else {}
        command = [*launcher, "-m", "cutoff.finetune.train", str(config)]
        while _run_process(command, training, seen):
            pass  # out of memory: once more, with the smaller plan that it has left
    reports = {name: settings.finished(training, name) for name in names}
    return {name: report for name, report in reports.items() if report is not None}


def count_processes(training: Training, n_gpus: int) -> int:
    """Processes of a training: as asked for, else as many GPUs as share a step evenly."""
    asked, batch_size = training.training_processes, training.batch_size
    if asked is None:
        return max(n for n in range(1, max(n_gpus, 1) + 1) if batch_size % n == 0)
    if n_gpus and asked > n_gpus:
        raise CutoffError(
            f"training_processes = {asked}, but there are {n_gpus} GPUs, and a process needs one "
            "of its own; choose null to use all of them."
        )
    micro_batch.sizes(batch_size, asked, training.micro_batch_size)
    return asked


def _launcher(n_processes: int, folder: Path) -> list[str]:
    """What stands between Python and the module: accelerate, for more than one process.

    A configuration file of our own keeps the user's from having a say.
    """
    if n_processes == 1:
        return []
    config = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",  # or several CPU processes: torchrun starts both
        "mixed_precision": "no",  # the trainer says which
        "machine_rank": 0,
        "num_machines": 1,
        "num_processes": n_processes,
        "use_cpu": False,
        "debug": False,
    }
    file = folder / "accelerate.json"
    files.write_json_atomic(file, config)
    options = ["--config_file", str(file), "--main_process_port", "0", "--multi_gpu"]
    return ["-m", "accelerate.commands.launch", *options]


def _run_process(command: list[str], training: Training, environment: dict[str, str]) -> bool:
    """Run a training process to its end; True if it asks to be started once more."""
    source = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    own = {
        "PYTHONPATH": path,
        "TOKENIZERS_PARALLELISM": "false",
        settings.STARTER: str(os.getpid()),
    }
    process = subprocess.Popen(
        command,
        env={"GOMP_SPINCOUNT": SPIN_COUNT, **os.environ, **own, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    output: deque[str] = deque(maxlen=KEPT_LINES)
    reader = threading.Thread(target=_keep, args=(process.stdout, output), daemon=True)
    reader.start()
    try:
        _show_progress(process, Path(training.progress_file))
    finally:  # an interrupted notebook must not leave a training behind
        process.terminate()
        status = process.wait()
        reader.join(timeout=5)
    lines = list(output)
    if status and any(training_errors.RETRY_MARK in line for line in lines):
        return True
    if status:
        reached = _marked(lines, training_errors.DEADLINE_MARK)
        if reached:
            raise DeadlineReached(reached)
        raise CutoffError(_what_happened(status, lines, Path(training.adapters_folder)))
    return False


def _keep(stream: IO[str], output: deque[str]) -> None:
    for line in stream:
        output.append(line.rstrip())


def _show_progress(process: subprocess.Popen[str], progress_file: Path) -> None:
    """A bar per adapter while the process works; the driver shows bars only in a terminal."""
    shown, bar = "", tqdm(desc="loading", unit="step", leave=False)
    running = True
    while running:
        time.sleep(POLL_SECONDS)
        running = process.poll() is None
        for line in read_progress(progress_file)[-1:]:
            if line["adapter"] != shown:
                bar.close()
                shown = line["adapter"]
                bar = tqdm(total=line["steps"], desc=shown, unit="step", leave=False)
            if line["step"] > bar.n:
                bar.set_postfix_str(f"loss {line['loss']:.2f}", refresh=False)
                bar.update(line["step"] - bar.n)
    bar.close()


def read_progress(path: Path) -> list[dict[str, Any]]:
    """Complete lines of a progress file that another process is appending to."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # the last one may still be on its way
    return [json.loads(line) for line in lines]


def _marked(output: list[str], mark: str) -> str | None:
    """The sentence behind ``mark``; the first, because other processes then fail of it."""
    return next((line.partition(mark)[2] for line in output if mark in line), None)


def _what_happened(status: int, output: list[str], folder: Path) -> str:
    sentence = _marked(output, training_errors.ERROR_MARK)
    if sentence:
        return sentence
    if status == -9 or any("SIGKILL" in line for line in output):
        return (
            "The training process was killed, most often because the memory was full; "
            "close other programs and run again, it continues from its last checkpoint."
        )
    log = folder / "training.log"
    files.write_text_atomic(log, "\n".join(output) + "\n")
    last = next((line for line in reversed(output) if line.strip()), "no output")
    return f"The training process failed with status {status}: {last[:300]} (more in {log})."
