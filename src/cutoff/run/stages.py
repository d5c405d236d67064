"""The five stages: what each needs and leaves, and whether it has to run again.

A stage is current when nothing that can change its result has changed since it
completed. The answer costs milliseconds, so nothing heavy may be imported here.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cutoff import files, models, paths
from cutoff.errors import CutoffError
from cutoff.params import Params
from cutoff.run import folders

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Stage:
    """``name`` is the notebook's; ``part`` the parameters' stage.

    ``files`` are glob patterns of what it leaves in its folder, ``dataset_files`` in the
    data set's folder; ``optional`` is what it leaves besides, with some parameters only.
    """

    name: str
    part: str
    files: tuple[str, ...] = ()
    dataset_files: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


STAGES = (
    Stage(
        "01_generate",
        "generate",
        dataset_files=(
            *(f"{n}.jsonl" for n in "papers passages facts questions eval train".split()),
            "index.faiss",
            "dataset.json",
        ),
    ),
    Stage("02_finetune", "finetune", ("adapters/instruct_ft/*.*", "adapters/rag_ft/*.*")),
    Stage("03_export_gguf", "export", ("models/*.gguf", "Modelfile.*", "parity.json")),
    Stage(
        "04_evaluate",
        "evaluate",
        ("responses.jsonl", "judgements.jsonl", "results.json"),
        optional=("responses.*.jsonl*", "judgements.*.jsonl", "pairwise*.jsonl*", "judges"),
    ),
    Stage(
        "05_compare_sizes",
        "compare",
        ("comparison.csv", "comparison.md", "contrasts.csv", "cost.csv"),
    ),
)


def find(name: str) -> Stage:
    """The stage called ``name`` (``04_evaluate`` or just ``04``)."""
    for stage in STAGES:
        if name in (stage.name, stage.name[:2], stage.part):
            return stage
    raise CutoffError(
        f"There is no stage {name!r}; the stages are {', '.join(s.name for s in STAGES)}."
    )


def earlier(stage: Stage) -> tuple[Stage, ...]:
    """The stages before ``stage``, in order."""
    return STAGES[: STAGES.index(stage)]


def notebook(stage: Stage) -> Path:
    """The committed notebook of a stage."""
    path = paths.root() / "notebooks" / f"{stage.name}.ipynb"
    if not path.is_file():
        raise CutoffError(f"The notebook {path} is missing; is this a complete checkout?")
    return path


def entry(stage: Stage, p: Params) -> dict[str, Any]:
    """What ``run.json`` holds about the stage; empty when it never ran."""
    return folders.locate(stage.name, p).entry


def why_not_current(stage: Stage, p: Params) -> str | None:
    """Why the stage has to run, in a few words; None when it is complete and up to date."""
    was = entry(stage, p)
    if not was.get("key"):
        return "never completed"
    if was["key"] != key(stage, p):
        return "its parameters, code or inputs have changed"
    if was.get("files") != left_behind(stage, p):
        return "its files have changed or are missing"
    return None


def key(stage: Stage, p: Params) -> str:
    """Hash of all that decides the stage's result; equal keys need no second run."""
    digest = hashlib.sha256(notebook(stage).read_bytes() + _package_hash())
    if stage.part == "compare":
        digest.update(_all_sizes(p).encode())
        return digest.hexdigest()[:16]
    digest.update(f"{p.hash_for(stage.part)} {paths.dataset_id(p)}".encode())
    if stage.part == "generate":
        digest.update(paths.own_papers_sha256(p).encode())
    if stage.part == "finetune":
        digest.update(models.local_state(p).encode())
    if stage.part == "evaluate":
        digest.update(labels(folders.locate(stage.name, p).folder).encode())
    if previous := earlier(stage):
        digest.update(key(previous[-1], p).encode())
    return digest.hexdigest()[:16]


@cache
def _package_hash() -> bytes:
    """Any change of the package may change any result."""
    digest = hashlib.sha256()
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.yaml")]):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.digest()


def _all_sizes(p: Params) -> str:
    """Every size's results with what they took, and which size the others must match."""
    found = [p.size]
    for path in sorted(paths.outputs(p).glob("*/results.json")):
        found += [path.parent.name, hashlib.sha256(path.read_bytes()).hexdigest()]
    for path in sorted(paths.outputs(p).glob("*/run.json")):
        if path.parent.name != folders.COMPARE:
            made = folders.read_run(path.parent)["stages"]
            took = {name: (one.get("key"), one.get("seconds")) for name, one in made.items()}
            found.append(f"{path.parent.name} {took}")
    return "\n".join(found)


def labels(folder: Path) -> str:
    """What a person has entered into ``calibration.csv``; empty while nothing is.

    Of a file that cannot be read with certainty its hash: somebody has had it in hands.
    """
    path = folder / "calibration.csv"
    if not path.is_file():
        return ""
    try:
        _, rows = files.read_table(path)
    except CutoffError:
        return files.sha256_file(path)
    given = [(row.get("item"), (row.get("label") or "").strip()) for _, row in rows]
    given = sorted((item, label) for item, label in given if item and label)
    return str(given) if given else ""


def left_behind(stage: Stage, p: Params) -> dict[str, int] | None:
    """Files of a stage with their sizes in bytes, or None when one is missing."""
    opened = folders.locate(stage.name, p)
    found: dict[str, int] = {}
    patterns = [(opened.folder, pattern) for pattern in (*stage.files, f"{stage.name}.html")]
    patterns += [(opened.dataset_folder, pattern) for pattern in stage.dataset_files]
    for folder, pattern in patterns:
        matching = sorted(path for path in folder.glob(pattern) if path.is_file())
        if not matching:
            return None
        for path in matching:
            # The report is rendered again when the theme changes: its size says nothing.
            size = 0 if path.suffix == ".html" else path.stat().st_size
            found[path.relative_to(paths.outputs(p)).as_posix()] = size
    return found
