"""Installs the packages on Colab and Kaggle, where there is no make.

The first cell of a notebook runs this file there; by hand it is ``python install.py``. Those
machines bring a PyTorch that fits their GPU and driver. It stays: everything else is
installed at the pinned versions, under the constraint that PyTorch does not move. Runs before
anything is installed, so it needs nothing but Python.
"""

import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def requirements(pinned: str, torch: str | None) -> tuple[str, str]:
    """(what to install, constraints), given the text of ``requirements.txt`` and the version of
    PyTorch that is there already, if there is one."""
    if torch is None:
        return pinned, ""
    lines = [line for line in pinned.splitlines() if not line.startswith("torch==")]
    return "\n".join(lines) + "\n", f"torch=={torch}\n"


def make_importable() -> None:
    """Let the running session import the package from this checkout."""
    source = str(REPOSITORY / "src")
    if source not in sys.path:
        sys.path.insert(0, source)
    # A folder that happens to be called cutoff may have been taken for the package before.
    if getattr(sys.modules.get("cutoff"), "__file__", "") is None:
        del sys.modules["cutoff"]


def main(arguments: list[str]) -> None:
    """Install, further ``arguments`` going to pip; ends with a sentence where pip fails."""
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = None
    texts = requirements((REPOSITORY / "requirements.txt").read_text("utf-8"), torch)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("requirements.txt", "constraints.txt")]
        for path, text in zip(files, texts, strict=True):
            path.write_text(text, encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", *arguments]
        status = subprocess.run([*pip, "-r", str(files[0]), "-c", str(files[1])], check=False)
    kept = f"PyTorch {torch} was kept. " if torch else ""
    if status.returncode:
        sys.exit(
            f"{kept}The packages could not be installed; what pip says stands above. "
            "On Kaggle, switch on Internet in the notebook's settings."
        )
    make_importable()
    print(
        f"{kept}The packages are installed. If a cell finds an older package still loaded, "
        "restart the session once and run all cells again."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
