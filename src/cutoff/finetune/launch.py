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

from cutoff import run
from cutoff.errors import CutoffError
from cutoff.finetune import failures, settings
from cutoff.finetune.examples import VARIANTS
from cutoff.finetune.settings import Training

KEPT_LINES = 200  # of the process's output, for an unforeseen error
POLL_SECONDS = 0.5


def training_of(stage: run.Run) -> Training:
    """The training that a run's parameters and data set ask for."""
    p = stage.params
    adapters = stage.folder / "adapters"
    return Training(
        base_folder=str(run.base_model_folder(p)),
        train_file=str(stage.require(stage.dataset_folder / "train.jsonl", "01_generate")),
        adapters_folder=str(adapters),
        progress_file=str(adapters / "progress.jsonl"),
        lora_rank=p.lora_rank,
        lora_alpha=p.lora_alpha,
        lora_dropout=p.lora_dropout,
        learning_rate=p.learning_rate,
        lr_scheduler=p.lr_scheduler,
        warmup_ratio=p.warmup_ratio,
        epochs=p.epochs,
        batch_size=p.batch_size,
        training_seed=p.training_seed,
    )


def train(stage: run.Run) -> dict[str, dict[str, Any]]:
    """Train the adapters that are not finished yet; ``training.json`` of each variant.

    Everything the process reports as a sentence is raised here as ``CutoffError``.
    """
    return train_all(training_of(stage))


def train_all(training: Training) -> dict[str, dict[str, Any]]:
    """``train`` for settings that are already at hand."""
    adapters = Path(training.adapters_folder)
    run.make_folder(adapters)
    if not all(settings.finished(training, variant) for variant in VARIANTS):
        config = adapters / "training_config.json"
        run.write_json_atomic(config, asdict(training))
        run.write_bytes_atomic(Path(training.progress_file), b"")
        _run_process([sys.executable, "-m", "cutoff.finetune.train", str(config)], training)
    reports = {variant: settings.finished(training, variant) for variant in VARIANTS}
    return {variant: report for variant, report in reports.items() if report is not None}


def _run_process(command: list[str], training: Training) -> None:
    source = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"},
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
    if status:
        raise CutoffError(_what_happened(status, list(output), Path(training.adapters_folder)))


def _keep(stream: IO[str], output: deque[str]) -> None:
    for line in stream:
        output.append(line.rstrip())


def _show_progress(process: subprocess.Popen[str], progress_file: Path) -> None:
    """A bar per variant while the process works; the driver shows bars only in a terminal."""
    shown, bar = "", tqdm(desc="loading", unit="step", leave=False)
    running = True
    while running:
        time.sleep(POLL_SECONDS)
        running = process.poll() is None
        for line in read_progress(progress_file)[-1:]:
            if line["variant"] != shown:
                bar.close()
                shown = line["variant"]
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


def _what_happened(status: int, output: list[str], folder: Path) -> str:
    for line in reversed(output):
        if line.startswith(failures.ERROR_MARK):
            return line.removeprefix(failures.ERROR_MARK)
    if status == -9:
        return (
            "The training process was killed, most often because the memory was full; "
            "close other programs and run again, it continues from its last checkpoint."
        )
    log = folder / "training.log"
    run.write_text_atomic(log, "\n".join(output) + "\n")
    last = next((line for line in reversed(output) if line.strip()), "no output")
    return f"The training process failed with status {status}: {last[:300]} (more in {log})."
