"""What Colab and Kaggle install, and how a notebook gets there."""

import importlib.metadata
import shutil
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
    assert constraints == "torch==2.9.0+cu126\n"
    left_out = set(PINNED.splitlines()) - set(wanted.splitlines())
    assert [line.split("==")[0] for line in left_out] == ["torch"]
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


@pytest.fixture(scope="module")
def first_cell():
    """The first code cell, which is the same in all notebooks."""
    [cell] = {
        next(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code")
        for path in NOTEBOOKS
    }
    assert len(cell.splitlines()) <= 5
    return cell


# What the cell needs of IPython, in an interpreter that sees no package beyond Python's own.
SESSION = """
import os, pathlib, runpy, subprocess, sys
class Shell:
    def system(self, command):
        os.system(command)
    def run_line_magic(self, name, path):
        runpy.run_path(path, run_name="__main__")
get_ipython = Shell
sys.path.insert(0, "")
sys.argv = ["kernel"]
subprocess.run = lambda command, **_: subprocess.CompletedProcess(command, print("pip") or 0)
"""


@pytest.fixture
def run_cell(first_cell, tmp_path):
    """Runs the cell ``times`` times in a fresh session in ``folder``; gives what it printed."""
    origin = tmp_path / "origin"
    (origin / "src/cutoff").mkdir(parents=True)
    for name in ("__init__", "params"):
        (origin / f"src/cutoff/{name}.py").touch()
    shutil.copy(install.__file__, origin / "src/cutoff")
    (origin / "requirements.txt").touch()
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=origin, check=True
        )
    cell = first_cell.replace("ADDRESS", f"'{origin}'")

    def run(folder: Path, times: int = 1) -> str:
        code = f"{SESSION}{(cell + chr(10)) * times}import cutoff.params; print(cutoff.__file__)"
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert str(folder / "beyond-the-cutoff/src") in done.stdout
        return done.stdout

    return run


def test_the_first_cell_fetches_the_repository_and_installs_once_in_a_session(run_cell, tmp_path):
    (tmp_path / "session").mkdir()
    assert run_cell(tmp_path / "session", times=2).count("pip") == 1


def test_the_next_notebook_in_the_folder_uses_what_the_first_has_fetched(run_cell, tmp_path):
    folder = tmp_path / "session"
    (folder / "cutoff").mkdir(parents=True)  # a folder of that name is not taken for the package
    run_cell(folder)
    (folder / "beyond-the-cutoff/marked").touch()
    run_cell(folder)
    assert (folder / "beyond-the-cutoff/marked").exists()


def test_the_first_cell_does_nothing_where_the_package_is(first_cell, tmp_path):
    subprocess.run([sys.executable, "-c", first_cell], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_drive_that_is_not_there_is_named_before_anything_is_lost():
    p = params.load("tiny", {"output_dir": "/content/drive/MyDrive/cutoff"})
    if Path("/content/drive").exists():
        pytest.skip("this is Colab")
    with pytest.raises(CutoffError, match="Google Drive"):
        folders.open_stage("01_generate", p)
