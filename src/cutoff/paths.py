"""Where things lie: the repository, its outputs, a data set's folder.

Results live in ``<output_dir>/<size>``; a trial with ``limit`` lives in
``<output_dir>/limit-<n>/<size>`` and cannot touch the results of a complete run.
"""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.phantom.world import WORLD_VERSION

if TYPE_CHECKING:
    from cutoff.params import Params


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
        digest.update(str(WORLD_VERSION).encode())
    return digest.hexdigest()[:12]


def own_papers_sha256(p: "Params") -> str:
    """Hash of the names and bytes of what lies in ``papers_folder``; "" for other sources."""
    if p.paper_source != "folder" or p.papers_folder is None:
        return ""
    folder = root() / Path(p.papers_folder).expanduser()
    digest = hashlib.sha256()
    for pattern in ("*", "post/*", "control/*"):
        for path in sorted(path for path in folder.glob(pattern) if path.is_file()):
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode("utf-8", "replace"))
            with contextlib.suppress(OSError):  # what cannot be opened is no paper either
                digest.update(files.sha256_file(path).encode())
    return digest.hexdigest()


def short(path: Path) -> str:
    """``path`` as a person would name it: relative to the repository where it lies in it."""
    return str(path.relative_to(root())) if path.is_relative_to(root()) else str(path)
