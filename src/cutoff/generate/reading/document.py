"""What is read: the kinds of files, what a file gives, and how one that gives nothing says so."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cutoff.generate.reading.cleaning import damage
from cutoff.generate.reading.headings import without_references
from cutoff.records import Section

MAX_BYTES = 50_000_000  # of a file
KINDS = {".pdf": "pdf", ".md": "markdown", ".markdown": "markdown", ".txt": "text"}
KINDS |= {".text": "text", ".html": "html", ".htm": "html", ".xhtml": "html"}
# What a file really is, by its first bytes.
SIGNATURES = {
    "PDF file": (b"%PDF-",),
    "archive (or a Word document)": (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
    + (b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd"),
    "picture": (b"\x89PNG", b"\xff\xd8\xff", b"GIF8"),
    "program": (b"\x7fELF", b"MZ"),
    "PostScript file": (b"%!PS",),
    "old Office document": (b"\xd0\xcf\x11\xe0",),
}


class Rejected(Exception):
    """A file or paper that is left out: a short ``reason``, the same for all its like, details,
    and the ``stage`` at which it happened: folder, download, file, reading or quality."""

    def __init__(self, reason: str, detail: str = "", stage: str = "reading") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.stage = stage


@dataclass(frozen=True)
class Document:
    """What a file holds: title ("" if unknown), sections as in ``papers.jsonl``, and traces.

    ``characters`` and ``damaged`` count what was printed before it was cleaned;
    ``line_words`` is the number of words of every printed line (of every paragraph, where
    a file knows no lines). ``licence`` is "" where the file does not name one.
    """

    n_pages: int
    title: str
    sections: list[Section]
    characters: int
    damaged: int
    line_words: list[int] = field(default_factory=list)
    licence: str = ""


def describe(
    n_pages: int,
    title: str,
    sections: Iterable[Section],
    printed: Sequence[str],
    licence: str = "",
) -> Document:
    """The document of these sections, without references and empty ones; ``printed`` are the
    lines or paragraphs that they were made of, as they stood in the file."""
    return Document(
        n_pages=n_pages,
        title=title,
        sections=[section for section in without_references(sections) if section["text"]],
        characters=sum(map(len, printed)),
        damaged=sum(map(damage, printed)),
        line_words=[len(line.split()) for line in printed],
        licence=licence,
    )


def kind_of(path: Path) -> str:
    """``pdf``, ``html``, ``markdown`` or ``text`` by the name; the content must agree.

    Raises ``Rejected`` for other names, empty and giant files, and disguises.
    """
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise Rejected("unknown kind of file", path.suffix or "no extension")
    size = path.stat().st_size
    if size == 0:
        raise Rejected("empty file")
    if size > MAX_BYTES:
        raise Rejected("too large", f"{size / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} are read")
    with open(path, "rb") as file:
        start = file.read(1024)
    found = next((name for name, signs in SIGNATURES.items() if start.startswith(signs)), None)
    if kind == "pdf" and b"%PDF-" in start:
        return kind
    if kind == "pdf" or found:
        found = found or "different file"
        raise Rejected("not what its name says", f"named {path.suffix}, but a {found}")
    return kind
