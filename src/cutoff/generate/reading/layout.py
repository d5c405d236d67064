"""From printed lines to sections: order of columns, running heads, footnotes, headings.

Works on letter heights, weights and places alone; who printed the page does not matter.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from cutoff.generate.reading.cleaning import (
    HYPHENS,
    KNOWN_HEADING,
    NUMBERED_HEADING,
    REFERENCES,
    Line,
    clean,
    join_lines,
    vocabulary,
    without_references,
)

Record = dict[str, Any]

LONGEST_HEADING = 100  # characters
LARGER = 1.05  # a heading's letters are at least this much higher than those of the text
SMALLER = 0.92  # a footnote's letters are at most this high, as a share of those of the text
EDGE_LINES = 2  # how many lines at the top and bottom of a page can be a running head
SET_APART = 1.25  # the blank beside a running head, in usual distances of lines
PAGE_NUMBER = re.compile(r"\W*(?:page\s*)?(?:\d{1,4}|[ivxlc]{1,6})(?:\s*(?:of|/)\s*\d+)?\W*", re.I)
NUMBER_AT_THE_EDGE = re.compile(r"^(\d{1,4})\s|\s(\d{1,4})$")
LEADERS = re.compile(r"(?:\s?[.·]){5,}")  # from an entry of a table of contents to its page
ROMAN_HEADING = re.compile(r"[IVX]+\.\s+[A-Z][A-Z\s,:&-]+")
WORD = re.compile(r"[^\W\d_]{2,}")


def to_sections(lines: Sequence[Line]) -> tuple[str, list[Record]]:
    """Title and sections ``{heading, page, text, page_breaks}`` of a paper's lines.

    Headings are recognised by their letters. The largest lines at the top are the title and
    belong to no section. Text before the first heading is the section with the heading "".
    """
    lines = without_running_heads(lines)
    height, body_bold = body_style(lines)
    lines = without_figure_labels(lines)
    styles = heading_styles(lines, height, body_bold)
    first_page = min((line.page for line in lines), default=0)
    largest = max((line.height for line in lines if line.page == first_page), default=0.0)
    title: list[str] = []
    sections: list[Record] = []
    texts: list[list[Line]] = []
    previous: Line | None = None
    for line in lines:
        heading = is_heading(line, height, body_bold)
        if heading and not sections and line.height == largest > height and not _begins_text(line):
            title.append(clean(line.text))
            continue
        heading = heading and (not styles or _style(line) in styles)
        if heading and previous and not texts[-1] and _goes_on(previous, line):
            sections[-1]["heading"] += f" {clean(line.text)}"
        elif heading or not sections:
            sections.append({"heading": clean(line.text) if heading else "", "page": line.page})
            texts.append([] if heading else [line])
        else:
            texts[-1].append(line)
        previous = line if heading and sections else None
    if not title and lines and is_heading(lines[0], height, body_bold):
        title = [] if _begins_text(lines[0]) else [clean(lines[0].text)]
    known = vocabulary(lines)
    joined = [
        section | join_lines(notes_last(text, height), known)
        for section, text in zip(sections, texts, strict=True)
    ]
    kept = [section for section in without_references(joined) if section["text"]]
    return " ".join(title), kept


def body_style(lines: Sequence[Line]) -> tuple[float, bool]:
    """Height and weight in which most characters are set."""
    characters: Counter[tuple[float, bool]] = Counter()
    for line in lines:
        characters[line.height, line.bold] += len(line.text)
    return characters.most_common(1)[0][0] if characters else (0.0, False)


def is_heading(line: Line, body_height: float, body_bold: bool) -> bool:
    """True for a short line in larger or bolder letters than the text's."""
    text = line.text.strip()
    if len(text) > LONGEST_HEADING or not WORD.search(text):
        return False
    if REFERENCES.fullmatch(text) or ROMAN_HEADING.fullmatch(text):
        return True
    letters = sum(c.isalpha() for c in text)
    if letters < len(text.replace(" ", "")) / 2 or text[-1] in ",;" or text[-1] in HYPHENS:
        return False
    stands_out = line.height >= LARGER * body_height or (line.bold and not body_bold)
    return stands_out and line.height >= body_height


