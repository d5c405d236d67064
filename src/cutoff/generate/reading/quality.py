"""How good an extracted text is: a score from 0 to 1 with named reasons.

The score is the product of the signs below, each from 0 (useless) to 1 (nothing to
complain of), so that one bad sign is enough. Between its two values a sign grows linearly. The
values were set on journal papers, which score 0.9 to 1, and on the kinds of rubbish named here.
"""

import math
import re

from cutoff.generate.reading.document import Document

SIGNS = {  # name: the values of ``measure`` at which it is 0 and 1
    "too short": (60, 250),  # words of the paper
    "few words": (0.3, 0.55),  # share of blank-separated items that are words of letters
    "damaged characters": (0.05, 0.005),  # replacement, private, control; share of all
    "torn words": (2.4, 3.4),  # mean letters of a word; letters printed apart give 1 to 2
    "words run together": (14, 9),  # mean letters of a word
    "torn lines": (0.2, 0.5),  # share of words in lines of at least four words
    "repetition": (0.6, 0.2),  # share of words in sentences that occurred before
    "few sentences": (0.2, 0.5),  # share of words in sentences of 4 to 90 words
    "not English": (0.06, 0.16),  # share of words that are English function words
}
NO_SECTIONS = 0.85  # the sign of a paper without any heading
WORTH_NAMING = 0.95  # a sign below this is named as a reason
WORD = re.compile(r"[(\[\"'“‘]*[^\W\d_]+(?:[-'’/][^\W\d_]+)*[.,;:!?)\]\"'”’]*")
SENTENCE = re.compile(r"[^.!?]+(?:[.!?](?!\s|$)[^.!?]*)*[.!?]?")
# Frequent words that hardly exist in other languages that use these letters.
FUNCTION_WORDS = frozenset(
    "the of and to is are was were be been being that this these those with for from by which "
    "we our it its as not can has have had between each both other than then into using used "
    "where when while their they there such at or if only more most two one all".split()
)


def rate(document: Document) -> tuple[float, list[str]]:
    """Score of a paper's text, rounded to 3 digits, and its reasons, the worst first.

    A reason reads "not English (0.12)": the sign and its value.
    """
    measured = measure(document)
    signs = {"no sections": 1.0 if any(s["heading"] for s in document.sections) else NO_SECTIONS}
    for name, (none, full) in SIGNS.items():
        share = (measured[name] - none) / (full - none)
        signs[name] = round(min(1.0, max(0.0, share)), 3)
    reasons = sorted((sign, name) for name, sign in signs.items() if sign < WORTH_NAMING)
    return round(math.prod(signs.values()), 3), [f"{name} ({sign:.2f})" for sign, name in reasons]


def measure(document: Document) -> dict[str, float]:
    """What every one of ``SIGNS`` measures."""
    text = " ".join(section["text"] for section in document.sections)
    items = text.split()
    words = [item for item in items if WORD.fullmatch(item)]
    bare = [word.strip("([\"'“‘.,;:!?)]”’").lower() for word in words]
    n_items, n_words = max(1, len(items)), max(1, len(words))
    mean_letters = sum(c.isalpha() for word in words for c in word) / n_words
    lines = document.line_words
    sentences = [sentence.split() for sentence in SENTENCE.findall(text)]
    whole = [s for s in sentences if 4 <= len(s) <= 90 and s[-1][-1] in ".!?"]
    return {
        "too short": len(items),
        "few words": len(words) / n_items,
        "damaged characters": document.damaged / max(1, document.characters),
        "torn words": mean_letters,
        "words run together": mean_letters,
        "torn lines": sum(n for n in lines if n >= 4) / max(1, sum(lines)),
        "repetition": _repeated(sentences) / n_items,
        "few sentences": sum(map(len, whole)) / n_items,
        "not English": sum(word in FUNCTION_WORDS for word in bare) / n_words,
    }


def _repeated(sentences: list[list[str]]) -> int:
    """Number of words in sentences that have occurred before."""
    seen: set[str] = set()
    again = 0
    for sentence in sentences:
        key = " ".join(sentence)
        again += len(sentence) if key in seen else 0
        seen.add(key)
    return again
