"""How good an extracted text is: a score from 0 to 1 with named reasons.

The score is the product of the signs below, each from 0 (useless) to 1 (nothing to
complain of), so that one bad sign is enough. Between its two values a sign grows linearly. The
values were set on journal papers, which score 0.9 to 1, and on the kinds of rubbish named here:

| sign | measures | 0 | 1 |
|:---|:---|---:|---:|
| too short | words of the paper | 60 | 250 |
| few words | share of blank-separated items that are words of letters | 0.3 | 0.55 |
| damaged characters | replacement, private and control characters, share of all | 0.05 | 0.005 |
| torn words | mean letters of a word; letters printed apart give 1 to 2 | 2.4 | 3.4 |
| words run together | mean letters of a word | 14 | 9 |
| torn lines | share of words in lines of at least four words | 0.2 | 0.5 |
| repetition | share of words in sentences that occurred before | 0.6 | 0.2 |
| few sentences | share of words in sentences of 4 to 90 words | 0.2 | 0.5 |
| not English | share of words that are English function words | 0.06 | 0.16 |
| no sections | 0.85 if there is no heading at all | | |
"""

import re
from collections.abc import Iterator

from cutoff.generate.reading.document import Document

NO_SECTIONS = 0.85
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
    found = {name: round(value, 3) for name, value in signs(document)}
    score = 1.0
    for value in found.values():
        score *= value
    reasons = sorted((value, name) for name, value in found.items() if value < WORTH_NAMING)
    return round(score, 3), [f"{name} ({value:.2f})" for value, name in reasons]


def signs(document: Document) -> Iterator[tuple[str, float]]:
    """Name and value of every sign, in the order of the table above."""
    text = " ".join(section["text"] for section in document.sections)
    items = text.split()
    words = [item for item in items if WORD.fullmatch(item)]
    letters = [sum(c.isalpha() for c in word) for word in words]
    n_items, n_words = max(1, len(items)), max(1, len(words))
    lines = document.line_words
    sentences = [sentence.split() for sentence in SENTENCE.findall(text)]
    bare = [word.strip("([\"'“‘.,;:!?)]”’").lower() for word in words]
    mean_letters = sum(letters) / n_words
    yield "too short", ramp(len(items), 60, 250)
    yield "few words", ramp(len(words) / n_items, 0.3, 0.55)
    yield "damaged characters", ramp(document.damaged / max(1, document.characters), 0.05, 0.005)
    yield "torn words", ramp(mean_letters, 2.4, 3.4)
    yield "words run together", ramp(mean_letters, 14, 9)
    in_long_lines = sum(n for n in lines if n >= 4) / max(1, sum(lines))
    yield "torn lines", ramp(in_long_lines, 0.2, 0.5)
    yield "repetition", ramp(_repeated(sentences) / n_items, 0.6, 0.2)
    in_sentences = sum(len(s) for s in sentences if 4 <= len(s) <= 90 and s[-1][-1] in ".!?")
    yield "few sentences", ramp(in_sentences / n_items, 0.2, 0.5)
    yield "not English", ramp(sum(w in FUNCTION_WORDS for w in bare) / n_words, 0.06, 0.16)
    headed = any(section["heading"] for section in document.sections)
    yield "no sections", 1.0 if headed else NO_SECTIONS


def ramp(value: float, none: float, full: float) -> float:
    """0 at ``none``, 1 at ``full``, linear between them and flat outside."""
    return min(1.0, max(0.0, (value - none) / (full - none)))


def _repeated(sentences: list[list[str]]) -> int:
    """Number of words in sentences that have occurred before."""
    seen: set[str] = set()
    again = 0
    for sentence in sentences:
        key = " ".join(sentence)
        again += len(sentence) if key in seen else 0
        seen.add(key)
    return again
