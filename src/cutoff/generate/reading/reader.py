"""Reading a paper's file where it can do no harm: in a process of its own, with limits.

Files come from outside. One that is a bomb, or that makes a parser crash, costs itself only:
the child process has a limit of memory, of time and of what it may write (nothing), and
what comes back is JSON.

``python -m cutoff.generate.reading.reader FILE KIND BYTES`` is that child.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from cutoff.generate.reading import html_reader, pdf_reader, text_reader
from cutoff.generate.reading.document import Document, Rejected, kind_of

MAX_CHARACTERS = 5_000_000  # of a paper's text; the longest books have two
MAX_MEMORY = 2 * 2**30  # bytes of the child's address space
MAX_SECONDS = 60.0
REFUSED = 3  # exit status of a child that says why
READERS = {
    "pdf": pdf_reader.read,
    "html": html_reader.read,
    "markdown": text_reader.read_markdown,
    "text": text_reader.read_text,
}


def read(path: Path, max_seconds: float = MAX_SECONDS, max_memory: int = MAX_MEMORY) -> Document:
    """Read ``path`` in a child process; raises ``Rejected`` with the reason if that fails."""
    own = "cutoff.generate.reading.reader"
    command = [sys.executable, "-m", own, str(path), kind_of(path), str(max_memory)]
    places = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, places)), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=max_seconds, env=os.environ | environment
        )
    except subprocess.TimeoutExpired:
        raise Rejected("too slow", f"not read within {max_seconds:.0f} seconds") from None
    if done.returncode == REFUSED:
        raise Rejected(*json.loads(done.stdout))
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        name = f"exit status {done.returncode}"
        if done.returncode < 0:
            name = signal.Signals(-done.returncode).name
        raise Rejected("reader crashed", " ".join([name, *words])[:200])
    return Document(**json.loads(done.stdout))


def read_here(path: Path, kind: str) -> Document:
    """Read ``path`` in this process: for files that this program has made itself."""
    document = READERS[kind](path)
    length = sum(len(section["text"]) for section in document.sections)
    if length > MAX_CHARACTERS:
        raise Rejected("too large", f"{length:,} characters of text")
    if not document.sections:
        raise Rejected("no text", "nothing is left beside headings and references")
    return document


def _limit(max_memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the limit of time is the parent's
        return
    for limit, value in (
        (resource.RLIMIT_AS, max_memory),
        (resource.RLIMIT_CPU, int(MAX_SECONDS) + 1),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(limit, (value, value))
        except (OSError, ValueError):
            pass  # macOS refuses a limit of address space


def _main(path: str, kind: str, max_memory: str) -> int:
    _limit(int(max_memory))
    try:
        answer, status = json.dumps(dataclasses.asdict(read_here(Path(path), kind))), 0
    except Rejected as error:
        answer, status = json.dumps([error.reason, error.detail]), REFUSED
    except MemoryError:
        answer, status = json.dumps(["too much memory"]), REFUSED
    except RecursionError:
        answer, status = json.dumps(["nested too deeply"]), REFUSED
    sys.stdout.write(answer)
    return status


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
