"""What a result was made of: parameters, versions, device, code, and the hashes of its inputs."""

import html
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from cutoff import files, paths
from cutoff.prompts import prompts_sha256
from cutoff.run import folders

PACKAGES = (
    "torch transformers trl peft bitsandbytes sentence-transformers faiss-cpu gguf "
    "xllamacpp cyllama ollama openai anthropic pingouin scipy numpy pandas"
).split()


@dataclass(frozen=True)
class Provenance:
    """Facts of ``Run.provenance`` that a notebook displays as its cell's output."""

    facts: dict[str, Any]

    def _repr_html_(self) -> str:
        short = {k: v for k, v in self.facts.items() if not isinstance(v, dict)}
        tables = [_table(short)]
        for name, values in self.facts.items():
            if isinstance(values, dict) and values:
                tables.append(
                    f"<details><summary>{html.escape(name)}</summary>{_table(values)}</details>"
                )
        return f'<div class="provenance">{"".join(tables)}</div>'

    def __repr__(self) -> str:
        return json.dumps(self.facts, indent=1, ensure_ascii=False)


def facts(stage: folders.Run) -> dict[str, Any]:
    """All that is known before the stage starts; every value can be written as JSON."""
    gpu = device()
    dataset = stage.dataset_folder / "dataset.json"
    entries = folders.read_run(stage.folder)["stages"]
    inputs = {"prompts": prompts_sha256()}
    if dataset.exists():
        inputs["dataset.json"] = files.sha256_file(dataset)
    for name, entry in entries.items():
        if name < stage.stage and entry.get("key"):
            inputs[name] = entry["key"]
    return {
        "size": stage.params.size,
        "base model": stage.params.base_model,
        "data set": stage.dataset_folder.name,
        "seed": stage.params.seed,
        "GPU": gpu["gpu"],
        "training format": f"{gpu['dtype']}: {gpu['why']}",
        "code": _commit(),
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "processor cores": os.cpu_count(),
        "parameters": stage.params.as_dict(),
        "packages": {name: _version(name) for name in PACKAGES},
        "hashes of the inputs": inputs,
    }


def device() -> dict[str, str]:
    """The accelerator, the number format for training on it, and why (asks no library)."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    answer = _ask(command) if shutil.which("nvidia-smi") else None
    if not answer:
        return {"gpu": "none", "dtype": "float32", "why": "the CPU's own format"}
    gpus = answer.splitlines()
    name, _, capability = gpus[0].partition(",")
    try:
        native = float(capability) >= 8
    except ValueError:  # an old driver does not know the field
        native = False
    if native:
        dtype, why = "bfloat16", "the GPU computes it natively and it cannot overflow"
    else:
        dtype, why = "float16", "the GPU has no native bfloat16"
    count = f"{len(gpus)} x " if len(gpus) > 1 else ""
    return {"gpu": count + name.strip(), "dtype": dtype, "why": why}


def _commit() -> str:
    commit = _ask(["git", "-C", str(paths.root()), "rev-parse", "--short=12", "HEAD"])
    if not commit:
        return "not a git checkout"
    changed = _ask(
        ["git", "-C", str(paths.root()), "status", "--porcelain", "--untracked-files=no"]
    )
    return f"commit {commit}" + (" with local changes" if changed else "")


def _ask(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _table(values: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{rows}</table>"
