"""Installs the packages on Colab and Kaggle, where there is no make: ``python install.py``.

Those machines bring a PyTorch that fits their GPU and driver. It stays: everything else is
installed at the pinned versions, under the constraint that PyTorch does not move. Runs before
anything is installed, so it needs nothing but Python.
"""

import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def requirements(pinned: str, torch: str | None) -> tuple[str, str]:
    """(what to install, constraints), given the text of ``requirements.txt`` and the version of
    PyTorch that is there already, if there is one."""
    if torch is None:
        return pinned, ""
    lines = [line for line in pinned.splitlines() if not line.startswith("torch==")]
    return "\n".join(lines) + "\n", f"torch=={torch}\n"


def main(arguments: list[str]) -> int:
    """Install; further ``arguments`` go to pip. Returns pip's exit status."""
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
    if status.returncode == 0:
        print(
            f"{kept}The packages are installed. If a cell finds an older package still loaded, "
            "restart the session once and run all cells again."
        )
    else:
        print(
            f"{kept}The packages could not be installed; what pip says stands above. "
            "On Kaggle, switch on Internet in the notebook's settings.",
            file=sys.stderr,
        )
    return status.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
