"""The order in which the lines of a page are read, where it has two columns."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from cutoff.generate.reading.lines import Line

MOST_ACROSS = 0.3  # of the lines of a page with columns: titles, captions, formulas
LEAST_IN_COLUMN = 0.25  # of the lines, in either column
LEAST_WORDS = 3.5  # per line of a column, on average; a table has fewer


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
    steps_back = sum(a > b for a, b in itertools.pairwise(side for side in sides if side))
    if len(pieces) == len(lines) and steps_back <= sides.count(0) + 2:
        return list(lines)
    ordered: list[Line] = []
    columns: tuple[list[Line], list[Line]] = [], []
    for piece in sorted(pieces, key=lambda piece: -piece.bottom):
        if side := _side(piece, gutter):
            columns[side - 1].append(piece)
        else:  # across both columns: what stands above comes first
            ordered += [*columns[0], *columns[1], piece]
            columns = [], []
    return ordered + columns[0] + columns[1]


def find_gutter(lines: Sequence[Line]) -> float | None:
    """Where the blank between two columns of text stands, None if there are not two."""
    long = [line for line in lines if line.right > line.left and len(line.text) > 3]
    if len(long) < 8:
        return None
    low, high = min(line.left for line in long), max(line.right for line in long)
    places = [low + (high - low) * share / 100 for share in range(38, 63)]
    best = min(places, key=lambda x: sum(_side(line, x) == 0 for line in long))
    columns: tuple[list[str], list[str], list[str]] = [], [], []
    for piece in (piece for line in long for piece in _split(line, best)):
        columns[_side(piece, best)].append(piece.text)
    n_pieces = sum(map(len, columns))
    are_text = all(
        len(column) >= LEAST_IN_COLUMN * n_pieces
        and len(" ".join(column).split()) >= LEAST_WORDS * len(column)
        for column in columns[1:]
    )
    return best if are_text and len(columns[0]) <= MOST_ACROSS * n_pieces else None


def _side(line: Line, x: float) -> int:
    """1 = left column, 2 = right column, 0 = across both."""
    if line.left < x < line.right and not any(start <= x <= end for _, start, end in line.gaps):
        return 0
    return 1 if (line.left + line.right) / 2 < x else 2


def _split(line: Line, x: float) -> list[Line]:
    for position, start, end in line.gaps:
        if start <= x <= end:
            first = replace(line, text=line.text[:position], right=start, gaps=())
            return [first, replace(line, text=line.text[position:], left=end, gaps=())]
    return [line]
