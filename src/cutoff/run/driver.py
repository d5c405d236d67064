"""Runs the notebooks: validated parameters in, papermill, a page to read, a marker last.

A killed run leaves no marker; the next run starts that stage again, which resumes by itself.
"""

import contextlib
import fcntl
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cutoff import deadline, files, models, paths
from cutoff.errors import CutoffError
from cutoff.params import Params
from cutoff.run import folders, kernel, render, stages
from cutoff.run.stages import Stage


def run_all(
    p: Params, given: Mapping[str, Any], only: Stage | None = None, force: bool = False
) -> Path:
    """Bring every stage (or ``only`` one) up to date and return the index page.

    ``given`` holds the parameters that differ from the size's file, for the notebooks.
    """
    deadline.start(p.deadline_minutes)
    models.compared_quantizations(p)  # a wrong name is said now, not after the training
    folder, page = folders.locate("01_generate", p).folder, paths.outputs(p) / "index.html"
    files.make_folder(folder)
    if only:
        _require_earlier(only, p)
    with _alone(folder, p.size):
        for stage in [only] if only else stages.STAGES:
            if not force and stages.why_not_current(stage, p) is None:
                if stages.entry(stage, p).get("theme") != render.theme_hash():
                    render.report(stage, p)
                _say(stage, "up to date", p)
                continue
            deadline.check(f"{stage.name} has not been started, what is before it is complete")
            if force:
                _forget(stage, p)
            run_stage(stage, p, given)
            _say(stage, "done", p)
        made_of = [*paths.outputs(p).glob("*/run.json"), *render.THEME.iterdir()]
        newest = max(path.stat().st_mtime for path in made_of)
        if not page.exists() or page.stat().st_mtime < newest:
            render.index(paths.outputs(p))
        return page


def run_stage(stage: Stage, p: Params, given: Mapping[str, Any]) -> None:
    """Execute one notebook, render it, and write its marker when all its files are there."""
    opened = folders.open_stage(stage.name, p)
    folders.update_stage(opened.folder, stage.name, key=None, started=_now(), figures={})
    key, started = stages.key(stage, p), time.monotonic()
    with _peak_memory() as peak:
        kernel.execute(stages.notebook(stage), p, given, opened.folder / f"{stage.name}.ipynb")
    took = {"seconds": round(time.monotonic() - started, 2), "peak_rss_mb": peak["mb"]}
    folders.update_stage(opened.folder, stage.name, **took, finished=_now())
    render.report(stage, p)
    left = stages.left_behind(stage, p)
    if left is None:
        expected = ", ".join((*stage.files, *stage.dataset_files))
        raise CutoffError(f"{stage.name} ended without writing all of its files ({expected}).")
    folders.update_stage(opened.folder, stage.name, key=key, files=left)


@contextlib.contextmanager
def _peak_memory() -> Iterator[dict[str, int]]:
    """Peak of the resident memory of this process and all its children, in MB.

    Pages that processes share count more than once, so the figure is an upper bound.
    """
    import psutil

    peak = {"mb": 0}
    stop = threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not stop.wait(0.3):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
            peak["mb"] = max(peak["mb"], total // 1_000_000)

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
        for path in opened.folder.glob(Path(pattern).parts[0]):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _say(stage: Stage, state: str, p: Params) -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    took = stages.entry(stage, p)
    spent = f"{took['seconds']:.1f} s, {took['peak_rss_mb']:,} MB at most"
    print(f"{stage.name:<17} {state} ({spent})", flush=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