def heading_styles(
    lines: Sequence[Line], body_height: float, body_bold: bool
) -> set[tuple[float, str]]:
    """Height and font of the numbered and the well-known headings; empty if there are none.

    Where there are some, only lines set like them are headings: the labels in figures are
    large or bold too.
    """
    return {
        _style(line)
        for line in lines
        if is_heading(line, body_height, body_bold) and _is_named(line)
    }


def _is_named(line: Line) -> bool:
    """True if the words of the line are those of a section's heading."""
    text = line.text.strip()
    return any(form.fullmatch(text) for form in (NUMBERED_HEADING, KNOWN_HEADING))


def _begins_text(line: Line) -> bool:
    """True for "1 Introduction" or "Abstract", which are no titles however large they are."""
    text = line.text.strip()
    return text[0].isdigit() or bool(KNOWN_HEADING.fullmatch(text))


def _style(line: Line) -> tuple[float, str]:
    return line.height, line.font


def _goes_on(first: Line, second: Line) -> bool:
    """True if ``second`` is the second line of the heading ``first``."""
    same_letters = (first.height, first.bold, first.page) == (
        second.height,
        second.bold,
        second.page,
    )
    return same_letters and not NUMBERED_HEADING.match(second.text.strip())


# --- what belongs to the page, not to the text ---------------------------------------


def without_running_heads(lines: Sequence[Line]) -> list[Line]:
    """``lines`` without page numbers and what is printed again on page after page.

    A line set apart at the top or bottom of a page goes if the same words (numbers apart)
    stand there on three pages (on both, of two), or if it ends or begins with the number of
    the page.
    """
    by_page: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        by_page[line.page].append(line)
    edges = {page: _edges(own) for page, own in by_page.items()}
    repeated: Counter[tuple[bool, str]] = Counter()
    offsets: Counter[tuple[bool, int]] = Counter()
    for page, found in edges.items():
        repeated.update({(top, _shape(line)) for top, line in found})
        offsets.update({(top, number - page) for top, line in found for number in _numbers(line)})
    enough = min(3, max(2, len(by_page)))

    def runs(top: bool, line: Line) -> bool:
        numbered = any(
            offsets[top, number - line.page] >= max(enough, len(by_page) / 2)
            for number in _numbers(line)
        )
        return repeated[top, _shape(line)] >= enough or numbered

    heads = {id(line) for found in edges.values() for top, line in found if runs(top, line)}
    kept: list[Line] = []
    for page in by_page:
        kept += without_page_number([line for line in by_page[page] if id(line) not in heads])
    return [line for line in kept if not LEADERS.search(line.text)]


def _edges(lines: Sequence[Line]) -> list[tuple[bool, Line]]:
    """The lines above and below the text of a page, set apart by a blank: (at the top?, line)."""
    down = sorted(lines, key=lambda line: -line.bottom)
    steps = [a.bottom - b.bottom for a, b in itertools.pairwise(down)]
    usual = [step for step in steps if step > 1]
    if len(down) < 2 or not usual:
        return []
    wide = SET_APART * (
        median(usual) if len(usual) > 5 else 1.3 * median(line.height for line in down)
    )
    top = next((n for n in range(1, EDGE_LINES + 1) if max(steps[n - 1 : n], default=0) > wide), 0)
    low = next((n for n in range(1, EDGE_LINES + 1) if max(steps[-n:][:1], default=0) > wide), 0)
    return [(True, line) for line in down[:top]] + [
        (False, line) for line in down[len(down) - low :]
    ]


def _shape(line: Line) -> str:
    return re.sub(r"\d+", "0", clean(line.text).lower())


def _numbers(line: Line) -> set[int]:
    return {int(a or b) for a, b in NUMBER_AT_THE_EDGE.findall(clean(line.text))}


def without_page_number(lines: list[Line]) -> list[Line]:
    """The lines of one page without a first or last line that is nothing but its number."""
    down = sorted(lines, key=lambda line: -line.bottom)
    numbers = {id(line) for line in (*down[:1], *down[-1:]) if PAGE_NUMBER.fullmatch(line.text)}
    return [line for line in lines if id(line) not in numbers]


