"""The finished runs below an outputs folder: which may stand side by side, and what is missing.

Runs whose data set, prompts, judge or scoring differ were asked or marked differently: they
are named with what differs and left out. What else differs between two runs (training in 4 or
16 bits, quantisation, ...) does not keep them apart, but it is shown: it differs along with size.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from cutoff import files, paths
from cutoff.engines.serving import family
from cutoff.errors import CutoffError
from cutoff.experiment import size_order
from cutoff.run import folders, stages

IDENTITY = {
    "dataset_id": "data set",
    "prompts_sha256": "prompts",
    "judge": "judge",
    "scoring": "scoring",
}
# Names, addresses and speed: they differ between machines and change no answer.
NO_CONFOUND = {
    "size", "output_dir", "base_model", "base_model_revision", "ollama_base_model", "parallel",
    "deadline_minutes", "micro_batch_size", "gradient_checkpointing", "training_processes",
    "base_url", "api_key", "judge_base_url", "judge_api_key", "calibration_sample",
}  # fmt: skip
RUN_STAGES = tuple(stage.name for stage in stages.STAGES if stage.part != "compare")
Results = dict[str, Any]  # content of a results.json


def read(outputs: Path, size: str) -> tuple[list[Results], list[str]]:
    """The finished runs that may stand beside that of ``size``, smallest model first, and a
    sentence for each that may not.

    Raises ``CutoffError`` when ``size`` itself has no finished run, or when two folders hold
    a run of the same size.
    """
    found: dict[str, Results] = {}
    for path in sorted(outputs.glob("*/results.json")):
        one = files.read_json(path)
        lacking = [name for name in ("size", "n_parameters", *IDENTITY) if name not in one]
        if lacking:
            raise CutoffError(
                f"{path} lacks {', '.join(lacking)}; make it again with "
                f"`make size={path.parent.name} stage=04_evaluate all`."
            )
        if one["size"] in found:
            raise CutoffError(
                f"{path} holds a second run of size {one['size']}; keep one folder per size."
            )
        found[one["size"]] = one
    if size not in found:
        finished = f" (finished: {', '.join(found)})" if found else ""
        raise CutoffError(
            f"There is no finished run of size {size} in {outputs}{finished}; "
            f"run `make size={size} all` first."
        )
    refused = {name: why_apart(found[size], one) for name, one in found.items()}
    kept = [one for name, one in found.items() if not refused[name]]
    apart = [
        f"`{name}` cannot stand beside `{size}`: {reason}."
        for name, reason in refused.items()
        if reason
    ]
    return sorted(kept, key=lambda one: (one["n_parameters"], one["size"])), apart


def why_apart(one: Results, other: Results) -> str:
    """What differs between two runs so that they may not be compared; empty if nothing."""
    return "; ".join(
        f"the {meaning} differs ({str(other[key])[:16]} against {str(one[key])[:16]})"
        for key, meaning in IDENTITY.items()
        if one[key] != other[key]
    )


def overview(runs: list[Results]) -> pd.DataFrame:
    """What each run is: the first thing to check before reading a difference."""
    names = ["size", "base_model", "n_parameters", "n_questions", "dataset_id", "judge"]
    return pd.DataFrame([{name: found.get(name) for name in names} for found in runs])


def progress(outputs: Path) -> pd.DataFrame:
    """How far every size below ``outputs`` has come, and every size that was never started.

    Columns: size, then one per stage (*complete*, *started, not complete*, *not run*). A stage
    is complete when its run wrote the marker; whether it is still up to date, ``make status``
    says.
    """
    started = {path.parent.name for path in outputs.glob("*/run.json")} - {"compare"}
    started |= {path.parent.name for path in outputs.glob("*/results.json")}
    known = {path.stem for path in (paths.root() / "params").glob("*.yaml")}
    known -= {"defaults", *started}
    rows = []
    for size in [*sorted(started, key=size_order), *sorted(known, key=size_order)]:
        entries = folders.read_run(outputs / size)["stages"]
        states = {name: _state(entries.get(name, {})) for name in RUN_STAGES}
        if states[RUN_STAGES[-1]] != "complete" and (outputs / size / "results.json").exists():
            states[RUN_STAGES[-1]] = "results of an earlier run"
        rows.append({"size": size, **states})
    return pd.DataFrame(rows)


def differing_settings(outputs: Path, runs: list[Results]) -> pd.DataFrame:
    """Parameters that differ between the runs beside size: a row each, a column per size.

    From what 04 recorded about each run; a dash where it recorded nothing.
    """
    values = {found["size"]: _parameters(outputs, found["size"]) for found in runs}
    rows = []
    for name in dict.fromkeys(name for own in values.values() for name in own):
        cells = {size: own.get(name, "–") for size, own in values.items()}
        known = [value for value in cells.values() if value != "–"]
        if name not in NO_CONFOUND and any(value != known[0] for value in known):
            rows.append({"parameter": name, **{size: str(cell) for size, cell in cells.items()}})
    return pd.DataFrame(rows, columns=["parameter", *values])


def confounds(outputs: Path, runs: list[Results]) -> str:
    """What differs along with size, in words: a difference between sizes may be due to it."""
    if len(runs) < 2:
        return "**One size, nothing to confound it with.**"
    names = [f"`{name}`" for name in differing_settings(outputs, runs)["parameter"]]
    said = f"**Beside size these runs differ in {', '.join(names) or 'no recorded parameter'}.**"
    families = families_of(runs)
    if len(set(families.values())) > 1:
        each = "; ".join(f"`{size}` is {name}" for size, name in families.items())
        said += f" They are models of different families ({each})."
    return said


def families_of(runs: list[Results]) -> dict[str, str]:
    """Size -> family of its base model (``qwen``, ``llama``, ``phantom``)."""
    return {found["size"]: family(str(found.get("base_model"))) for found in runs}


def what_next(runs: list[Results]) -> str:
    """Which sizes stand here; one alone cannot say whether anything changes with size."""
    names = ", ".join(f"`{found['size']}`" for found in runs)
    if len(runs) > 1:
        return f"**{len(runs)} sizes have been run on the same questions: {names}.**"
    return (
        f"**Only {names} has been run.** `make size=NAME all` adds another on the same questions."
    )


def _state(entry: dict[str, Any]) -> str:
    if entry.get("key"):
        return "complete"
    return "started, not complete" if entry.get("started") else "not run"


def _parameters(outputs: Path, size: str) -> dict[str, Any]:
    entry = folders.read_run(outputs / size)["stages"].get("04_evaluate", {})
    found: dict[str, Any] = entry.get("provenance", {}).get("parameters", {})
    return found
