"""A run's folder: where a stage reads and writes, and what ``run.json`` keeps about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutoff import deadline, files, paths
from cutoff.errors import CutoffError
from cutoff.params import Params
from cutoff.run.provenance import Provenance, gather

DRIVE = Path("/content/drive")  # where Colab puts Google Drive
COMPARE = "compare"  # folder of 05, which belongs to no size


@dataclass(frozen=True)
class Run:
    """One stage of one run. ``folder`` belongs to the size, ``dataset_folder`` to all sizes."""

    stage: str
    params: Params
    folder: Path
    dataset_folder: Path

    @property
    def outputs(self) -> Path:
        """Folder that holds the folders of all sizes."""
        return paths.outputs(self.params)

    @property
    def entry(self) -> dict[str, Any]:
        """What ``run.json`` holds about the stage; empty when it never ran."""
        found: dict[str, Any] = read_run(self.folder)["stages"].get(self.stage, {})
        return found

    def require(self, path: Path, made_by: str) -> Path:
        """Return ``path`` or say which stage has to run first."""
        if not path.exists():
            raise CutoffError(
                f"{self.stage} needs {paths.short(path)}, which {made_by} writes; "
                f"run `make size={self.params.size} stage={made_by} all` first."
            )
        return path

    def record(self, **figures: Any) -> None:
        """Add figures of this stage (anything JSON can hold) to ``run.json``."""
        update_stage(self.folder, self.stage, figures=self.entry.get("figures", {}) | figures)

    def provenance(self) -> Provenance:
        """What makes this run what it is; shows itself as tables and is kept in ``run.json``."""
        entries = read_run(self.folder)["stages"]
        keys = {n: e["key"] for n, e in entries.items() if n < self.stage and e.get("key")}
        made_of = gather(self.params, self.dataset_folder, keys)
        update_stage(self.folder, self.stage, provenance=made_of.facts)
        return made_of


def locate(stage_name: str, p: Params) -> Run:
    """The folders of a stage, touching nothing. 05 compares sizes and has one of its own."""
    top = paths.outputs(p)
    folder = top / (COMPARE if stage_name.startswith("05") else p.size)
    return Run(stage_name, p, folder, top / "datasets" / paths.dataset_id(p))


def open_stage(stage_name: str, p: Params) -> Run:
    """``locate``, with the folders created and the clock of ``deadline_minutes`` started."""
    deadline.start(p.deadline_minutes)
    opened = locate(stage_name, p)
    _mount(opened.outputs)
    files.make_folder(opened.folder)
    files.make_folder(opened.dataset_folder)
    return opened


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
    files.write_json_atomic(folder / "run.json", content)


def read_run(folder: Path) -> dict[str, Any]:
    """Content of ``run.json``; ``{"stages": {}}`` where there is none yet."""
    path = folder / "run.json"
    content = files.read_json(path) if path.exists() else {}
    if not isinstance(content, dict) or not isinstance(content.setdefault("stages", {}), dict):
        raise CutoffError(f"{path} is damaged; remove it, the stages will be checked again.")
    return content
