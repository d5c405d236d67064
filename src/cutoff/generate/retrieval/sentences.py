"""Where a text may be cut: between sentences, else between words that do not belong together.

A word (text between white space) is looked at once, however often it occurs: ``mark`` says
what it is, in bits. All else follows from the marks of neighbouring words, so whole papers
are worked through as arrays of small numbers.
"""

import re
import string
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Marks = NDArray[np.uint8]

# A point after one of these ends an abbreviation; a sentence may end there too, but a cut
# inside "Fig. 3" or "Smith et al. (2020)" does more harm than one sentence too long.
ABBREVIATIONS = frozenset(
    "al. alg. app. approx. cf. ch. chap. def. dr. e.g. ed. eds. eq. eqn. eqns. eqs. esp. etc. fig. "
    "figs. i.e. i.i.d. lem. mr. mrs. ms. no. nos. p. pp. prof. prop. ref. refs. resp. sec. secs. "
    "st. tab. tabs. thm. viz. vol. vols. vs. w.r.t.".split()
)
ENDERS = frozenset(".!?")
OPENERS, CLOSERS = "\"'“‘([", "\"'”’)]"
INITIALS = re.compile(r"(?:[A-Z]\.-?)+")
CITATION = re.compile(r"\[\d+(?:[-–,;]\d+)*\]")
LOWER_CASE = frozenset(string.ascii_lowercase)
# Names of what is numbered ("Theorem 2"), and "et" of "et al."
NUMBERED = frozenset(
    form
    for name in "figure figures table tables equation equations section sections appendix theorem "
    "lemma algorithm chapter et".split()
    for form in (name, name.capitalize(), name.upper())
)
# Symbols that stand between two parts of a formula; relations do so even at a word's edge.
RELATIONS = frozenset("=<>≤≥≈≡≠±∓×∈∝^")
OPERATORS = RELATIONS | frozenset("∼~+-−–·*/÷|∉⊂⊆∪∩→←↔⇒⇔↦∑∏∫√∧∨⊗⊕&")
UNITS = frozenset("%‰°")
SIGNS = OPERATORS | UNITS | frozenset("([)]$")
CLOSERS_AND_ENDERS = ENDERS | frozenset(CLOSERS)
LONGEST_BRACKET = 16  # words of a citation such as "(Smith et al., 2020; Doe, 2021)"
LONGEST_FORMULA = 40  # words between two "$"

ENDS, CONTINUED, CITES, NEXT, PREVIOUS, OPENS, CLOSES, DOLLAR = (1 << bit for bit in range(8))
NO_DOLLAR, OPENS_NOT = (
    bytes(bits for bits in range(256) if not bits & bit) for bit in (DOLLAR, OPENS)
)


def mark(word: str) -> int:
    """What ``word`` is, as the sum of bits: a sentence's end, an operator, ..."""
    if word.isalnum():
        bits = CONTINUED if word[0] in LOWER_CASE else 0
        if word == "et":
            return bits | NEXT | PREVIOUS
        return bits | (NEXT if word in NUMBERED else 0)
    last = word[-1]
    if last == "," and word[:-1].isalnum():
        return CONTINUED if word[0] in LOWER_CASE else 0
    bare = word.lstrip(OPENERS)
    bits = CONTINUED if bare[:1] in LOWER_CASE else 0
    if bare in NUMBERED or (
        last in ".-" and (bare.lower() in ABBREVIATIONS or INITIALS.fullmatch(bare))
    ):
        bits |= NEXT
    elif last in CLOSERS_AND_ENDERS and word.rstrip(CLOSERS)[-1:] in ENDERS:
        bits |= ENDS
    return bits if SIGNS.isdisjoint(word) else bits | _signs(word)


def _signs(word: str) -> int:
    """The bits of operators, brackets and dollar signs."""
    first, last = word[0], word[-1]
    bits = 0
    if first == "[" and CITATION.fullmatch(word.rstrip(".,;:")):
        bits |= PREVIOUS | (CITES if last == "]" else 0)
    operator = OPERATORS.issuperset(word)
    if operator or last in RELATIONS:
        bits |= NEXT
    if operator or first in RELATIONS or (first in UNITS and not word[1:].strip(".,;:)")):
        bits |= PREVIOUS
    opened = word.count("(") + word.count("[") - word.count(")") - word.count("]")
    if opened:
        bits |= OPENS if opened > 0 else CLOSES
    return bits | (DOLLAR if word.count("$") % 2 else 0)


def ends(marks: Marks, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where sentences end: positions after their last words, the ends of texts included.

    ``bounds`` are the ends of the texts one after the other, and 0. A citation after the point
    ("... is so. [3]") belongs to the sentence before it.
    """
    if not len(marks):
        return np.empty(0, np.int64)
    terminal = (marks & ENDS) != 0
    follows = terminal[:-1] & ((marks[1:] & CITES) != 0)
    follows[bounds[(bounds > 0) & (bounds < len(marks))] - 1] = False
    last = terminal.copy()
    last[1:] |= follows
    last[:-1] &= ~(follows | ((marks[1:] & CONTINUED) != 0))
    last[bounds[bounds > 0] - 1] = True
    return np.flatnonzero(last) + 1


def sentences(words: Sequence[str]) -> list[list[str]]:
    """Group the words of a text into sentences; no word is lost, doubled or moved.

    Headings and bullet points without a final point stay with what follows them.
    """
    known = {word: mark(word) for word in set(words)}
    marks = np.array([known[word] for word in words], np.uint8)
    found = ends(marks, np.array([0, len(words)])).tolist()
    return [list(words[a:b]) for a, b in zip([0, *found], found, strict=False)]


def safe_cut(marks: bytes, first: int, wanted: int) -> int:
    """The last place in ``(first, wanted]`` where a sentence may be cut, ``wanted`` if none.

    Not between "Fig." and "3", not around an operator, not inside a formula between dollar
    signs or a short bracket. Only a unit that fills a passage by itself is cut all the same.
    """
    place = wanted
    while place > first:
        opening = _opening(marks, first, place)
        if opening < place:
            place = opening
        elif marks[place - 1] & NEXT or (place < len(marks) and marks[place] & PREVIOUS):
            place -= 1
        else:
            return place
    return wanted


def _opening(marks: bytes, first: int, place: int) -> int:
    """Where the formula or bracket begins inside which ``place`` lies, else ``place``."""
    start = max(first, place - LONGEST_FORMULA)
    n_dollars = len(marks[start:place].translate(None, NO_DOLLAR))
    if n_dollars % 2 and marks[place : place + LONGEST_FORMULA].translate(None, NO_DOLLAR):
        return max(at for at in range(start, place) if marks[at] & DOLLAR)
    start = max(first, place - LONGEST_BRACKET)
    if not marks[start:place].translate(None, OPENS_NOT):
        return place
    closed = 0
    for at in range(place - 1, start - 1, -1):
        if marks[at] & CLOSES:
            closed += 1
        elif marks[at] & OPENS and closed:
            closed -= 1
        elif marks[at] & OPENS:
            rest = marks[place : place + LONGEST_BRACKET]
            return at if any(m & CLOSES for m in rest) else place
    return place