def without_figure_labels(lines: Sequence[Line]) -> list[Line]:
    """``lines`` without three or more in a row that hold no letter, such as the marks of axes."""
    kept: list[Line] = []
    run: list[Line] = []
    for line in lines:
        if any(c.isalpha() for c in line.text):
            kept += run if len(run) < 3 else []
            run = []
            kept.append(line)
        else:
            run.append(line)
    return kept + (run if len(run) < 3 else [])


def notes_last(lines: Sequence[Line], body_height: float) -> list[Line]:
    """``lines`` of a section with footnotes moved to its end, so that sentences go on.

    A footnote is in small letters, and nothing in large ones stands below it in its column.
    """
    notes: list[Line] = []
    text: list[Line] = []
    run: list[Line] = []
    for line in lines:
        if run and (line.page, line.height <= SMALLER * body_height) != (run[-1].page, True):
            ends_page = line.page != run[-1].page or line.bottom > run[-1].bottom
            (notes if ends_page and run[0].text.strip()[:1].isdigit() else text).extend(run)
            run = []
        (run if line.height <= SMALLER * body_height else text).append(line)
    text += run
    if not notes:
        return list(lines)
    last = text[-1].page if text else notes[-1].page
    return text + [replace(note, page=last) for note in notes]


# --- columns -------------------------------------------------------------------------


def in_reading_order(lines: Sequence[Line]) -> list[Line]:
    """The lines of one page, column by column where they were printed across the columns.

    Most files hold their text in the order of reading, and that order is kept; sorting by
    place would tear formulas apart.
    """
    gutter = find_gutter(lines)
    if gutter is None:
        return list(lines)
    pieces = [piece for line in lines for piece in _split(line, gutter)]
    sides = [_side(piece, gutter) for piece in pieces]
    columns = [side for side in sides if side]
    back = sum(a > b for a, b in itertools.pairwise(columns))  # from right to left
    if len(pieces) == len(lines) and back <= sides.count(0) + 2:
        return list(lines)
    ordered: list[Line] = []
    left: list[Line] = []
    right: list[Line] = []
    for piece in sorted(pieces, key=lambda piece: -piece.bottom):
        side = _side(piece, gutter)
        if side == 0:  # across both columns: what stands above comes first
            ordered += [*left, *right, piece]
            left, right = [], []
        else:
            (left if side == 1 else right).append(piece)
    return [*ordered, *left, *right]


def find_gutter(lines: Sequence[Line]) -> float | None:
    """Where the blank between two columns of text stands, None if there are not two."""
    long = [line for line in lines if line.right > line.left and len(line.text) > 3]
    if len(long) < 8:
        return None
    low, high = min(line.left for line in long), max(line.right for line in long)
    places = [low + (high - low) * share / 100 for share in range(38, 63)]
    best = min(places, key=lambda x: sum(_crosses(line, x) for line in long))
    pieces = [piece for line in long for piece in _split(line, best)]
    columns = [[p.text for p in pieces if _side(p, best) == side] for side in (0, 1, 2)]
    enough_text = all(
        len(texts) >= 0.25 * len(pieces)
        and sum(len(text.split()) for text in texts) >= 3.5 * len(texts)
        for texts in columns[1:]
    )
    return best if enough_text and len(columns[0]) <= 0.3 * len(pieces) else None


def _crosses(line: Line, x: float) -> bool:
    inside = line.left < x < line.right
    return inside and not any(start <= x <= end for _, start, end in line.gaps)


def _side(line: Line, x: float) -> int:
    """1 = left column, 2 = right column, 0 = across both."""
    return 0 if _crosses(line, x) else (1 if (line.left + line.right) / 2 < x else 2)


def _split(line: Line, x: float) -> list[Line]:
    for position, start, end in line.gaps:
        if start <= x <= end:
            first = replace(line, text=line.text[:position], right=start, gaps=())
            return [first, replace(line, text=line.text[position:], left=end, gaps=())]
    return [line]
