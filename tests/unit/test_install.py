"""What Colab and Kaggle install."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from cutoff import install, params
from cutoff.errors import CutoffError
from cutoff.run import folders

PINNED = (install.REPOSITORY / "requirements.txt").read_text("utf-8")
NOTEBOOKS = sorted((install.REPOSITORY / "notebooks").glob("*.ipynb"))


def test_a_torch_that_is_there_is_kept_and_all_else_is_pinned():
    wanted, constraints = install.requirements(PINNED, "2.9.0+cu126")
    assert "\ntorch==" not in f"\n{wanted}"
    assert constraints == "torch==2.9.0+cu126\n"
    assert {line.split()[0] for line in PINNED.splitlines() if "==" in line} - {
        line.split()[0] for line in wanted.splitlines() if "==" in line
    } == {next(line.split()[0] for line in PINNED.splitlines() if line.startswith("torch=="))}


def test_without_torch_the_pinned_one_is_installed():
    assert install.requirements(PINNED, None) == (PINNED, "")


def test_pip_accepts_what_it_is_given_here():
    found = subprocess.run(
        [sys.executable, install.__file__, "--dry-run", "--no-deps", "--no-index"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert f"PyTorch {importlib.metadata.version('torch')} was kept." in found.stdout


def test_every_notebook_begins_with_the_same_cell_that_finds_or_fetches_the_repository():
    [cell] = {
        next(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code")
        for path in NOTEBOOKS
    }
    assert "install.py" in cell and "repository = None" in cell


def test_the_first_cell_fetches_the_repository_and_installs_where_nothing_is(tmp_path):
    """In an interpreter that cannot see the package, with a repository to clone from."""
    origin = tmp_path / "origin"
    (origin / "src/cutoff").mkdir(parents=True)
    (origin / "src/cutoff/__init__.py").write_text("")
    (origin / "src/cutoff/install.py").write_text("print('installed')\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *command], cwd=origin, check=True)
    cell = next(c.source for c in nbformat.read(NOTEBOOKS[0], 4).cells if c.cell_type == "code")
    cell = cell.replace("repository = None", f"repository = {str(origin)!r}")
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{cell}\nimport cutoff; print(cutoff.__file__)"],
        cwd=_folder(tmp_path / "session"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "installed" in found.stdout
    assert str(tmp_path / "session") in found.stdout


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_drive_that_is_not_there_is_named_before_anything_is_lost():
    p = params.load("tiny", {"output_dir": "/content/drive/MyDrive/cutoff"})
    if Path("/content/drive").exists():
        pytest.skip("this is Colab")
    with pytest.raises(CutoffError, match="Google Drive"):
        folders.open_stage("01_generate", p)
