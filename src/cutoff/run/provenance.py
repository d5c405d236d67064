"""What a result was made of: parameters, versions, device, code, and the hashes of its inputs."""

import html
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutoff import device, files, paths
from cutoff.params import Params
from cutoff.prompts import prompts_sha256

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
        folded = [
            f"<details><summary>{html.escape(name)}</summary>{_table(values)}</details>"
            for name, values in self.facts.items()
            if isinstance(values, dict) and values
        ]
        return f'<div class="provenance">{_table(short)}{"".join(folded)}</div>'

    def __repr__(self) -> str:
        return json.dumps(self.facts, indent=1, ensure_ascii=False)


def gather(p: Params, dataset_folder: Path, earlier_keys: Mapping[str, str]) -> Provenance:
    """All that is known before a stage starts; every value can be written as JSON.

    ``earlier_keys``: keys of the completed stages before it.
    """
    gpus = device.listed()
    name = gpus[0].name if gpus else "none"
    dtype, why = device.choose_dtype(gpus[0].capability if gpus else None)
    inputs = {"prompts": prompts_sha256(), **earlier_keys}
    if (dataset := dataset_folder / "dataset.json").exists():
        inputs["dataset.json"] = files.sha256_file(dataset)
    return Provenance(
        {
            "size": p.size,
            "base model": p.base_model,
            "data set": dataset_folder.name,
            "seed": p.seed,
            "GPU": f"{len(gpus)} x {name}" if len(gpus) > 1 else name,
            "training format": f"{dtype}: {why}",
            "code": _commit(),
            "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
            "processor cores": os.cpu_count(),
            "parameters": p.as_dict(),
            "packages": {package: _version(package) for package in PACKAGES},
            "hashes of the inputs": inputs,
        }
    )


def _commit() -> str:
    git = ("git", "-C", str(paths.root()))
    commit = _ask(*git, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return "not a git checkout"
    changed = _ask(*git, "status", "--porcelain", "--untracked-files=no")
    return f"commit {commit}" + (" with local changes" if changed else "")


def _ask(*command: str) -> str:
    """What another program prints; nothing where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _table(values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{rows}</table>"
