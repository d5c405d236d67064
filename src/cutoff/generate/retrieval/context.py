"""Context for a prompt: retrieved passages fitted to the room that the prompt has for them.

Training contexts, evaluation contexts and live questions all pass through ``fit_context``,
and citations are numbered after it. It sees the passages only, never the question or which
of them is gold, so it cannot favour the answer.
"""

from collections.abc import Sequence

from cutoff.errors import CutoffError
from cutoff.generate.retrieval.sentences import sentences
from cutoff.generate.retrieval.token_counts import CountTokens

MARK = "…"  # stands where text was left out, for the model and for the reader


def fit_context(texts: Sequence[str], context_tokens: int, count_tokens: CountTokens) -> list[str]:
    """``texts`` in their order, shortened so that all of them together fit.

    Every text gets the same share of ``context_tokens``; what short ones do not need goes to
    the longer ones (water-filling). So the longest are shortened first, and none is dropped.
    A shortened text keeps its leading sentences, or, where not even the first one fits, that
    one's leading words, and ends in "…". ``count_tokens`` maps words to tokens of each.

    >>> fit_context(["One two.", "Three four. Five six."], 5, lambda words: [1] * len(words))
    ['One two.', 'Three four. …']

    Raises ``CutoffError`` if the share of a text has no room for its first word.
    """
    by_sentence = [_counted(text, count_tokens) for text in texts]
    lengths = [sum(n for sentence in text for _, n in sentence) for text in by_sentence]
    share = fair_share(lengths, context_tokens)
    (mark_tokens,) = count_tokens([MARK])
    fitted = []
    for text, length, counted in zip(texts, lengths, by_sentence, strict=True):
        kept = text if length <= share else _shortened(counted, share - mark_tokens)
        if not kept and text.strip():
            raise CutoffError(
                f"context_tokens = {context_tokens} leaves {share} tokens for each of "
                f"{len(texts)} passages, too few for a word; raise it or lower top_k."
            )
        fitted.append(kept)
    return fitted


def fair_share(lengths: Sequence[int], room: int) -> int:
    """The largest ``share`` with ``sum(min(length, share)) <= room``; the longest length at most.

    >>> fair_share([2, 10, 20], 20)
    9
    """
    share = 0
    for n_left, length in zip(range(len(lengths), 0, -1), sorted(lengths), strict=True):
        share = min(length, room // n_left)
        if share < length:
            return max(share, 0)
        room -= length
    return share


def _counted(text: str, count_tokens: CountTokens) -> list[list[tuple[str, int]]]:
    """The sentences of ``text`` as (word, tokens)."""
    words = text.split()
    counts = iter(count_tokens(words)) if words else iter(())
    return [[(word, next(counts)) for word in sentence] for sentence in sentences(words)]


def _shortened(by_sentence: Sequence[Sequence[tuple[str, int]]], room: int) -> str:
    """Leading sentences within ``room`` tokens, else leading words, and a mark; "" if none fits."""
    kept: list[str] = []
    for sentence in by_sentence:
        length = sum(n for _, n in sentence)
        if length > room:
            if not kept:
                kept = _leading_words(sentence, room)
            break
        kept += [word for word, _ in sentence]
        room -= length
    return " ".join([*kept, MARK]) if kept else ""


def _leading_words(sentence: Sequence[tuple[str, int]], room: int) -> list[str]:
    kept = []
    for word, n in sentence:
        room -= n
        if room < 0:
            break
        kept.append(word)
    return kept
