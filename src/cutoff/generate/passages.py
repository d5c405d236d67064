"""Passages: runs of whole sentences that fit the embedding model, cut from one section each.

The unit is the word (text between white space), so a decimal such as 84.3 cannot be torn
apart, and the words of the passages are the words of the section, all of them, in order.
Lengths are tokens of the embedding model's own tokenizer. Every step is linear in the text,
and what costs most, counting tokens and looking at a word, is done once per distinct word.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutoff.generate import sentences
from cutoff.generate.token_counts import CountTokens

Record = dict[str, Any]
Codes = NDArray[np.int64]  # of each word: 256 x tokens + marks

SAFE_CUT = re.compile(r"[^\w.,]+|[.,](?!\d)")  # never between the digits of a number


class KnownWords(dict[str, int]):
    """What is known of each distinct word, as 256 x tokens + marks; kept from paper to paper."""

    def __init__(self, count_tokens: CountTokens) -> None:
        super().__init__()
        self._count_tokens = count_tokens
        self._new: list[str] = []

    def __missing__(self, word: str) -> int:
        self._new.append(word)
        return -1

    def codes(self, words: Sequence[str]) -> Codes:
        """The code of each word, new ones counted all at once."""
        found = np.fromiter(map(self.__getitem__, words), np.int64, len(words))
        if self._new:
            unknown, self._new = self._new, []
            distinct = list(dict.fromkeys(unknown))
            for word, n_tokens in zip(distinct, self._count_tokens(distinct), strict=True):
                self[word] = 256 * n_tokens + sentences.mark(word)
            found[found < 0] = [self[word] for word in unknown]
        return found


def make_passages(
    papers: Iterable[Record], count_tokens: CountTokens, passage_tokens: int
) -> list[Record]:
    """Passages of all ``papers`` (records of ``papers.jsonl``) as records of ``passages.jsonl``.

    A passage has at most ``passage_tokens`` tokens and lies in one section; ``page`` is the
    page on which it begins. The ids count from 1 within a paper.
    """
    known = KnownWords(count_tokens)
    result = []
    for paper in papers:
        number = 0
        for section in paper["sections"]:
            heading, page, breaks = section["heading"], section["page"], section["page_breaks"]
            for first_word, text, n_tokens in _cut(section["text"], known, passage_tokens):
                number += 1
                result.append(
                    {
                        "passage_id": f"{paper['paper_id']}#{number}",
                        "paper_id": paper["paper_id"],
                        "section": heading,
                        "page": page + bisect_right(breaks, first_word),
                        "text": text,
                        "n_tokens": n_tokens,
                    }
                )
    return result


def cut(text: str, count_tokens: CountTokens, limit: int) -> Iterator[tuple[int, str, int]]:
    """Cut ``text`` into passages: (position of the first word, passage, number of tokens).

    A word that is longer than ``limit`` by itself, such as an endless link, is halved until
    its pieces fit.
    """
    return _cut(text, KnownWords(count_tokens), limit)


def _cut(text: str, known: KnownWords, limit: int) -> Iterator[tuple[int, str, int]]:
    words = text.split()
    codes = known.codes(words)
    origin: Sequence[int] = range(len(words))
    if len(words) and int(codes.max()) >> 8 > limit:
        pieces = [_pieces(word, known, limit) for word in words]
        origin = [position for position, parts in enumerate(pieces) for _ in parts]
        words = [part for parts in pieces for part in parts]
        codes = known.codes(words)
    before = np.zeros(len(words) + 1, np.int64)  # tokens before each word
    np.cumsum(codes >> 8, out=before[1:])
    starts = pack(before, (codes & 255).astype(np.uint8), limit)
    ends = [*starts[1:], len(words)]
    lengths = (before[ends] - before[starts]).tolist() if starts else []
    for start, end, n_tokens in zip(starts, ends, lengths, strict=False):
        yield origin[start], " ".join(words[start:end]), n_tokens


def pack(before: Codes, marks: sentences.Marks, limit: int) -> list[int]:
    """Where to cut: word positions at which a new passage begins (the first one is 0).

    ``before`` counts the tokens before each word, and all of them; no word has more than
    ``limit``. Whole sentences are added while they fit; a sentence longer than ``limit`` is
    cut where it may be cut (``sentences.safe_cut``).
    """
    ends = sentences.ends(marks)
    tokens_at_end = before[ends].tolist()
    place_of_end = ends.tolist()
    starts: list[int] = []
    position = used = n_ended = 0
    while n_ended < len(place_of_end):
        starts.append(position)
        fitting = bisect_right(tokens_at_end, used + limit, lo=n_ended)
        if fitting > n_ended:
            position, used = place_of_end[fitting - 1], tokens_at_end[fitting - 1]
            n_ended = fitting
        else:
            position = _inside_sentence(before, marks, position, used + limit)
            used = int(before[position])
    return starts


def _inside_sentence(before: Codes, marks: sentences.Marks, position: int, most: int) -> int:
    """Where a sentence that is too long is left, with at most ``most`` tokens before it."""
    end = position + 1
    while end < len(marks) and before[end + 1] <= most:
        end += 1
    near = marks[position : end + sentences.LONGEST_FORMULA].tobytes()
    return position + sentences.safe_cut(near, 0, end - position)


def _pieces(word: str, known: KnownWords, limit: int) -> list[str]:
    """Split an oversized word near its middle, not inside a number if that can be avoided."""
    if int(known.codes([word])[0]) >> 8 <= limit or len(word) == 1:
        return [word]
    middle = len(word) // 2
    cuts = [match.end() for match in SAFE_CUT.finditer(word) if match.end() < len(word)]
    place = min(cuts, key=lambda end: abs(end - middle), default=middle)
    return [piece for half in (word[:place], word[place:]) for piece in _pieces(half, known, limit)]
