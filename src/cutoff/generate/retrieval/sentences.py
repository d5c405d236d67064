"""Where a text may be cut: between sentences, else between words that do not belong together.

A word (text between white space) is looked at once, however often it occurs.
"""

import re
import string
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

# A point after one of these ends an abbreviation; a sentence may end there too, but a cut
# inside "Fig. 3" or "Smith et al. (2020)" does more harm than one sentence too long.
ABBREVIATIONS = frozenset(
    "al. alg. app. approx. cf. ch. chap. def. dr. e.g. ed. eds. eq. eqn. eqns. eqs. esp. etc. fig. "
    "figs. i.e. i.i.d. lem. mr. mrs. ms. no. nos. p. pp. prof. prop. ref. refs. resp. sec. secs. "
    "st. tab. tabs. thm. viz. vol. vols. vs. w.r.t.".split()
)
# Names of what is numbered ("Theorem 2"), and "et" of "et al."
NUMBERED = frozenset(
    "figure figures table tables equation equations section sections appendix theorem lemma "
    "algorithm chapter et".split()
)
ENDERS = (".", "!", "?")
OPENERS, CLOSERS = "\"'“‘([", "\"'”’)]"
INITIALS = re.compile(r"(?:[A-Z]\.-?)+")
CITATION = re.compile(r"\[\d+(?:[-–,;]\d+)*\]")
LOWER_CASE = frozenset(string.ascii_lowercase)
# Symbols that stand between two parts of a formula; relations do so even at a word's edge.
RELATIONS = tuple("=<>≤≥≈≡≠±∓×∈∝^")
OPERATORS = frozenset((*RELATIONS, *"∼~+-−–·*/÷|∉⊂⊆∪∩→←↔⇒⇔↦∑∏∫√∧∨⊗⊕&"))
UNIT = re.compile(r"[%‰°][.,;:)]*")
GLUE = "\0"  # in place of a blank at which a text is not to be cut
WHOLE = re.compile(r"\$[^$]{1,300}\$|[(\[][^()\[\]]{1,150}[)\]]")  # formulas and short brackets
LONGEST_WHOLE = 40  # words


@lru_cache(maxsize=2**18)
def _kind(word: str) -> tuple[bool, bool, bool]:
    """Whether a sentence may end with ``word``, whether it is a citation, and whether a sentence
    goes on with it."""
    bare = word.lstrip(OPENERS)
    cites = bool(CITATION.fullmatch(word))
    may_end = word.rstrip(CLOSERS).endswith(ENDERS) and not _is_abbreviated(bare)
    return may_end, cites, cites or bare[:1] in LOWER_CASE


def _is_abbreviated(bare: str) -> bool:
    return bare.lower() in ABBREVIATIONS or bool(INITIALS.fullmatch(bare))


def ends(words: Sequence[str]) -> list[int]:
    """Where sentences end: positions after their last words; the end of the text is the last.

    A citation after the point ("... is so. [3]") belongs to the sentence before it. Headings
    and bullet points without a final point stay with what follows them.
    """
    found = []
    ended = False
    kinds = map(_kind, words)
    for place, ((may_end, cites, _), (_, _, goes_on)) in enumerate(pairwise(kinds), 1):
        ended = may_end or (ended and cites)
        if ended and not goes_on:
            found.append(place)
    return [*found, len(words)] if words else []


def safe_cut(words: Sequence[str], wanted: int) -> int:
    """The last place in 1 .. ``wanted`` where a sentence may be cut, ``wanted`` if none.

    Not between "Fig." and "3", not around an operator, not inside a formula between dollar
    signs or a short bracket. Only a unit that fills a passage by itself is cut all the same.
    """
    text = words[0]
    for word, after in pairwise(words):
        text += (GLUE if _belongs_to_next(word) or _belongs_before(after) else " ") + after
    text = WHOLE.sub(lambda match: match[0].replace(" ", GLUE), text)
    places = list(accumulate(unit.count(GLUE) + 1 for unit in text.split(" ")))
    n_before = bisect_right(places, wanted)
    return places[n_before - 1] if n_before else wanted


def _belongs_to_next(word: str) -> bool:
    bare = word.lstrip(OPENERS)
    named = _is_abbreviated(bare) or bare.lower() in NUMBERED
    return named or OPERATORS.issuperset(word) or word.endswith(RELATIONS)


def _belongs_before(word: str) -> bool:
    cited = CITATION.fullmatch(word.rstrip(".,;:")) or UNIT.fullmatch(word) or word == "et"
    return bool(cited) or OPERATORS.issuperset(word) or word.startswith(RELATIONS)
