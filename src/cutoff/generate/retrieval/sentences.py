"""Where a text may be cut: between sentences, else between words that do not belong together.

A word (text between white space) is looked at once, however often it occurs.
"""

import re
import string
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, pairwise

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
WHOLE = re.compile(  # formulas and short brackets
    r"\$(?![\s\0])[^$]{1,300}(?<![\s\0])\$|[(\[][^()\[\]]{1,150}[)\]]"
)
LONGEST_WHOLE = 16  # words
SENTENCE_END = re.compile(rb"[Ee]c*(?=[Ex])")  # in marks of words


@lru_cache(maxsize=2**18)
def _mark(word: str) -> int:
    """A letter: ``E`` may end a sentence, ``l`` goes on with one, ``e`` both, ``c`` cites, else
    ``x``."""
    if CITATION.fullmatch(word):
        return ord("c")
    bare = word.lstrip(OPENERS)
    may_end = word.rstrip(CLOSERS).endswith(ENDERS) and not _is_abbreviated(bare)
    return ord(("xE", "le")[bare[:1] in LOWER_CASE][may_end])


@lru_cache(maxsize=2**18)
def _holds(word: str) -> tuple[bool, bool]:
    """Whether ``word`` is not to be cut from the one after it, and from the one before it."""
    bare = word.lstrip(OPENERS)
    operator = OPERATORS.issuperset(word)
    named = _is_abbreviated(bare) or bare.lower() in NUMBERED
    bound = CITATION.fullmatch(word.rstrip(".,;:")) or UNIT.fullmatch(word) or word == "et"
    return (
        named or operator or word.endswith(RELATIONS),
        bool(bound) or operator or word.startswith(RELATIONS),
    )


def _is_abbreviated(bare: str) -> bool:
    return bare.lower() in ABBREVIATIONS or bool(INITIALS.fullmatch(bare))


def ends(words: Sequence[str]) -> list[int]:
    """Where sentences end: positions after their last words; the end of the text is the last.

    A citation after the point ("... is so. [3]") belongs to the sentence before it. Headings
    and bullet points without a final point stay with what follows them.
    """
    found = [match.end() for match in SENTENCE_END.finditer(bytes(map(_mark, words)))]
    return [*found, len(words)] if words else []


def safe_cut(words: Sequence[str], wanted: int) -> int:
    """The last place in 1 .. ``wanted`` where a sentence may be cut, ``wanted`` if none is near.

    Not between "Fig." and "3", not around an operator, not inside a formula between dollar
    signs or a short bracket. Only a unit that fills a passage by itself is cut all the same.
    """
    first = max(0, wanted - LONGEST_WHOLE)
    near = words[first : wanted + LONGEST_WHOLE]
    holds = list(map(_holds, near))
    glued = [GLUE if a[0] or b[1] else " " for a, b in pairwise(holds)]
    text = "".join(chain.from_iterable(zip(near, [*glued, " "], strict=True)))
    text = WHOLE.sub(lambda match: match[0].replace(" ", GLUE), text)
    end = len(" ".join(near[: wanted - first]))
    place = text.rfind(" ", 0, end + 1)
    if place < 0:
        return wanted
    return first + 1 + text.count(" ", 0, place) + text.count(GLUE, 0, place)
