"""Tokens of single words by a model's own tokenizer, thousands of words at once.

In running text a tokenizer looks at one word at a time, so the length of a text is the sum
over its words, and each distinct word need be counted only once. For tokenizers of the BERT
family (WordPiece between blanks and punctuation) plain words are counted here, by the same
greedy rule over the same vocabulary, an order of magnitude faster than by making and
throwing away the tokens themselves; everything else is left to the tokenizer.
"""

import string
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CountTokens = Callable[[list[str]], list[int]]  # words -> number of tokens of each

PROBE = "Models of 84.3 M parameters (Smith et al., 2020) learn faster."
STEM = 3  # letters
APART = {ord(sign): f" {sign} " for sign in string.punctuation}


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
        result, others = [], []
        for position, word in enumerate(words):
            plain = word.isascii() and word.isprintable()
            if not plain or ("[" in word and any(token in word for token in whole)):
                others.append(position)
                result.append(0)
                continue
            if lowercase:
                word = word.lower()
            core = word.strip(string.punctuation)
            if core.isalnum():  # every sign is a token
                result.append(pieces[core] + len(word) - len(core))
            else:
                result.append(sum([pieces[part] for part in word.translate(APART).split()]))
        if not others:
            return result
        for position, n in zip(others, by_tokenizer([words[i] for i in others]), strict=True):
            result[position] = n
        return result

    return count


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
        self._reach: dict[str, int] = {}  # longest piece that begins with these letters
        for piece in self._first | self._later:
            start = piece[:STEM]
            self._reach[start] = max(self._reach.get(start, 0), len(piece))
        self._most = tokenizer.model.max_input_chars_per_word

    def __missing__(self, word: str) -> int:
        self[word] = n = self._count(word)
        return n

    def _count(self, word: str) -> int:
        if word in self._first or len(word) > self._most:
            return 1
        known, start, n = self._first, 0, 0
        while start < len(word):
            end = min(len(word), start + self._reach.get(word[start : start + STEM], STEM))
            while end > start and word[start:end] not in known:
                end -= 1
            if end == start:
                return 1
            known, start, n = self._later, end, n + 1
        return n
