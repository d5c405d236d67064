"""Runs the notebooks: validated parameters in, papermill, a page to read, a marker last.

Behind ``make all``: ``python -m cutoff run size=tiny``. A killed run leaves no marker;
the next run starts that stage again and the stage resumes from its own records.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from cutoff import deadline, files, models, paths
from cutoff.errors import CutoffError, DeadlineReached
from cutoff.params import Params
from cutoff.run import folders, render, stages
from cutoff.run.stages import Stage

KERNEL_START_SECONDS = 180  # a busy machine can need a minute

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


def run_all(
    p: Params, given: Mapping[str, Any], only: Stage | None = None, force: bool = False
) -> Path:
    """Bring every stage (or ``only`` one) up to date and return the index page.

    ``given`` holds the parameters that differ from the size's file, for the notebooks.
    """
    deadline.start(p.deadline_minutes)
    models.compared_quantizations(p)  # a wrong name is said now, not after the training
    files.make_folder(folders.locate("01_generate", p).folder)
    chosen = [only] if only else list(stages.STAGES)
    if only:
        _require_earlier(only, p)
    with _alone(folders.locate("01_generate", p).folder, p.size):
        for stage in chosen:
            reason = "force=1" if force else stages.why_not_current(stage, p)
            if reason is None:
                _render_if_stale(stage, p)
                _say(stage, f"up to date ({_spent(stages.entry(stage, p))})")
                continue
            deadline.check(f"{stage.name} has not been started, what is before it is complete")
            if force:
                _forget(stage, p)
            run_stage(stage, p, given)
            _say(stage, f"done ({_spent(stages.entry(stage, p))})")
        page = paths.outputs(p) / "index.html"
        if not page.exists() or page.stat().st_mtime < _newest(p):
            render.index(paths.outputs(p))
        return page


def run_stage(stage: Stage, p: Params, given: Mapping[str, Any]) -> None:
    """Execute one notebook, render it, and write its marker when all its files are there."""
    opened = folders.open_stage(stage.name, p)
    folders.update_stage(opened.folder, stage.name, key=None, started=_now(), figures={})
    _drop_dataset_of_other_code(stage, p)
    key = stages.key(stage, p)
    started = time.monotonic()
    with _peak_memory() as peak:
        _execute(stage, p, given, opened.folder / f"{stage.name}.ipynb")
    folders.update_stage(
        opened.folder,
        stage.name,
        seconds=round(time.monotonic() - started, 2),
        peak_rss_mb=peak["mb"],
        finished=_now(),
    )
    render.report(stage, p)
    left = stages.left_behind(stage, p)
    if left is None:
        expected = ", ".join((*stage.files, *stage.dataset_files))
        raise CutoffError(f"{stage.name} ended without writing all of its files ({expected}).")
    if stage.dataset_files:
        files.write_text_atomic(opened.dataset_folder / "made_by.txt", stages.code_hash(stage))
    folders.update_stage(opened.folder, stage.name, key=key, files=left)


def _execute(stage: Stage, p: Params, given: Mapping[str, Any], output: Path) -> None:
    import logging

    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    # Parameters are validated before; papermill would warn about each that is not in the cell.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    # When a run is stopped, nbclient leaves a task behind that asyncio would print as a traceback.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    terminal = sys.stderr.isatty()
    log = output.with_suffix(".log")
    try:
        with _kernel_environment(p, log, quiet=not terminal):
            papermill.execute_notebook(
                str(stages.notebook(stage)),
                str(output),
                parameters={"size": p.size, "limit": p.limit, **given},
                kernel_name="python3",
                language="python",
                cwd=str(paths.root()),
                progress_bar=False,
                start_timeout=KERNEL_START_SECONDS,
                config=Config({"KernelManager": {"transport": "ipc"}}),
                stderr_file=_Bars(sys.stderr, stage.name) if terminal else None,
            )
    except PapermillExecutionError as error:
        # A library's own error says most in its last line; ours is a sentence already.
        message = _plain(str(error.evalue)).strip()
        log.unlink(missing_ok=True)
        if error.ename == "DeadlineReached":  # a planned stop: nothing in the notebook to look at
            raise DeadlineReached(message) from None
        if error.ename != "CutoffError":
            message = f"{error.ename}: {message}" if message else error.ename
            message += f"\n(cell [{error.exec_count}] of {stage.name})"
        raise CutoffError(f"{message}\n{_kept(stage, output)}") from None
    except RuntimeError as error:
        if "Kernel" not in str(error):  # nbclient's words: it died, or did not start in time
            raise
        raise CutoffError(
            f"The process of {stage.name} was ended from outside; most often the machine ran "
            f"out of memory. Its last messages are in {log}.\n{_kept(stage, output)}"
        ) from None
    log.unlink(missing_ok=True)


@contextlib.contextmanager
def _kernel_environment(p: Params, log: Path, quiet: bool) -> Iterator[None]:
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


@contextlib.contextmanager
def _peak_memory() -> Iterator[dict[str, int | None]]:
    """Peak of the resident memory of this process and all its children, in MB.

    Pages that processes share count more than once, so the figure is an upper bound.
    """
    import psutil

    peak: dict[str, int | None] = {"mb": 0}
    stop = threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not stop.wait(0.3):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
            peak["mb"] = max(peak["mb"] or 0, total // 1_000_000)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _alone(folder: Path, size: str) -> Iterator[None]:
    """Hold the size's folder: two runs in one folder would spoil each other's files."""
    try:
        lock = open(folder / ".lock", "w")
    except OSError as error:
        raise CutoffError(
            f"Cannot write in {folder}: {error.strerror}; choose another output_dir."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CutoffError(f"Another run of size {size} is at work in {folder}.") from None
        except OSError:
            pass  # some network folders cannot lock
        yield


def _require_earlier(stage: Stage, p: Params) -> None:
    if stage.part == "compare":
        if not any(paths.outputs(p).glob("*/results.json")):
            raise CutoffError("There is no results.json to compare yet; run 04_evaluate first.")
        return
    for other in stages.earlier(stage):
        if reason := stages.why_not_current(other, p):
            raise CutoffError(
                f"{stage.name} cannot run alone: {other.name} is not up to date ({reason}); "
                f"run `make size={p.size} all` or stage={other.name} first."
            )


def _forget(stage: Stage, p: Params) -> None:
    """Remove what a stage left, so that nothing of it is resumed."""
    opened = folders.locate(stage.name, p)
    if stage.dataset_files:
        (opened.dataset_folder / "dataset.json").unlink(missing_ok=True)
    for pattern in (*stage.files, *stage.optional):
        top = Path(pattern).parts[0]
        for path in opened.folder.glob(top):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _drop_dataset_of_other_code(stage: Stage, p: Params) -> None:
    """A data set is shared by all sizes under the hash of its parameters; when the code
    that makes it has changed since, it must be made again."""
    folder = folders.locate(stage.name, p).dataset_folder
    made_by = folder / "made_by.txt"
    if stage.dataset_files and made_by.exists() and made_by.read_text() != stages.code_hash(stage):
        (folder / "dataset.json").unlink(missing_ok=True)


def _render_if_stale(stage: Stage, p: Params) -> None:
    if stages.entry(stage, p).get("theme") != render.theme_hash():
        render.report(stage, p)


def _newest(p: Params) -> float:
    markers = [*paths.outputs(p).glob("*/run.json"), *render.THEME.iterdir()]
    return max(path.stat().st_mtime for path in markers)


def _kept(stage: Stage, output: Path) -> str:
    return f"{stage.name} stopped; the notebook up to that point is {output}"


def _say(stage: Stage, text: str) -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(f"{stage.name:<17} {text}", flush=True)


def _spent(entry: Mapping[str, Any]) -> str:
    return f"{entry['seconds']:.1f} s, {entry['peak_rss_mb']:,} MB at most"


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
