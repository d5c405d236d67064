"""A run's folder: where things go, what made them, and how files are written.

Files are replaced atomically, so that a kill leaves the old file or the new one. Results
live in ``<output_dir>/<size>``; a trial with ``limit`` lives in
``<output_dir>/limit-<n>/<size>`` and cannot touch the results of a complete run.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutoff import deadline
from cutoff.errors import CutoffError

if TYPE_CHECKING:
    from cutoff.params import Params
    from cutoff.provenance import Provenance

DRIVE = Path("/content/drive")  # where Colab puts Google Drive
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def root() -> Path:
    """The repository: ``CUTOFF_ROOT``, else upwards from here to ``params/defaults.yaml``."""
    given = os.environ.get("CUTOFF_ROOT")
    here = Path.cwd()
    candidates = [Path(given)] if given else [here, *here.parents, Path(__file__).parents[2]]
    for folder in candidates:
        if (folder / "params" / "defaults.yaml").is_file():
            return folder.resolve()
    raise CutoffError(
        f"Cannot find params/defaults.yaml in {candidates[0]}; "
        "start from the repository or set CUTOFF_ROOT to it."
    )


def outputs(p: "Params") -> Path:
    """Folder of all sizes' results, data sets and the index page."""
    folder = root() / p.output_dir
    return folder if p.limit is None else folder / f"limit-{p.limit}"


def dataset_id(p: "Params") -> str:
    """12 hex digits: the parameters that shape the data set and the world it is drawn from."""
    digest = hashlib.sha256(p.hash_for("generate").encode())
    if p.paper_source == "phantom":
        from cutoff.phantom.world import WORLD_VERSION

        digest.update(str(WORLD_VERSION).encode())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Run:
    """One stage of one run. ``folder`` belongs to the size, ``dataset_folder`` to all sizes."""

    stage: str
    params: "Params"
    folder: Path
    dataset_folder: Path

    @property
    def outputs(self) -> Path:
        """Folder that holds the folders of all sizes."""
        return outputs(self.params)

    def require(self, path: Path, made_by: str) -> Path:
        """Return ``path`` or say which stage has to run first."""
        if not path.exists():
            raise CutoffError(
                f"{self.stage} needs {_short(path)}, which {made_by} writes; "
                f"run `make size={self.params.size} stage={made_by} all` first."
            )
        return path

    def record(self, **figures: Any) -> None:
        """Add figures of this stage (anything JSON can hold) to ``run.json``."""
        earlier = read_run(self.folder)["stages"].get(self.stage, {}).get("figures", {})
        update_stage(self.folder, self.stage, figures={**earlier, **figures})

    def provenance(self) -> "Provenance":
        """What makes this run what it is; shows itself as tables and is kept in ``run.json``."""
        from cutoff.provenance import Provenance, facts

        known = facts(self)
        update_stage(self.folder, self.stage, provenance=known)
        return Provenance(known)


def locate(stage_name: str, p: "Params") -> Run:
    """The folders of a stage, touching nothing. 05 compares sizes and has one of its own."""
    top = outputs(p)
    folder = top / ("compare" if stage_name.startswith("05") else p.size)
    return Run(stage_name, p, folder, top / "datasets" / dataset_id(p))


def open_stage(stage_name: str, p: "Params") -> Run:
    """``locate``, with the folders created and the clock of ``deadline_minutes`` started."""
    deadline.start(p.deadline_minutes)
    opened = locate(stage_name, p)
    _mount(opened.outputs)
    make_folder(opened.folder)
    make_folder(opened.dataset_folder)
    return opened


def make_folder(folder: Path) -> None:
    """Create ``folder`` with its parents, or say why it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CutoffError(
            f"Cannot create {folder}: {error.strerror}; choose another output_dir."
        ) from None


def _mount(folder: Path) -> None:
    """Connect Google Drive on Colab when results belong there; what is not on it is lost."""
    if not folder.is_relative_to(DRIVE) or DRIVE.is_dir():
        return
    try:
        from google.colab import drive
    except ImportError:
        raise CutoffError(
            f"output_dir = {folder} is on Google Drive, which only Colab can connect; choose "
            "another output_dir here."
        ) from None
    drive.mount(str(DRIVE))


def update_stage(folder: Path, stage: str, **fields: Any) -> None:
    """Set ``fields`` of the stage's entry in ``run.json``."""
    content = read_run(folder)
    content["stages"].setdefault(stage, {}).update(fields)
    write_json_atomic(folder / "run.json", content)


def read_run(folder: Path) -> dict[str, Any]:
    """Content of ``run.json``; ``{"stages": {}}`` where there is none yet."""
    path = folder / "run.json"
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict) or not isinstance(content.setdefault("stages", {}), dict):
        raise CutoffError(f"{path} is damaged; remove it, the stages will be checked again.")
    return content


# --- files ---------------------------------------------------------------------------


def to_json(value: Any, indent: int | None = None) -> bytes:
    """UTF-8 JSON. NaN is refused: a missing number is null and must be written as None."""

    def plain(other: Any) -> Any:
        if hasattr(other, "tolist"):  # numpy scalars and arrays
            return other.tolist()
        if isinstance(other, Path):
            return other.as_posix()
        raise TypeError(f"{type(other).__name__} cannot be written as JSON")

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, default=plain)
    # Half a surrogate pair (a model can produce one) becomes its \\uXXXX escape.
    return text.encode("utf-8", "backslashreplace")


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` in one step: after a kill it is the old file or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        try:
            part.unlink(missing_ok=True)
        except OSError:
            pass  # the first error is the one to report
        raise CutoffError(f"Cannot write {path}: {error.strerror}.") from None


def write_text_atomic(path: Path, text: str) -> None:
    """``write_bytes_atomic`` for UTF-8 text."""
    write_bytes_atomic(path, text.encode("utf-8", "backslashreplace"))


def write_json_atomic(path: Path, obj: Any) -> None:
    """Write ``obj`` as readable JSON in one step."""
    write_bytes_atomic(path, to_json(obj, indent=1) + b"\n")


def write_jsonl_atomic(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write all ``records``, one a line, in one step."""
    write_bytes_atomic(path, b"".join(to_json(record) + b"\n" for record in records))


def read_json(path: Path) -> Any:
    """Content of a JSON file; a damaged one is an error that names it."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CutoffError(f"{path} does not exist.") from None
    except ValueError as error:
        raise CutoffError(f"{path} is damaged ({error}); remove it and run again.") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Records of a JSONL file; a damaged line is an error that names it."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise CutoffError(f"{path} does not exist.") from None
    records = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise CutoffError(f"{path}, line {number}, is damaged ({error}).") from None
    return records


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex; an unchanged file is read once per process."""
    found = path.stat()
    return _sha256(path, found.st_size, found.st_mtime_ns, found.st_ino)


@lru_cache(maxsize=256)
def _sha256(path: Path, *_: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(path: Path) -> str:
    """``path`` as a person would name it: relative to the repository where it lies in it."""
    return str(path.relative_to(root())) if path.is_relative_to(root()) else str(path)
