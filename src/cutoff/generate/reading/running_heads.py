"""What belongs to the page and not to the text: running heads, page numbers, leaders."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from statistics import median

from cutoff.generate.reading.cleaning import clean
from cutoff.generate.reading.lines import Line

EDGE_LINES = 2  # how many lines at the top and bottom of a page can be a running head
SET_APART = 1.25  # the blank beside a running head, in usual distances of lines
PAGE_NUMBER = re.compile(r"\W*(?:page\s*)?(?:\d{1,4}|[ivxlc]{1,6})(?:\s*(?:of|/)\s*\d+)?\W*", re.I)
NUMBER_AT_THE_EDGE = re.compile(r"^(\d{1,4})\s|\s(\d{1,4})$")
LEADERS = re.compile(r"(?:\s?[.·]){5,}")  # from an entry of a table of contents to its page


def without_running_heads(lines: Sequence[Line]) -> list[Line]:
    """``lines`` without page numbers and what is printed again on page after page.

    A line set apart at the top or bottom of a page goes if the same words (numbers apart)
    stand there on three pages (on both, of two), or if there it ends or begins with the number
    of the page on every second one: "3 Results" can be above a page's text too.
    """
    pages = [list(own) for _, own in itertools.groupby(lines, key=lambda line: line.page)]
    edges = [_edges(own) for own in pages]
    times = Counter(mark for found in edges for mark in set().union(*found.values()))
    enough = min(3, max(2, len(pages)))
    running = {
        mark
        for mark, n in times.items()
        if n >= (enough if isinstance(mark[1], str) else max(enough, len(pages) / 2))
    }
    heads = {line for found in edges for line, marks in found.items() if marks & running}
    kept = (without_page_number([line for line in own if id(line) not in heads]) for own in pages)
    return [line for own in kept for line in own if not LEADERS.search(line.text)]


def _edges(lines: Sequence[Line]) -> dict[int, set[tuple[str, str | int]]]:
    """Marks of the lines above and below the text of a page, set apart by a blank, by id().

    A mark is what a running head shows on other pages too: the edge with its words, and with
    how far a number at its end is ahead of the page.
    """
    down = sorted(lines, key=lambda line: -line.bottom)
    steps = [a.bottom - b.bottom for a, b in itertools.pairwise(down)]
    usual = [step for step in steps if step > 1]
    if not usual:
        return {}
    typical = median(usual) if len(usual) > 5 else 1.3 * median(line.height for line in down)
    found = {}
    for edge, ordered, blanks in (("top", down, steps), ("foot", down[::-1], steps[::-1])):
        wide = [n for n, blank in enumerate(blanks[:EDGE_LINES], 1) if blank > SET_APART * typical]
        for line in ordered[: min(wide, default=0)]:
            text = clean(line.text).lower()
            ends = NUMBER_AT_THE_EDGE.findall(text)
            ahead: set[tuple[str, str | int]] = {
                (edge, int(first or last) - line.page) for first, last in ends
            }
            found[id(line)] = ahead | {(edge, re.sub(r"\d+", "0", text))}
    return found


def without_page_number(lines: list[Line]) -> list[Line]:
    """The lines of one page without a first or last line that is nothing but its number."""
    down = sorted(lines, key=lambda line: -line.bottom)
    numbers = {id(line) for line in (*down[:1], *down[-1:]) if PAGE_NUMBER.fullmatch(line.text)}
    return [line for line in lines if id(line) not in numbers]
