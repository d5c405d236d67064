"""Executes one notebook in a Jupyter kernel of this interpreter, through papermill."""

import contextlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from cutoff import models, paths
from cutoff.errors import CutoffError, DeadlineReached
from cutoff.params import Params

START_SECONDS = 180  # a busy machine can need a minute

# What a kernel writes past Jupyter (crashes of native code, messages of a stopped process)
# goes to a file: on the terminal it would stand between our lines.
LAUNCH = """
import os, sys
log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
os.dup2(log, 1)
os.dup2(log, 2)
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""


def execute(notebook: Path, p: Params, given: Mapping[str, Any], output: Path) -> None:
    """Execute ``notebook`` with ``given`` in its parameters cell; ``output`` is the copy with
    results, as far as it got. A failure is one sentence that names the copy."""
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    # Parameters are validated before; papermill would warn about each that is not in the cell.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    # When a run is stopped, nbclient leaves a task behind that asyncio would print as a traceback.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    stage = notebook.stem
    terminal = sys.stderr.isatty()
    log = output.with_suffix(".log")
    kept = f"{stage} stopped; the notebook up to that point is {output}"
    try:
        with _environment(p, log, quiet=not terminal):
            papermill.execute_notebook(
                str(notebook),
                str(output),
                parameters={"size": p.size, "limit": p.limit, **given},
                kernel_name="python3",
                language="python",
                cwd=str(paths.root()),
                progress_bar=False,
                start_timeout=START_SECONDS,
                config=Config({"KernelManager": {"transport": "ipc"}}),
                stderr_file=_Bars(sys.stderr, stage) if terminal else None,
            )
    except PapermillExecutionError as error:
        log.unlink(missing_ok=True)
        raise _in_a_sentence(error, stage, kept) from None
    except RuntimeError as error:
        if "Kernel" not in str(error):  # nbclient's words: it died, or did not start in time
            raise
        raise CutoffError(
            f"The process of {stage} was ended from outside; most often the machine ran "
            f"out of memory. Its last messages are in {log}.\n{kept}"
        ) from None
    log.unlink(missing_ok=True)


def _in_a_sentence(error: Any, stage: str, kept: str) -> CutoffError:
    """Papermill's error as ours. A library's own error says most in its last line."""
    message = _plain(str(error.evalue)).strip()
    if error.ename == "DeadlineReached":  # a planned stop: nothing in the notebook to look at
        return DeadlineReached(message)
    if error.ename != "CutoffError":
        message = f"{error.ename}: {message}" if message else error.ename
        message += f"\n(cell [{error.exec_count}] of {stage})"
    return CutoffError(f"{message}\n{kept}")


@contextlib.contextmanager
def _environment(p: Params, log: Path, quiet: bool) -> Iterator[None]:
    """The environment that kernels inherit; the caller's is restored afterwards.

    The kernel must be this interpreter, whatever else is registered for the user as
    ``python3``: JUPYTER_PATH with a kernel specification of our own comes first.
    """
    before = dict(os.environ)
    source = str(Path(__file__).parents[2])
    # Kernels are spoken to through sockets in this folder, not through ports that another
    # program may take in between. Their paths must be short: macOS allows 103 characters.
    short = "/tmp" if os.access("/tmp", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="cutoff-", dir=short) as folder:
        spec = Path(folder, "kernels", "python3", "kernel.json")
        spec.parent.mkdir(parents=True)
        launch = [sys.executable, "-c", LAUNCH, str(log), "-f", "{connection_file}"]
        spec.write_text(
            json.dumps({"argv": launch, "display_name": "Python 3", "language": "python"})
        )
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        os.environ |= {
            "CUTOFF_ROOT": str(paths.root()),
            "PYTHONPATH": os.pathsep.join(filter(None, [source, before.get("PYTHONPATH")])),
            "JUPYTER_PATH": folder,
            "JUPYTER_CONFIG_DIR": f"{folder}/config",
            "JUPYTER_RUNTIME_DIR": f"{folder}/runtime",
            "IPYTHONDIR": f"{folder}/ipython",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": before.get("OMP_NUM_THREADS", str(cores)),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        if p.base_model in models.PHANTOMS and "/" not in p.embedding_model:
            os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        if quiet:
            os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ |= before


class _Bars:
    """Shows the kernel's progress bars, and nothing else of its stderr, on our terminal."""

    def __init__(self, terminal: IO[str], label: str) -> None:
        self.terminal = terminal
        self.label = label

    def write(self, text: str) -> None:
        """Replace the last line by the newest bar in ``text``."""
        bars = [part for part in re.split(r"[\r\n]+", _plain(text)) if "%|" in part]
        if bars:
            width = shutil.get_terminal_size().columns - 1
            self.terminal.write("\r\033[K" + f"{self.label}  {bars[-1].strip()}"[:width])

    def flush(self) -> None:
        """Papermill calls this after every write."""
        self.terminal.flush()


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
