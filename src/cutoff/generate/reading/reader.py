"""Reading a paper's file where it can do no harm: in a process of its own, with limits.

Files come from outside. One that is a bomb, or that makes a parser crash, costs itself only:
the child process has a limit of memory, of time and of what it may write (nothing), and
what comes back is JSON.

``python -m cutoff.generate.reading FILE KIND`` is that child.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]

MAX_BYTES = 50_000_000  # of a file
MAX_CHARACTERS = 5_000_000  # of a paper's text; the longest books have two
MAX_MEMORY = 2 * 2**30  # bytes of the child's address space
MAX_SECONDS = 60.0
REFUSED = 3  # exit status of a child that says why
KINDS = {
    ".pdf": "pdf",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
}
# What a file really is, by its first bytes.
SIGNATURES = {
    b"%PDF-": "PDF file",
    b"PK\x03\x04": "zip archive (or a Word document)",
    b"\x1f\x8b": "gzip archive",
    b"BZh": "bzip2 archive",
    b"\xfd7zXZ": "xz archive",
    b"7z\xbc\xaf": "7-zip archive",
    b"Rar!": "RAR archive",
    b"\x28\xb5\x2f\xfd": "zstd archive",
    b"\x89PNG": "picture",
    b"\xff\xd8\xff": "picture",
    b"GIF8": "picture",
    b"\x7fELF": "program",
    b"MZ": "program",
    b"%!PS": "PostScript file",
    b"\xd0\xcf\x11\xe0": "old Office document",
}


class Unreadable(Exception):
    """A file that gives no paper: a short ``reason``, the same for all its like, and details."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Document:
    """What a file holds: title ("" if unknown), sections as in ``papers.jsonl``, and traces.

    ``characters`` and ``damaged`` count what was printed before it was cleaned;
    ``line_words`` is the number of words of every printed line (of every paragraph, where
    a file knows no lines). ``licence`` is "" where the file does not name one.
    """

    n_pages: int
    title: str
    sections: list[Record]
    characters: int
    damaged: int
    line_words: list[int] = field(default_factory=list)
    licence: str = ""


def kind_of(path: Path) -> str:
    """``pdf``, ``html``, ``markdown`` or ``text`` by the name; the content must agree.

    Raises ``Unreadable`` for other names, empty and giant files, and disguises.
    """
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise Unreadable("unknown kind of file", f"{path.suffix or 'no extension'}")
    size = path.stat().st_size
    if size == 0:
        raise Unreadable("empty file")
    if size > MAX_BYTES:
        raise Unreadable(
            "too large", f"{size / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} are read"
        )
    with open(path, "rb") as file:
        start = file.read(1024)
    if kind == "pdf":
        if b"%PDF-" in start:
            return kind
        found = next((name for sign, name in SIGNATURES.items() if start.startswith(sign)), None)
        raise Unreadable("not what its name says", f"named .pdf, but a {found or 'different file'}")
    for sign, name in SIGNATURES.items():
        if start.startswith(sign):
            raise Unreadable("not what its name says", f"named {path.suffix}, but a {name}")
    return kind


def read(path: Path, max_seconds: float = MAX_SECONDS, max_memory: int = MAX_MEMORY) -> Document:
    """Read ``path`` in a child process; raises ``Unreadable`` with the reason if that fails."""
    kind = kind_of(path)
    command = [
        sys.executable,
        "-m",
        "cutoff.generate.reading.reader",
        str(path),
        kind,
        str(max_memory),
    ]
    here = str(Path(__file__).parents[2])
    paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=max_seconds, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unreadable("too slow", f"not read within {max_seconds:.0f} seconds") from None
    if done.returncode == REFUSED:
        raise Unreadable(*json.loads(done.stdout))
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        name = f"exit status {done.returncode}"
        if done.returncode < 0:
            name = signal.Signals(-done.returncode).name
        raise Unreadable("reader crashed", " ".join([name, *words])[:200])
    return Document(**json.loads(done.stdout))


def read_here(path: Path, kind: str) -> Document:
    """Read ``path`` in this process: for files that this program has made itself."""
    from cutoff.generate.reading import html_reader, pdf_reader, text_reader

    readers = {
        "pdf": pdf_reader.read,
        "html": html_reader.read,
        "markdown": text_reader.read_markdown,
        "text": text_reader.read_text,
    }
    document = readers[kind](path)
    length = sum(len(section["text"]) for section in document.sections)
    if length > MAX_CHARACTERS:
        raise Unreadable("too large", f"{length:,} characters of text")
    if not document.sections:
        raise Unreadable("no text", "nothing is left beside headings and references")
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
    # The running module is __main__; the readers raise the Unreadable of the imported one.
    from cutoff.generate.reading import reader

    try:
        document = reader.read_here(Path(path), kind)
        answer, status = json.dumps(dataclasses.asdict(document)), 0
    except reader.Unreadable as error:
        answer, status = json.dumps([error.reason, error.detail]), REFUSED
    except (MemoryError, RecursionError) as error:
        reason = "too much memory" if isinstance(error, MemoryError) else "nested too deeply"
        answer, status = json.dumps([reason, ""]), REFUSED
    sys.stdout.write(answer)
    return status


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
