"""Where a text may be cut: between sentences, else between words that do not belong together.

A word (text between white space) is looked at once, however often it occurs: ``mark`` says
what it is, in bits. All else follows from the marks of neighbouring words.
"""

import re
import string
from collections.abc import Iterable
from functools import lru_cache

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
LONGEST_BRACKET = 16  # words of a citation such as "(Smith et al., 2020; Doe, 2021)"
LONGEST_FORMULA = 40  # words between two "$"

# Bits of a mark. NEXT and PREVIOUS: not to be cut from the word after, or before.
ENDS, CONTINUED, CITES, NEXT, PREVIOUS, OPENS, CLOSES, DOLLAR = (1 << bit for bit in range(8))


@lru_cache(maxsize=2**18)
def mark(word: str) -> int:
    """What ``word`` is, as the sum of bits: a sentence's end, an operator, ..."""
    bare = word.lstrip(OPENERS)
    abbreviated = bare.lower() in ABBREVIATIONS or INITIALS.fullmatch(bare)
    cited = CITATION.fullmatch(word.rstrip(".,;:"))
    operator = OPERATORS.issuperset(word)
    unit = word[0] in UNITS and not word[1:].strip(".,;:)")
    opened = word.count("(") + word.count("[") - word.count(")") - word.count("]")
    bits = {
        ENDS: word.rstrip(CLOSERS)[-1:] in ENDERS and not abbreviated,
        CONTINUED: bare[:1] in LOWER_CASE,
        CITES: cited and word[-1] == "]",
        NEXT: abbreviated or bare in NUMBERED or operator or word[-1] in RELATIONS,
        PREVIOUS: cited or word == "et" or operator or word[0] in RELATIONS or unit,
        OPENS: opened > 0,
        CLOSES: opened < 0,
        DOLLAR: word.count("$") % 2,
    }
    return sum(bit for bit, holds in bits.items() if holds)


def marks(words: Iterable[str]) -> bytes:
    """The mark of each word."""
    return bytes(map(mark, words))


def ends(marks: bytes) -> list[int]:
    """Where sentences end: positions after their last words; the end of the text is the last.

    A citation after the point ("... is so. [3]") belongs to the sentence before it. Headings
    and bullet points without a final point stay with what follows them.
    """
    found = []
    ended = False
    for place, after in enumerate(marks[1:], 1):
        here = marks[place - 1]
        ended = bool(here & ENDS or (ended and here & CITES))
        if ended and not after & (CONTINUED | CITES):
            found.append(place)
    return [*found, len(marks)] if marks else []


def safe_cut(marks: bytes, wanted: int) -> int:
    """The last place in 1 .. ``wanted`` where a sentence may be cut, ``wanted`` if none.

    Not between "Fig." and "3", not around an operator, not inside a formula between dollar
    signs or a short bracket. Only a unit that fills a passage by itself is cut all the same.
    """
    place = wanted
    while place > 0:
        opening = _opening(marks, place)
        if opening < place:
            place = opening
        elif marks[place - 1] & NEXT or (place < len(marks) and marks[place] & PREVIOUS):
            place -= 1
        else:
            return place
    return wanted


def _opening(marks: bytes, place: int) -> int:
    """Where the formula or bracket begins inside which ``place`` lies, else ``place``."""
    nearby = range(max(0, place - LONGEST_FORMULA), place)
    dollars = [at for at in nearby if marks[at] & DOLLAR]
    if len(dollars) % 2 and any(m & DOLLAR for m in marks[place : place + LONGEST_FORMULA]):
        return dollars[-1]
    depth = 0
    for at in reversed(range(max(0, place - LONGEST_BRACKET), place)):
        depth += bool(marks[at] & CLOSES) - bool(marks[at] & OPENS)
        if depth < 0:
            closes = any(m & CLOSES for m in marks[place : place + LONGEST_BRACKET])
            return at if closes else place
    return place
