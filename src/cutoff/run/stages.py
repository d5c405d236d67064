"""The five stages: what each needs and leaves, and whether it has to run again.

A stage is current when nothing that can change its result has changed since it
completed. The answer costs milliseconds, so nothing heavy may be imported here.
"""

import ast
import csv
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
    """``name`` is the notebook's; ``part`` the sub-package and the parameters' stage.

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
            "papers.jsonl",
            "passages.jsonl",
            "index.faiss",
            "facts.jsonl",
            "questions.jsonl",
            "eval.jsonl",
            "train.jsonl",
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
    content = folders.read_run(folders.locate(stage.name, p).folder)
    return content["stages"].get(stage.name, {})


def key(stage: Stage, p: Params) -> str:
    """Hash of all that decides the stage's result; equal keys need no second run."""
    digest = hashlib.sha256(notebook(stage).read_bytes())
    for path in sources(stage):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    if stage.part == "compare":  # every size's results, and which of them the others must match
        digest.update(p.size.encode())
        for path in sorted(paths.outputs(p).glob("*/results.json")):
            digest.update(path.parent.name.encode() + path.read_bytes())
        for path in sorted(paths.outputs(p).glob("*/run.json")):
            if path.parent != folders.locate(stage.name, p).folder:
                entries = folders.read_run(path.parent)["stages"].items()
                made = {name: (made.get("key"), made.get("seconds")) for name, made in entries}
                digest.update(f"{path.parent.name} {made}".encode())
    else:
        digest.update(f"{p.hash_for(stage.part)} {paths.dataset_id(p)}".encode())
        if stage.part == "finetune":
            digest.update(models.local_state(p).encode())
        if stage.part == "evaluate":
            digest.update(labels(folders.locate(stage.name, p).folder).encode())
        if previous := earlier(stage):
            digest.update(key(previous[-1], p).encode())
    return digest.hexdigest()[:16]


def labels(folder: Path) -> str:
    """What a person has entered into ``calibration.csv``; empty while nothing is."""
    path = folder / "calibration.csv"
    if not path.is_file():
        return ""
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = [(row.get("item"), row.get("label")) for row in csv.DictReader(file)]
    given = sorted((item, label) for item, label in rows if item and label)
    return str(given) if given else ""


def left_behind(stage: Stage, p: Params) -> dict[str, int] | None:
    """Files of a stage with their sizes in bytes, or None when one is missing."""
    opened = folders.locate(stage.name, p)
    files: dict[str, int] = {}
    patterns = [(opened.folder, pattern) for pattern in (*stage.files, f"{stage.name}.html")]
    patterns += [(opened.dataset_folder, pattern) for pattern in stage.dataset_files]
    for folder, pattern in patterns:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if not found:
            return None
        # The report is rendered again when the theme changes: its size says nothing.
        sizes = {path: 0 if path.suffix == ".html" else path.stat().st_size for path in found}
        files |= {path.relative_to(paths.outputs(p)).as_posix(): n for path, n in sizes.items()}
    return files


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


def code_hash(stage: Stage) -> str:
    """Hash of the package's code that makes a stage's files."""
    digest = hashlib.sha256()
    for path in sources(stage):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def sources(stage: Stage) -> tuple[Path, ...]:
    """Modules of this package that the stage can use: its own sub-package (which may run
    as a process of its own), what its notebook imports, and whatever those import."""
    waiting = sorted((PACKAGE / stage.part).rglob("*.py"))
    waiting += _imports(_code(notebook(stage)))
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imports(path.read_text(encoding="utf-8"))
    return tuple(sorted(found))


def _code(path: Path) -> str:
    """Python of a notebook's code cells, without IPython's own commands."""
    cells = files.read_json(path)["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    lines = "\n".join(code).splitlines()
    return "\n".join("pass" if line.strip().startswith(("%", "!")) else line for line in lines)


def _imports(code: str) -> list[Path]:
    """Files of this package that ``code`` imports anywhere in its text."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return []  # the cell will say so itself when it runs
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    paths = []
    for name in names:
        if name.split(".")[0] == "cutoff":
            path = PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
            paths += [path] if path.is_file() else []
    return paths
