"""Contexts are fitted by one rule: everything is represented, the longest gives way first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutoff.errors import CutoffError
from cutoff.generate.retrieval import context
from cutoff.generate.retrieval.context import MARK, fit_context

WORDS = st.sampled_from(
    "One two. Three et al. (2020) 84.3 percent. Fig. 3 shows x = y. Long".split()
)
TEXTS = st.lists(st.lists(WORDS, min_size=1, max_size=60).map(" ".join), min_size=1, max_size=8)


def count_tokens(words: list[str]) -> list[int]:
    return [1 + len(word) // 4 for word in words]


def length(text: str) -> int:
    return sum(count_tokens(text.split()))


@given(TEXTS, st.integers(40, 300))
def test_every_passage_is_represented_and_all_fit(texts: list[str], room: int) -> None:
    fitted = fit_context(texts, room, count_tokens)
    assert sum(map(length, fitted)) <= room
    for before, after in zip(texts, fitted, strict=True):
        kept = after.split()
        assert after == before or (kept[-1] == MARK and len(kept) > 1)
        kept = kept[:-1] if after != before else kept
        assert before.split()[: len(kept)] == kept


@given(TEXTS, st.integers(40, 300))
def test_nothing_is_shortened_without_need(texts: list[str], room: int) -> None:
    fitted = fit_context(texts, room, count_tokens)
    if sum(map(length, texts)) <= room:
        assert fitted == texts
    cut = [length(old) for old, new in zip(texts, fitted, strict=True) if old != new]
    whole = [length(old) for old, new in zip(texts, fitted, strict=True) if old == new]
    assert not cut or max(whole, default=0) < min(cut)  # the longest give way first
    assert all(n > room // len(texts) for n in cut)  # nobody who is within an equal share does


@given(st.lists(st.integers(1, 99), min_size=1), st.integers(0, 999))
def test_the_share_is_the_largest_that_fits(lengths: list[int], room: int) -> None:
    def used(share: int) -> int:
        return sum(min(length, share) for length in lengths)

    share = context.fair_share(lengths, room)
    assert used(share) <= room
    assert share == max(lengths) or used(share + 1) > room


def test_sentences_stay_whole_where_one_fits() -> None:
    text = "The first sentence stands. The second has 84.3 percent. The third is cut off here."
    count = lambda words: [1] * len(words)  # noqa: E731
    assert fit_context([text], 12, count) == [
        "The first sentence stands. The second has 84.3 percent. …"
    ]
    assert fit_context([text], 4, count) == ["The first sentence …"]
    assert fit_context([text, "Short."], 8, count) == ["The first sentence stands. …", "Short."]


def test_a_room_without_a_word_for_each_is_a_sentence() -> None:
    with pytest.raises(CutoffError, match="context_tokens = 3 leaves 0 tokens for each of 4"):
        fit_context(["Long text here."] * 4, 3, count_tokens)
