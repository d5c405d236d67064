"""Context for a prompt: retrieved passages fitted to the room that the prompt has for them.

All contexts pass through ``fit_context``. It sees the passages only, never the question or which
of them is gold, so it cannot favour the answer.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from cutoff.errors import CutoffError
from cutoff.generate.retrieval import sentences
from cutoff.generate.retrieval.passages import CountTokens

MARK = "…"  # stands where text was left out, for the model and for the reader


def fit_context(texts: Sequence[str], context_tokens: int, count_tokens: CountTokens) -> list[str]:
    """``texts`` in their order, shortened so that all of them together fit.

    Every text gets the same share of ``context_tokens``; what short ones do not need goes to
    the longer ones. A shortened text keeps its leading sentences, or, where not even the first
    one fits, that one's leading words, and ends in "…".

    >>> fit_context(["One two.", "Three four. Five six."], 5, lambda words: [1] * len(words))
    ['One two.', 'Three four. …']

    Raises ``CutoffError`` if the share of a text has no room for its first word.
    """
    counts = [count_tokens(text.split()) for text in texts]
    share = fair_share(list(map(sum, counts)), context_tokens)
    (mark_tokens,) = count_tokens([MARK])
    fitted = []
    for text, counted in zip(texts, counts, strict=True):
        room = share - mark_tokens
        kept = text if sum(counted) <= share else _shortened(text.split(), counted, room)
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


def _shortened(words: Sequence[str], counts: Sequence[int], room: int) -> str:
    """Leading sentences within ``room`` tokens, else leading words, and a mark; "" if none fits."""
    n_kept = bisect_right(list(accumulate(counts, initial=0)), room) - 1
    n_kept = max((end for end in sentences.ends(words) if end <= n_kept), default=n_kept)
    return " ".join([*words[:n_kept], MARK]) if n_kept > 0 else ""
