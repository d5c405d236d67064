"""Passages: runs of whole sentences that fit the embedding model, cut from one section each.

The unit is the word (text between white space), so a decimal such as 84.3 cannot be torn
apart, and the words of the passages are the words of the section, all of them, in order.
Lengths are tokens of the embedding model's own tokenizer. Every step is linear in the text.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

Record = dict[str, Any]
CountTokens = Callable[[list[str]], list[int]]  # words -> number of tokens of each

# A point after one of these ends an abbreviation; a sentence may end there too, but a cut
# inside "Fig. 3" or "Smith et al. (2020)" does more harm than one sentence too long.
ABBREVIATIONS = frozenset(
    "al. approx. cf. dr. e.g. ed. eds. eq. eqs. esp. etc. fig. figs. i.e. mr. mrs. ms. no. nos. "
    "p. pp. prof. ref. refs. resp. sec. secs. st. tab. vol. vs. w.r.t.".split()
)
SENTENCE_END = re.compile(r"""[.!?]["'”’)\]]*$""")
INITIAL = re.compile(r"^[A-Z]\.$")
CONTINUES = re.compile(r"""^["'“‘(\[]*[a-z]""")
SAFE_CUT = re.compile(r"[^\w.,]+|[.,](?!\d)")  # never between the digits of a number


def sentences(words: Sequence[str]) -> list[list[str]]:
    """Group the words of a text into sentences; no word is lost, doubled or moved.

    Headings and bullet points without a final point stay with what follows them.
    """
    result: list[list[str]] = []
    start = 0
    for position, word in enumerate(words, start=1):
        following = words[position] if position < len(words) else None
        if following is None or _ends_sentence(word, following):
            result.append(list(words[start:position]))
            start = position
    return result


def _ends_sentence(word: str, following: str) -> bool:
    if not SENTENCE_END.search(word):
        return False
    bare = word.lstrip("\"'“‘([")
    if bare.lower() in ABBREVIATIONS or INITIAL.match(bare):
        return False
    return not CONTINUES.match(following)


def pack(sentence_tokens: Sequence[Sequence[int]], limit: int) -> list[int]:
    """Where to cut: word positions at which a new passage begins (the first one is 0).

    ``sentence_tokens`` holds, sentence by sentence, the tokens of each word, none above
    ``limit``. Whole sentences are added while they fit; a sentence longer than ``limit``
    is cut between two words.
    """
    starts: list[int] = []
    position = used = 0
    for tokens in sentence_tokens:
        length = sum(tokens)
        if not starts or used + length > limit:
            starts.append(position)
            used = 0
        if length <= limit:
            used += length
        else:
            for offset, n_tokens in enumerate(tokens):
                if used + n_tokens > limit:
                    starts.append(position + offset)
                    used = 0
                used += n_tokens
        position += len(tokens)
    return starts


def make_passages(
    papers: Iterable[Record], count_tokens: CountTokens, passage_tokens: int
) -> list[Record]:
    """Passages of all ``papers`` (records of ``papers.jsonl``) as records of ``passages.jsonl``.

    A passage has at most ``passage_tokens`` tokens and lies in one section; ``page`` is the
    page on which it begins. The ids count from 1 within a paper.
    """
    result = []
    for paper in papers:
        number = 0
        for section in paper["sections"]:
            for first_word, text, n_tokens in cut(section["text"], count_tokens, passage_tokens):
                number += 1
                result.append(
                    {
                        "passage_id": f"{paper['paper_id']}#{number}",
                        "paper_id": paper["paper_id"],
                        "section": section["heading"],
                        "page": section["page"] + bisect_right(section["page_breaks"], first_word),
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
    by_sentence = sentences(text.split())
    n_tokens = _token_counts({word for words in by_sentence for word in words}, count_tokens)
    origin: Sequence[int] = range(sum(len(words) for words in by_sentence))
    if any(n > limit for n in n_tokens.values()):
        split = [
            [_pieces(word, count_tokens, limit, n_tokens) for word in words]
            for words in by_sentence
        ]
        by_word = [pieces for words in split for pieces in words]
        origin = [position for position, pieces in enumerate(by_word) for _ in pieces]
        by_sentence = [[piece for pieces in words for piece in pieces] for words in split]
    words = [word for sentence in by_sentence for word in sentence]
    counts = [[n_tokens[word] for word in sentence] for sentence in by_sentence]
    flat = [n for sentence in counts for n in sentence]
    starts = pack(counts, limit)
    for start, end in zip(starts, [*starts, len(words)][1:], strict=True):
        yield origin[start], " ".join(words[start:end]), sum(flat[start:end])


def _token_counts(words: set[str], count_tokens: CountTokens) -> dict[str, int]:
    distinct = sorted(words)  # each word once: text repeats itself, tokenizing it need not
    return dict(zip(distinct, count_tokens(distinct), strict=True)) if distinct else {}


def _pieces(
    word: str, count_tokens: CountTokens, limit: int, n_tokens: dict[str, int]
) -> list[str]:
    """Split an oversized word near its middle, not inside a number if that can be avoided."""
    if word not in n_tokens:
        n_tokens[word] = count_tokens([word])[0]
    if n_tokens[word] <= limit or len(word) == 1:
        return [word]
    middle = len(word) // 2
    cuts = [match.end() for match in SAFE_CUT.finditer(word) if match.end() < len(word)]
    place = min(cuts, key=lambda end: abs(end - middle), default=middle)
    return [
        piece
        for half in (word[:place], word[place:])
        for piece in _pieces(half, count_tokens, limit, n_tokens)
    ]
