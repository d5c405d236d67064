"""The finished runs below an outputs folder: which may stand side by side, and what is missing.

Runs whose data set, prompts, judge or scoring differ were asked or marked differently: they
are named with what differs and left out. What else differs between two runs (training in 4 or
16 bits, quantisation, ...) does not keep them apart, but it is shown: it differs along with size.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from cutoff import files, paths
from cutoff.engines.providers import family
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
Run = dict[str, Any]


def read(outputs: Path, size: str) -> tuple[list[Run], list[str]]:
    """The finished runs that may stand beside that of ``size``, smallest model first, and a
    sentence for each that may not.

    Raises ``CutoffError`` when ``size`` itself has no finished run, or when two folders hold
    a run of the same size.
    """
    runs: dict[str, Run] = {}
    for path in sorted(outputs.glob("*/results.json")):
        found = files.read_json(path)
        lacking = [name for name in ("size", "n_parameters", *IDENTITY) if name not in found]
        if lacking:
            raise CutoffError(
                f"{path} lacks {', '.join(lacking)}; make it again with "
                f"`make size={path.parent.name} stage=04_evaluate all`."
            )
        if found["size"] in runs:
            raise CutoffError(
                f"{path} holds a second run of size {found['size']}; keep one folder per size."
            )
        runs[found["size"]] = found
    if size not in runs:
        finished = f" (finished: {', '.join(runs)})" if runs else ""
        raise CutoffError(
            f"There is no finished run of size {size} in {outputs}{finished}; "
            f"run `make size={size} all` first."
        )
    anchor = runs[size]
    refused = {name: why_apart(anchor, found) for name, found in runs.items()}
    kept = [found for name, found in runs.items() if not refused[name]]
    apart = [
        f"`{name}` cannot stand beside `{size}`: {reason}."
        for name, reason in refused.items()
        if reason
    ]
    return sorted(kept, key=lambda found: (found["n_parameters"], found["size"])), apart


def why_apart(one: Run, other: Run) -> str:
    """What differs between two runs so that they may not be compared; empty if nothing."""
    return "; ".join(
        f"the {meaning} differs ({str(other[key])[:16]} against {str(one[key])[:16]})"
        for key, meaning in IDENTITY.items()
        if one[key] != other[key]
    )


def overview(runs: list[Run]) -> pd.DataFrame:
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
    files = (paths.root() / "params").glob("*.yaml")
    known = {path.stem for path in files} - {"defaults"} - started
    rows = []
    for size in [*sorted(started, key=size_order), *sorted(known, key=size_order)]:
        entries = folders.read_run(outputs / size)["stages"]
        states = {name: _state(entries.get(name, {})) for name in RUN_STAGES}
        if states[RUN_STAGES[-1]] != "complete" and (outputs / size / "results.json").exists():
            states[RUN_STAGES[-1]] = "results of an earlier run"
        rows.append({"size": size, **states})
    return pd.DataFrame(rows)


def progress_reading(table: pd.DataFrame) -> str:
    """Which sizes are complete, which stopped on the way and where, which were never started."""
    parts = []
    states = table[list(RUN_STAGES)]
    complete = (states == "complete").all(axis=1)
    untouched = (states == "not run").all(axis=1)
    for row in table[~complete & ~untouched].to_dict("records"):
        open_stages = [name for name in RUN_STAGES if row[name] != "complete"]
        parts.append(f"`{row['size']}` lacks {', '.join(open_stages)}")
    sentence = f"**{complete.sum()} of {len(table)} sizes are complete.**"
    if parts:
        sentence += f" Stopped on the way: {'; '.join(parts)}."
    if untouched.any():
        names = ", ".join(f"`{name}`" for name in table.loc[untouched, "size"])
        sentence += f" Never started: {names}. Nothing is filled in for them."
    if parts or untouched.any():
        sentence += " `make size=NAME all` goes on where a size stopped."
    return sentence


def differing_settings(outputs: Path, runs: list[Run]) -> pd.DataFrame:
    """Parameters that differ between the runs beside size: a row each, a column per size.

    From what 04 recorded about each run; a dash where it recorded nothing.
    """
    values = {found["size"]: _parameters(outputs, found["size"]) for found in runs}
    names = dict.fromkeys(name for own in values.values() for name in own)
    rows = []
    for name in names:
        cells = {size: own.get(name, "–") for size, own in values.items()}
        known = [value for value in cells.values() if value != "–"]
        if name not in NO_CONFOUND and any(value != known[0] for value in known):
            rows.append({"parameter": name, **{size: str(cell) for size, cell in cells.items()}})
    return pd.DataFrame(rows, columns=["parameter", *values])


def confounds(outputs: Path, runs: list[Run]) -> str:
    """What differs along with size, in words: a difference between sizes may be due to it."""
    if len(runs) < 2:
        return "**One size, nothing to confound it with.**"
    table = differing_settings(outputs, runs)
    unknown = [found["size"] for found in runs if not _parameters(outputs, found["size"])]
    families = families_of(runs)
    said = (
        "**Beside size these runs differ in "
        + ", ".join(f"`{name}`" for name in table["parameter"])
        + ".** A difference between them may be due to that as well as to size."
        if len(table)
        else "**Beside size these runs differ in no recorded parameter.**"
    )
    if len(set(families.values())) > 1:
        listed = "; ".join(f"`{size}` is {name}" for size, name in families.items())
        said += (
            f" They are models of different families ({listed}), which differ in more than size: "
            "trends below are fitted within one family."
        )
    if unknown:
        said += f" Nothing was recorded about {', '.join(f'`{size}`' for size in unknown)}."
    return said


def families_of(runs: list[Run]) -> dict[str, str]:
    """Size -> family of its base model (``qwen``, ``llama``, ``phantom``)."""
    return {found["size"]: family(str(found.get("base_model"))) for found in runs}


def what_next(runs: list[Run]) -> str:
    """What these runs can say about size, and what one more would add."""
    sizes = [found["size"] for found in runs]
    if len(runs) == 1:
        return (
            f"**Only `{sizes[0]}` has been run.** One size shows what retrieval and training buy "
            "there; it cannot show whether that changes with size. A second size (one more file "
            "in `params/`, then `make size=NAME all`) would add a difference between sizes on "
            "the same questions, a third a direction. The published column came from other "
            "questions and another judge: it is a landmark, not a second point."
        )
    more = (
        "Two points always lie on a line: a third size is what could contradict it."
        if len(runs) == 2
        else "Every size between two that differ narrows where the change lies."
    )
    listed = ", ".join(f"`{size}`" for size in sizes)
    return f"**{len(runs)} sizes have been run on the same questions: {listed}.** {more}"


def _state(entry: dict[str, Any]) -> str:
    if entry.get("key"):
        return "complete"
    return "started, not complete" if entry.get("started") else "not run"


def _parameters(outputs: Path, size: str) -> dict[str, Any]:
    entry = folders.read_run(outputs / size)["stages"].get("04_evaluate", {})
    found: dict[str, Any] = entry.get("provenance", {}).get("parameters", {})
    return found
