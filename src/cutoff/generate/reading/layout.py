"""From printed lines to title and sections: headings, labels of figures, footnotes.

Works on letter heights, weights and places alone; who printed the page does not matter.
"""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from cutoff.generate.reading.cleaning import clean
from cutoff.generate.reading.headings import (
    KNOWN_HEADING,
    NUMBERED_HEADING,
    REFERENCES,
    ROMAN_HEADING,
    is_named,
)
from cutoff.generate.reading.lines import HYPHENS, Line, Part, join_parts, vocabulary
from cutoff.generate.reading.running_heads import without_running_heads
from cutoff.records import Section

LONGEST_HEADING = 100  # characters
LARGER = 1.05  # a heading's letters are at least this much higher than those of the text
SMALLER = 0.92  # a footnote's letters are at most this high, as a share of those of the text
LABELS = 3  # lines without a letter in a row, from which on they are marks of axes
WORD = re.compile(r"[^\W\d_]{2,}")
Style = tuple[float, bool]  # height in points, bold?


def to_sections(lines: Sequence[Line]) -> tuple[str, list[Section]]:
    """Title and sections ``{heading, page, text, page_breaks}`` of a paper's lines.

    Headings are recognised by their letters. The largest lines at the top are the title and
    belong to no section. Text before the first heading is the section with the heading "".
    """
    lines = without_running_heads(lines)
    body = body_style(lines)
    lines = without_figure_labels(lines)
    large = [line for line in lines if is_heading(line, body)]
    # Where some read like headings too, only what is set like them is one: labels in figures
    # are large or bold as well.
    styles = {(line.height, line.font) for line in large if is_named(line.text.strip())}
    headings = {id(line) for line in large if not styles or (line.height, line.font) in styles}
    title = _title(lines, large, body)
    parts: list[Part] = []
    previous: Line | None = None
    for line in lines[len(title) :]:
        is_one = id(line) in headings
        if is_one and previous and _goes_on(previous, line):
            parts[-1].heading += f" {clean(line.text)}"
        elif is_one:
            parts.append(Part(clean(line.text), line.page))
        else:
            if not parts:
                parts.append(Part("", line.page))
            parts[-1].lines.append(line)
        previous = line if is_one else None
    if not title and lines[:1] == large[:1] and lines and not _begins_text(lines[0]):
        title = lines[:1]
    for part in parts:
        part.lines = notes_last(part.lines, body[0])
    return " ".join(clean(line.text) for line in title), join_parts(parts, vocabulary(lines))


def _title(lines: Sequence[Line], large: Sequence[Line], body: Style) -> list[Line]:
    """The first lines, if they are the largest of the first page."""
    largest = max((line.height for line in lines if line.page == lines[0].page), default=0.0)
    return list(
        itertools.takewhile(
            lambda line: (
                line in large and line.height == largest > body[0] and not _begins_text(line)
            ),
            lines,
        )
    )


def body_style(lines: Sequence[Line]) -> Style:
    """Height and weight in which most characters are set."""
    characters: Counter[Style] = Counter()
    for line in lines:
        characters[line.height, line.bold] += len(line.text)
    return characters.most_common(1)[0][0] if characters else (0.0, False)


def is_heading(line: Line, body: Style) -> bool:
    """True for a short line in larger or bolder letters than the text's."""
    text = line.text.strip()
    if len(text) > LONGEST_HEADING or not WORD.search(text):
        return False
    if REFERENCES.fullmatch(text) or ROMAN_HEADING.fullmatch(text):
        return True
    letters = sum(c.isalpha() for c in text)
    if letters < len(text.replace(" ", "")) / 2 or text[-1] in ",;" or text[-1] in HYPHENS:
        return False
    stands_out = line.height >= LARGER * body[0] or (line.bold and not body[1])
    return stands_out and line.height >= body[0]


def _begins_text(line: Line) -> bool:
    """True for "1 Introduction" or "Abstract", which are no titles however large they are."""
    text = line.text.strip()
    return text[0].isdigit() or bool(KNOWN_HEADING.fullmatch(text))


def _goes_on(first: Line, second: Line) -> bool:
    """True if ``second`` is the second line of the heading ``first``."""
    one, other = ((line.height, line.bold, line.page) for line in (first, second))
    return one == other and not NUMBERED_HEADING.match(second.text.strip())


def without_figure_labels(lines: Sequence[Line]) -> list[Line]:
    """``lines`` without three or more in a row that hold no letter, such as the marks of axes."""
    runs = itertools.groupby(lines, key=lambda line: any(c.isalpha() for c in line.text))
    kept: list[Line] = []
    for has_letters, run in runs:
        own = list(run)
        kept += own if has_letters or len(own) < LABELS else []
    return kept


def notes_last(lines: Sequence[Line], body_height: float) -> list[Line]:
    """``lines`` of a section with footnotes moved to its end, so that sentences go on.

    A footnote is in small letters, and nothing in large ones stands below it in its column.
    """

    def key(line: Line) -> tuple[int, bool]:
        return line.page, line.height <= SMALLER * body_height

    runs = [list(run) for _, run in itertools.groupby(lines, key=key)]
    notes: list[Line] = []
    text: list[Line] = []
    for run, after in itertools.zip_longest(runs, runs[1:]):
        last, is_small = run[-1], key(run[0])[1]
        is_note = (
            is_small
            and run[0].text.strip()[:1].isdigit()
            and after is not None
            and (after[0].page != last.page or after[0].bottom > last.bottom)
        )
        (notes if is_note else text).extend(run)
    return text + [replace(note, page=text[-1].page) for note in notes]
