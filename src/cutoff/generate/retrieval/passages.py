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
from itertools import islice, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutoff.generate.retrieval import sentences
from cutoff.generate.retrieval.token_counts import CountTokens

Record = dict[str, Any]
Codes = NDArray[np.int64]  # of each word: 256 x tokens + marks

Piece = tuple[int, str, int]  # position of the first word, passage, tokens

BLANK = ord(" ")
GROUP = 4_000_000  # letters
ASCII = bytes(range(128))
BLANKS = bytes(BLANK if sign in ASCII and chr(sign).isspace() else sign for sign in range(256))
SAFE_CUT = re.compile(r"[^\w.,]+|[.,](?!\d)")  # never between the digits of a number


class KnownWords:
    """What is known of each distinct word, as 256 x tokens + marks; kept from paper to paper."""

    def __init__(self, count_tokens: CountTokens) -> None:
        self._count_tokens = count_tokens
        self._codes: dict[str, int] = {}

    def codes(self, data: bytes, starts: Codes) -> Codes:
        """The code of each word of ``data``; word i and the blank after it begin at ``starts[i]``.

        Apache Arrow finds the distinct words, so that no other word becomes an object of its own.
        """
        import pyarrow as pa

        buffers = [None, pa.py_buffer(starts.astype(np.int32)), pa.py_buffer(data)]
        words = pa.Array.from_buffers(pa.binary(), len(starts) - 1, buffers).dictionary_encode()
        distinct = _text(b"".join(words.dictionary.to_pylist())).split(" ")[:-1]
        codes = np.fromiter(map(self._codes.get, distinct, repeat(-1)), np.int64, len(distinct))
        unseen = np.flatnonzero(codes < 0)
        new = [distinct[at] for at in unseen.tolist()]
        if new:
            n_tokens = np.array(self._count_tokens(new), np.int64)
            codes[unseen] = 256 * n_tokens + np.array([sentences.mark(word) for word in new])
            self._codes.update(zip(new, codes[unseen].tolist(), strict=True))
        return codes[np.from_dlpack(words.indices)]

    def tokens(self, word: str) -> int:
        data = _bytes(f"{word} ")
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
    """The pieces of each text; many texts are looked at together, millions of letters."""
    for group in _groups(texts):
        data, starts, bounds = _words(group)
        codes = known.codes(data, starts)
        first_words, origin = bounds[:-1], np.arange(len(starts))
        too_long = np.flatnonzero(codes >> 8 > limit).tolist()
        if too_long:
            data, n_pieces, codes = _halved(data, starts, codes, too_long, known, limit)
            starts = _starts(data)
            bounds = np.concatenate([[0], np.cumsum(n_pieces)])[bounds]
            origin = np.repeat(origin, n_pieces)
        before = np.concatenate([[0], np.cumsum(codes >> 8)])
        cuts = np.array(pack(before, (codes & 255).astype(np.uint8), bounds, limit))
        n_cuts = np.diff(np.searchsorted(cuts, bounds))
        places = starts[cuts].tolist()
        pieces = zip(
            (origin[cuts[:-1]] - np.repeat(first_words, n_cuts)).tolist(),
            [_text(data[a : b - 1]) for a, b in zip(places, places[1:], strict=False)],
            np.diff(before[cuts]).tolist(),
            strict=True,
        )
        for n in n_cuts.tolist():
            yield list(islice(pieces, n))


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


def _words(texts: Sequence[str]) -> tuple[bytes, Codes, Codes]:
    """All words, a blank after each; where each begins; how many there are before each text.

    Only texts with Unicode's white space or with blanks in a row need be taken apart for it.
    """
    parts = [_bytes(f"{text} ") if text else b"" for text in map(str.strip, texts)]
    data = b"".join(parts).translate(BLANKS)
    starts = _starts(data)
    beyond = _text(data.translate(None, ASCII))
    if (np.diff(starts) == 1).any() or len(f"[{beyond}]".split()) > 1:
        return _words([" ".join(text.split()) for text in texts])
    ends = np.cumsum([0, *map(len, parts)])
    return data, starts, np.searchsorted(starts, ends)


def _starts(data: bytes) -> Codes:
    """Where each word begins in ``data``, and its length."""
    return np.concatenate([[0], np.flatnonzero(np.frombuffer(data, np.uint8) == BLANK) + 1])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _halved(
    data: bytes, starts: Codes, codes: Codes, too_long: Sequence[int], known: KnownWords, limit: int
) -> tuple[bytes, Codes, Codes]:
    """``data`` with blanks inside the words at ``too_long``; how many each word is now; codes."""
    n_pieces = np.ones(len(starts), np.int64)
    parts, halves, done = [], [], 0
    for at in too_long:
        start, end = int(starts[at]), int(starts[at + 1])
        pieces = _pieces(_text(data[start : end - 1]), known, limit)
        n_pieces[at] = len(pieces)
        halves.append(_bytes(" ".join([*pieces, ""])))
        parts += [data[done:start], halves[-1]]
        done = end
    made = b"".join(halves)
    is_long = codes >> 8 > limit
    codes = np.repeat(codes, n_pieces[:-1])
    codes[np.repeat(is_long, n_pieces[:-1])] = known.codes(made, _starts(made))
    return b"".join([*parts, data[done:]]), n_pieces, codes


def pack(before: Codes, marks: sentences.Marks, bounds: Codes, limit: int) -> list[int]:
    """Where to cut: word positions at which a new passage begins, and the end of the last one.

    ``before`` counts the tokens before each word, and all of them; no word has more than
    ``limit``. ``bounds`` are the ends of the texts, and 0. Whole sentences are added while they
    fit; a sentence longer than ``limit`` is cut where it may be cut (``sentences.safe_cut``).
    """
    ends = sentences.ends(marks, bounds)
    tokens_at_end = before[ends].tolist()
    place_of_end = ends.tolist()
    signs, tokens_before = marks.tobytes(), before.data
    n_sentences = np.searchsorted(ends, bounds[1:], side="right").tolist()
    starts: list[int] = []
    position = used = n_ended = 0
    for last in n_sentences:
        while n_ended < last:
            starts.append(position)
            fitting = bisect_right(tokens_at_end, used + limit, n_ended, last)
            if fitting > n_ended:
                position, used = place_of_end[fitting - 1], tokens_at_end[fitting - 1]
                n_ended = fitting
                continue
            # A sentence too long: left where it may be, with at most ``limit`` tokens before.
            most = bisect_right(tokens_before, used + limit, position, place_of_end[n_ended]) - 1
            wanted = max(most - position, 1)
            stop = min(position + wanted + sentences.LONGEST_FORMULA, place_of_end[last - 1])
            position += sentences.safe_cut(signs[position:stop], 0, wanted)
            used = tokens_before[position]
    return [*starts, len(marks)]


def _pieces(word: str, known: KnownWords, limit: int) -> list[str]:
    """Split an oversized word near its middle, not inside a number if that can be avoided."""
    if known.tokens(word) <= limit or len(word) == 1:
        return [word]
    middle = len(word) // 2
    cuts = [match.end() for match in SAFE_CUT.finditer(word) if match.end() < len(word)]
    place = min(cuts, key=lambda end: abs(end - middle), default=middle)
    return [piece for half in (word[:place], word[place:]) for piece in _pieces(half, known, limit)]
