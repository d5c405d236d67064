"""Printed lines, and how they are joined: words that a line's end has broken are mended.

Nothing here knows where a text came from. No word of it is lost.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AnySet
from dataclasses import dataclass, field

from cutoff.generate.reading.cleaning import BROKEN_WORD, clean
from cutoff.records import Section

HYPHENS = f"-\u00ad\u2010{BROKEN_WORD}"
MARKS = ".,;:!?()[]\"'“”‘’"  # of punctuation, around a word


@dataclass(frozen=True)
class Line:
    """One printed line: its page (from 1), text, letter height in points and weight.

    ``left``, ``right``, ``bottom`` are in points from the lower left corner of the page; all
    are 0 where the place is not known. ``gaps`` holds (position in the text, left end, right
    end) of the wide blanks in it, ``font`` the name of its first letter's font (of the
    alphabet), ``angle`` its direction in quarter turns.
    """

    page: int
    text: str
    height: float = 0.0
    bold: bool = False
    left: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    gaps: tuple[tuple[int, float, float], ...] = ()
    font: str = ""
    angle: int = 0


@dataclass
class Part:
    """The lines of a section before they are joined; ``heading`` is "" if it has none."""

    heading: str
    page: int
    lines: list[Line] = field(default_factory=list)


def join_parts(parts: Iterable[Part], known: AnySet[str]) -> list[Section]:
    """Sections as in ``papers.jsonl`` of these parts; ``known`` as in ``join_lines``."""
    sections: list[Section] = []
    for part in parts:
        text, page_breaks = join_lines(part.lines, known)
        sections.append(
            {"heading": part.heading, "page": part.page, "text": text, "page_breaks": page_breaks}
        )
    return sections


def vocabulary(lines: Iterable[Line]) -> set[str]:
    """Words that stand whole in the lines, in small letters, without the first and last of each.

    They tell whether "well-" and "known" on two lines were "well-known" or "wellknown".
    """
    return {word.strip(MARKS) for line in lines for word in clean(line.text).lower().split()[1:-1]}


def join_lines(lines: Sequence[Line], known: AnySet[str] = frozenset()) -> tuple[str, list[int]]:
    """Text and page breaks: lines joined by blanks, broken words mended.

    The page breaks are the positions of the words that begin a new page. ``known`` are
    words of the document (``vocabulary``).
    """
    words: list[str] = []
    page_breaks: list[int] = []
    page = lines[0].page if lines else 0
    broken = False
    for line in lines:
        fresh = clean(line.text).split()
        page_breaks += [len(words)] * (line.page - page)
        page = max(page, line.page)
        mended = mend(words[-1], fresh[0], known) if broken and words and fresh else None
        if mended:
            words[-1:] = [mended]
            fresh = fresh[1:]
        broken = line.text.rstrip(" \t")[-1:] in tuple(HYPHENS)
        words += fresh
    return " ".join(words), page_breaks


def mend(first: str, second: str, known: AnySet[str]) -> str | None:
    """The word that a line break has cut into ``first`` and ``second``; None if it cut none."""
    stem = first.rstrip("-\u2010")
    if not stem or not stem[-1].isalnum() or not second[:1].isalnum():
        return None
    if not (stem[-1].isalpha() and second[0].islower()):
        return f"{stem}-{second}"  # GPT-4, Long-Term: the hyphen was there before
    start, bare = stem.lower().lstrip(MARKS), second.lower().rstrip(MARKS)
    if f"{start}{bare}" in known:
        return f"{stem}{second}"
    two_words = min(len(start), len(bare)) > 3 and {start, bare} <= known  # sleep-deprived
    return f"{stem}-{second}" if two_words or f"{start}-{bare}" in known else f"{stem}{second}"
