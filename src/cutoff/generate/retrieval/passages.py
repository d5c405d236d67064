"""Passages: runs of whole sentences that fit the embedding model, cut from one section each.

The unit is the word (text between white space), so a decimal such as 84.3 cannot be torn apart.
Lengths are tokens of the embedding model's own tokenizer, which looks at one word at a time: the
length of a text is the sum over its words, and each distinct word is counted only once.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, count
from typing import TYPE_CHECKING

from cutoff import embeddings
from cutoff.errors import CutoffError
from cutoff.generate.retrieval import sentences
from cutoff.records import Paper, Passage

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CountTokens = Callable[[Sequence[str]], list[int]]  # words -> number of tokens of each

PROBE = "Models of 84.3 M parameters (Smith et al., 2020) learn faster."
SAFE_CUT = re.compile(r"[^\w.,]+|[.,](?!\d)")  # never between the digits of a number


def make_passages(
    papers: Iterable[Paper], count_tokens: CountTokens, passage_tokens: int
) -> list[Passage]:
    """Passages of all ``papers``, at most ``passage_tokens`` tokens each.

    A passage lies in one section; ``page`` is the page on which it begins. The ids count from
    1 within a paper.
    """
    result: list[Passage] = []
    for paper in papers:
        number = count(1)
        result += [
            {
                "passage_id": f"{paper['paper_id']}#{next(number)}",
                "paper_id": paper["paper_id"],
                "section": section["heading"],
                "page": section["page"] + bisect_right(section["page_breaks"], first_word),
                "text": text,
                "n_tokens": n_tokens,
            }
            for section in paper["sections"]
            for first_word, text, n_tokens in cut(section["text"], count_tokens, passage_tokens)
        ]
    return result


def cut(text: str, count_tokens: CountTokens, limit: int) -> list[tuple[int, str, int]]:
    """Cut ``text`` into passages: (position of the first word, passage, number of tokens).

    Whole sentences are added while they fit; a sentence longer than ``limit`` is cut where it may
    be cut (``sentences.safe_cut``). A word that is longer by itself, such as an endless link, is
    halved until its pieces fit.
    """
    words = text.split()
    counts = count_tokens(words)
    origin = list(range(len(words)))
    if max(counts, default=0) > limit:
        halves = [
            [word] if n <= limit else _halves(word, count_tokens, limit)
            for word, n in zip(words, counts, strict=True)
        ]
        origin = [at for at, parts in enumerate(halves) for _ in parts]
        words = [part for parts in halves for part in parts]
        counts = count_tokens(words)
    before = list(accumulate(counts, initial=0))  # tokens before each word
    ends = sentences.ends(words)
    result = []
    start = 0
    while start < len(words):
        furthest = bisect_right(before, before[start] + limit, start) - 1
        n_ended = bisect_right(ends, furthest)
        end = ends[n_ended - 1] if n_ended else start
        if end <= start:
            wanted = max(furthest - start, 1)
            nearby = words[start : start + wanted + sentences.LONGEST_WHOLE]
            end = start + sentences.safe_cut(nearby, wanted)
        result.append((origin[start], " ".join(words[start:end]), before[end] - before[start]))
        start = end
    return result


def _halves(word: str, count_tokens: CountTokens, limit: int) -> list[str]:
    """Split an oversized word near its middle, not inside a number if that can be avoided."""
    if len(word) == 1 or count_tokens([word])[0] <= limit:
        return [word]
    middle = len(word) // 2
    cuts = [match.end() for match in SAFE_CUT.finditer(word) if match.end() < len(word)]
    place = min(cuts, key=lambda end: abs(end - middle), default=middle)
    parts = word[:place], word[place:]
    return [piece for part in parts for piece in _halves(part, count_tokens, limit)]


# --- tokens ------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def token_counter(embedding_model: str, passage_tokens: int) -> CountTokens:
    """Function ``words -> tokens of each``, by the embedding model's own tokenizer.

    Raises ``CutoffError`` if the model would cut passages of ``passage_tokens`` off.
    """
    from tokenizers import Tokenizer

    model = embeddings.embedder(embedding_model)
    room = (model.max_seq_length or 10**9) - model.tokenizer.num_special_tokens_to_add()
    if passage_tokens > room:
        raise CutoffError(
            f"passage_tokens = {passage_tokens} is more than the {room} tokens that "
            f"{embedding_model} reads; the rest of a passage would be lost."
        )
    return word_counter(Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str()))


def word_counter(tokenizer: "Tokenizer") -> CountTokens:
    """Function ``words -> tokens of each``, without the special tokens around a text.

    A byte-level tokenizer reads a word together with the blank before it, but not the first
    word of a text; there, the larger count is taken, so that no text is longer than it seems.
    """
    tokenizer.no_truncation()
    tokenizer.no_padding()
    known: dict[str, int] = {}

    def tokens(texts: list[str]) -> list[int]:
        return list(map(len, tokenizer.encode_batch_fast(texts, add_special_tokens=False)))

    additive = sum(tokens(PROBE.split())) == tokens([PROBE])[0]

    def of_each(words: Sequence[str]) -> list[int]:
        new = [word for word in set(words) if word not in known]
        if new:
            found = tokens(new)
            if not additive:
                found = list(map(max, found, tokens([f" {word}" for word in new])))
            known.update(zip(new, found, strict=True))
        return [known[word] for word in words]

    return of_each
