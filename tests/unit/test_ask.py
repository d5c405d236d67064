"""What ``ask`` prints: the answer, and citations that lead to a paper, a section and a page."""

import pytest

from cutoff import ask, params, paths
from cutoff.errors import CutoffError

FOUND = [
    {"title": "On Cranes", "section": "2 Method", "page": 3},
    {"title": "On Herons\x1b[31m", "section": "", "page": 1},
]


def test_a_citation_names_paper_section_and_page() -> None:
    lines = ask.sources("Adam [1], not SGD [2].", FOUND)
    assert lines[0] == "Cited:"
    assert lines[1] == "  [1] On Cranes, section 2 Method, page 3"
    assert lines[2].startswith("  [2] On Herons") and lines[2].endswith(", page 1")


def test_what_does_not_exist_is_said_and_what_was_not_cited_is_listed() -> None:
    assert "does not exist" in ask.sources("See [7].", FOUND)[1]
    none = ask.sources("Adam.", FOUND)
    assert "No passage was cited" in none[0] and len(none) == 3
    assert ask.sources("Adam.", []) == ["(answered from memory, without passages)"]


def test_a_paper_cannot_steer_the_terminal() -> None:
    assert ask.printable("a\x1b[31m\u202eb\nc") == "a[31mb\nc"


def test_a_wrong_condition_an_empty_question_and_a_missing_data_set_are_sentences(
    tmp_path, monkeypatch
) -> None:
    p = params.load("tiny", {"output_dir": str(tmp_path)})
    with pytest.raises(CutoffError, match="no condition 'rag'"):
        ask.answer(p, "Why?", "rag")
    with pytest.raises(CutoffError, match="Nothing to answer"):
        ask.answer(p, "  ")
    with pytest.raises(CutoffError, match="needs .*dataset.json.* 01_generate"):
        ask.answer(p, "Why?")
    assert not paths.outputs(p).joinpath("tiny").exists()
