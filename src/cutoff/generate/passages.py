"""Passages: runs of whole sentences that fit the embedding model, cut from one section each.

The unit is the word (text between white space), so a decimal such as 84.3 cannot be torn
apart, and the words of the passages are the words of the section, all of them, in order.
Lengths are tokens of the embedding model's own tokenizer. Every step is linear in the text,
and what costs most, counting tokens and looking at a word, is done once per distinct word.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutoff.generate import sentences
from cutoff.generate.token_counts import CountTokens

Record = dict[str, Any]
Codes = NDArray[np.int64]  # of each word: 256 x tokens + marks

Piece = tuple[int, str, int]  # position of the first word, passage, tokens

BLANK = ord(" ")
GROUP = 1_000_000  # letters
SAFE_CUT = re.compile(r"[^\w.,]+|[.,](?!\d)")  # never between the digits of a number


class KnownWords:
    """What is known of each distinct word, as 256 x tokens + marks; kept from paper to paper."""

    def __init__(self, count_tokens: CountTokens) -> None:
        self._count_tokens = count_tokens
        self._codes: dict[bytes, int] = {}

    def codes(self, data: bytes, starts: Codes) -> Codes:
        """The code of each word of ``data``; word i and the blank after it begin at ``starts[i]``.

        Apache Arrow finds the distinct words, so that no word becomes an object of its own.
        """
        import pyarrow as pa

        buffers = [None, pa.py_buffer(starts.astype(np.int32)), pa.py_buffer(data)]
        words = pa.Array.from_buffers(pa.binary(), len(starts) - 1, buffers).dictionary_encode()
        distinct = words.dictionary.to_pylist()
        new = [word for word in distinct if word not in self._codes]
        texts = [word[:-1].decode("utf-8", "surrogatepass") for word in new]
        for word, text, n in zip(new, texts, self._count_tokens(texts) if new else [], strict=True):
            self._codes[word] = 256 * n + sentences.mark(text)
        codes = np.fromiter(map(self._codes.__getitem__, distinct), np.int64, len(distinct))
        return codes[words.indices.to_numpy()]

    def tokens(self, word: str) -> int:
        data = f"{word} ".encode("utf-8", "surrogatepass")
        return int(self.codes(data, np.array([0, len(data)]))[0]) >> 8


def make_passages(
    papers: Iterable[Record], count_tokens: CountTokens, passage_tokens: int
) -> list[Record]:
    """Passages of all ``papers`` (records of ``papers.jsonl``) as records of ``passages.jsonl``.

    A passage has at most ``passage_tokens`` tokens and lies in one section; ``page`` is the
    page on which it begins. The ids count from 1 within a paper.
    """
    known = KnownWords(count_tokens)
    parts = [(paper["paper_id"], section) for paper in papers for section in paper["sections"]]
    pieces = _cut((section["text"] for _, section in parts), known, passage_tokens)
    numbers: Counter[str] = Counter()
    result = []
    for (paper_id, section), found in zip(parts, pieces, strict=True):
        heading, page, breaks = section["heading"], section["page"], section["page_breaks"]
        for number, (first_word, text, n_tokens) in enumerate(found, numbers[paper_id] + 1):
            result.append(
                {
                    "passage_id": f"{paper_id}#{number}",
                    "paper_id": paper_id,
                    "section": heading,
                    "page": page + bisect_right(breaks, first_word),
                    "text": text,
                    "n_tokens": n_tokens,
                }
            )
        numbers[paper_id] += len(found)
    return result


def cut(text: str, count_tokens: CountTokens, limit: int) -> list[Piece]:
    """Cut ``text`` into passages: (position of the first word, passage, number of tokens).

    A word that is longer than ``limit`` by itself, such as an endless link, is halved until
    its pieces fit.
    """
    (pieces,) = _cut([text], KnownWords(count_tokens), limit)
    return pieces


def _cut(texts: Iterable[str], known: KnownWords, limit: int) -> Iterator[list[Piece]]:
    """The pieces of each text; many texts are looked at together, about a million letters."""
    for group in _groups(texts):
        words = [text.split() for text in group]
        data = "".join(f"{' '.join(own)} " if own else "" for own in words)
        encoded = data.encode("utf-8", "surrogatepass")
        starts = np.flatnonzero(np.frombuffer(encoded, np.uint8) == BLANK) + 1
        starts = np.concatenate([[0], starts])
        codes = known.codes(encoded, starts)
        end = 0
        for own in words:
            begin, end = end, end + len(own)
            yield _cut_text(own, codes[begin:end], known, limit)


def _groups(texts: Iterable[str]) -> Iterator[list[str]]:
    group, size = [], 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size > GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _cut_text(words: list[str], codes: Codes, known: KnownWords, limit: int) -> list[Piece]:
    origin: Sequence[int] = range(len(words))
    too_long = np.flatnonzero(codes >> 8 > limit).tolist()
    if too_long:
        words, codes, origin = _halved(words, codes, too_long, known, limit)
    before = np.zeros(len(words) + 1, np.int64)  # tokens before each word
    np.cumsum(codes >> 8, out=before[1:])
    starts = pack(before, (codes & 255).astype(np.uint8), limit)
    ends = [*starts[1:], len(words)]
    lengths = (before[ends] - before[starts]).tolist() if starts else []
    return [
        (origin[start], " ".join(words[start:end]), n_tokens)
        for start, end, n_tokens in zip(starts, ends, lengths, strict=False)
    ]


def _halved(
    words: list[str], codes: Codes, too_long: Sequence[int], known: KnownWords, limit: int
) -> tuple[list[str], Codes, list[int]]:
    """Words, codes and positions in the text, with the words at ``too_long`` cut into pieces."""
    shorter = {at: _pieces(words[at], known, limit) for at in too_long}
    n_pieces = np.ones(len(words), np.int64)
    n_pieces[list(shorter)] = [len(pieces) for pieces in shorter.values()]
    origin = np.repeat(np.arange(len(words)), n_pieces)
    codes = codes[origin]
    pieces_of = iter([piece for pieces in shorter.values() for piece in pieces])
    made = [words[at] if at not in shorter else next(pieces_of) for at in origin.tolist()]
    for place in np.flatnonzero(np.isin(origin, too_long)).tolist():
        codes[place] = 256 * known.tokens(made[place]) + sentences.mark(made[place])
    return made, codes, origin.tolist()


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
    fitting = int(np.searchsorted(before[position:], most, side="right")) - 1
    end = position + max(fitting, 1)
    near = marks[position : end + sentences.LONGEST_FORMULA].tobytes()
    return position + sentences.safe_cut(near, 0, end - position)


def _pieces(word: str, known: KnownWords, limit: int) -> list[str]:
    """Split an oversized word near its middle, not inside a number if that can be avoided."""
    if known.tokens(word) <= limit or len(word) == 1:
        return [word]
    middle = len(word) // 2
    cuts = [match.end() for match in SAFE_CUT.finditer(word) if match.end() < len(word)]
    place = min(cuts, key=lambda end: abs(end - middle), default=middle)
    return [piece for half in (word[:place], word[place:]) for piece in _pieces(half, known, limit)]
