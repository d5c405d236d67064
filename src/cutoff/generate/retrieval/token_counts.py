"""Tokens of single words by a model's own tokenizer, thousands of words at once.

In running text a tokenizer looks at one word at a time, so the length of a text is the sum
over its words, and each distinct word need be counted only once. For tokenizers of the BERT
family (WordPiece between blanks and punctuation) plain words are counted here, by the same
greedy rule over the same vocabulary, an order of magnitude faster than by making and
throwing away the tokens themselves; everything else is left to the tokenizer.
"""

import string
from collections.abc import Callable
from functools import lru_cache
from itertools import compress
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutoff import embeddings
from cutoff.errors import CutoffError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CountTokens = Callable[[list[str]], list[int]]  # words -> number of tokens of each

PROBE = "Models of 84.3 M parameters (Smith et al., 2020) learn faster."
STEM = 3  # letters
SHORTER = [2, 1]
SIGN = "!"
SIGNS_ALIKE = str.maketrans(dict.fromkeys(string.punctuation, SIGN))


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
    from tokenizers import models, normalizers, pre_tokenizers

    tokenizer.no_truncation()
    tokenizer.no_padding()

    def by_tokenizer(words: list[str]) -> list[int]:
        return list(map(len, tokenizer.encode_batch_fast(words, add_special_tokens=False)))

    def at_most(words: list[str]) -> list[int]:
        after_blank = by_tokenizer([f" {word}" for word in words])
        return list(map(max, by_tokenizer(words), after_blank))

    if (
        isinstance(tokenizer.model, models.WordPiece)
        and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and isinstance(tokenizer.normalizer, normalizers.BertNormalizer)
    ):
        return _wordpiece_counter(tokenizer, by_tokenizer)
    additive = sum(by_tokenizer(PROBE.split())) == by_tokenizer([PROBE])[0]
    return by_tokenizer if additive else at_most


def _wordpiece_counter(tokenizer: "Tokenizer", by_tokenizer: CountTokens) -> CountTokens:
    lowercase = tokenizer.normalizer.lowercase
    whole = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    pieces = WordPieces(tokenizer)

    def count(words: list[str]) -> list[int]:
        result = np.zeros(len(words), np.int64)
        plain = [
            word.isascii()
            and word.isprintable()
            and not ("[" in word and any(token in word for token in whole))
            for word in words
        ]
        lines = "".join([f"{word}\n" for word in compress(words, plain)])
        result[plain] = _pieces_per_line(lines.lower() if lowercase else lines, pieces)
        others = np.flatnonzero(np.logical_not(plain)).tolist()
        if others:
            result[others] = by_tokenizer([words[at] for at in others])
        return result.tolist()

    return count


def _pieces_per_line(lines: str, pieces: "WordPieces") -> NDArray[np.int64]:
    """Tokens of each line of ASCII: every sign is one, what lies between them is looked up."""
    lines = lines.translate(SIGNS_ALIKE)
    letters = np.frombuffer(lines.encode(), np.uint8)
    in_word = letters >= ord("0")
    n_tokens = (letters == ord(SIGN)).astype(np.int64)  # of each letter; a word's at its first
    first = in_word.copy()
    first[1:] &= ~in_word[:-1]
    n_tokens[first] = [pieces[word] for word in lines.replace(SIGN, " ").split()]
    before = np.concatenate([[0], np.cumsum(n_tokens)[letters == ord("\n")]])
    return np.diff(before)


class WordPieces(dict[str, int]):
    """Number of pieces of a word without blanks or punctuation: greedy, longest first.

    Wu Y et al. (2016). Google's neural machine translation system. arXiv:1609.08144. A word
    with a part that no piece matches is one unknown token, and so is one that is too long.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        super().__init__()
        vocabulary = tokenizer.get_vocab(with_added_tokens=False)
        prefix = tokenizer.model.continuing_subword_prefix
        self._first = frozenset(vocabulary)
        self._later = frozenset(t[len(prefix) :] for t in vocabulary if t.startswith(prefix))
        self._sizes: dict[str, list[int]] = {}  # of pieces that begin with these letters
        by_start = {(piece[:STEM], len(piece)) for piece in self._first | self._later}
        for start, size in sorted(by_start, key=itemgetter(1), reverse=True):
            if size >= STEM:
                self._sizes.setdefault(start, []).append(size)
        for sizes in self._sizes.values():
            sizes += SHORTER
        self._most = tokenizer.model.max_input_chars_per_word

    def __missing__(self, word: str) -> int:
        self[word] = n = self._count(word)
        return n

    def _count(self, word: str) -> int:
        if word in self._first or len(word) > self._most:
            return 1
        known, start, n = self._first, 0, 0
        while start < len(word):
            for size in self._sizes.get(word[start : start + STEM], SHORTER):
                if word[start : start + size] in known:
                    break
            else:
                return 1
            known, start, n = self._later, start + size, n + 1
        return n
