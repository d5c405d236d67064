"""What every size cost: time, tokens and disk, as its own stages recorded them.

Nothing is estimated. A figure that a run did not record is missing, and a sum with a missing
part is missing, too.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from cutoff import files
from cutoff.compare.runs import RUN_STAGES, Results
from cutoff.run import folders

LATER_STAGES = RUN_STAGES[1:]  # the data set of 01 is shared by all sizes


def by_size(outputs: Path, runs: list[Results]) -> pd.DataFrame:
    """One row per run, numbers with their unit in the name; missing stays missing.

    Columns: size, n_parameters, device, gpu_hours, training_minutes, training_tokens (read in
    all epochs and by all adapters), answering_tokens (prompts and answers of 04),
    hours (02 to 04), peak_memory_mb, model_mb (files that answer or were made for it),
    adapter_mb.
    """
    return pd.DataFrame([_costs(outputs / found["size"], found) for found in runs])


def written(table: pd.DataFrame) -> pd.DataFrame:
    """``by_size`` for reading: a row per figure, a column per size."""
    writers: dict[str, tuple[str, Callable[[Any], str]]] = {
        "device": ("Trained on", str),
        "gpu_hours": ("GPU hours of training", lambda v: f"{v:,.2f}"),
        "training_minutes": ("Minutes of training, all adapters", lambda v: f"{v:,.1f}"),
        "training_tokens": ("Tokens read in training, millions", _millions),
        "answering_tokens": ("Tokens of prompts and answers, millions", _millions),
        "hours": ("Hours of the stages 02 to 04", lambda v: f"{v:,.2f}"),
        "peak_memory_mb": ("Peak memory of a stage, MB", lambda v: f"{v:,.0f}"),
        "model_mb": ("Model files, MB", lambda v: f"{v:,.1f}"),
        "adapter_mb": ("Adapters, MB", lambda v: f"{v:,.1f}"),
    }
    rows = [
        {"figure": heading}
        | {
            row["size"]: "–" if row[name] is None or pd.isna(row[name]) else write(row[name])
            for row in table.to_dict("records")
        }
        for name, (heading, write) in writers.items()
    ]
    return pd.DataFrame(rows)


def reading(table: pd.DataFrame) -> str:
    """What grew from the smallest to the largest run, and whether times compare."""
    if len(table) < 2:
        return "**One size has been run: its cost has nothing to grow against.**"
    names = {"n_parameters": "parameters", "training_minutes": "training", "model_mb": "files"}
    last, first = (table[list(names)].astype(float).iloc[place] for place in (-1, 0))
    grown = (last / first).replace(math.inf, math.nan).dropna()
    told = ", ".join(f"{names[str(name)]} {times:.1f} times" for name, times in grown.items())
    text = f"**From `{table['size'].iloc[0]}` to `{table['size'].iloc[-1]}`: {told}.**"
    if table["device"].nunique() > 1:
        text += " The sizes were trained on different devices: their times do not compare."
    return text


def _costs(folder: Path, found: Results) -> dict[str, Any]:
    trainings = [files.read_json(path) for path in sorted(folder.glob("adapters/*/training.json"))]
    entries = folders.read_run(folder)["stages"]
    seconds = [entries.get(name, {}).get("seconds") for name in LATER_STAGES]
    peaks = [entries.get(name, {}).get("peak_rss_mb") for name in LATER_STAGES]
    devices = {str(training.get("device")) for training in trainings}
    answers = found.get("diagnostics", {}).get("answers", [])
    return {
        "size": found["size"],
        "n_parameters": found["n_parameters"],
        "device": ", ".join(sorted(devices)) or None,
        "gpu_hours": _sum([training.get("gpu_hours") for training in trainings]),
        "training_minutes": _sum([t.get("train_seconds") for t in trainings]) / 60,
        "training_tokens": _sum([_tokens_trained(training) for training in trainings]),
        "answering_tokens": _sum([_tokens_answered(row) for row in answers]),
        "hours": _sum(seconds) / 3600,
        "peak_memory_mb": max((peak for peak in peaks if peak), default=None),
        "model_mb": _megabytes(folder, "models/*.gguf"),
        "adapter_mb": _megabytes(folder, "adapters/*/*.safetensors"),
    }


def _tokens_trained(training: dict[str, Any]) -> float:
    epochs = training.get("settings", {}).get("epochs")
    return math.prod(
        _number(n) for n in (training.get("n_examples"), training.get("mean_tokens"), epochs)
    )


def _tokens_answered(row: dict[str, Any]) -> float:
    each = _number(row.get("prompt_tokens")) + _number(row.get("answer_tokens"))
    return _number(row.get("answers")) * each


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _sum(parts: list[Any]) -> float:
    """The sum; missing when there is no part or one of them is missing."""
    return sum(map(_number, parts)) if parts else math.nan


def _megabytes(folder: Path, pattern: str) -> float:
    return _sum([path.stat().st_size / 1e6 for path in folder.glob(pattern)])


def _millions(tokens: float) -> str:
    return f"{tokens / 1e6:,.2f}"
