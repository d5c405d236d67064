"""Judge-free measures: what they count, against documented values, and what is missing."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutoff import embeddings, params
from cutoff.errors import CutoffError, DeadlineReached
from cutoff.evaluate.diagnostics import metrics
from cutoff.evaluate.stats import averages

QUESTION = {
    "question_id": "p/acc?0",
    "paper_id": "p",
    "stratum": "seen",
    "question": "What is the accuracy of Linen Garden?",
    "reference": "90 percent",
    "statement": "The accuracy of Linen Garden is 90 percent.",
}
TEXT = st.text("ab c.[1]\n!", max_size=40)


def respond(text: str, **changed: Any) -> dict[str, Any]:
    return {
        **QUESTION,
        "condition": "base",
        "passed": True,
        "response": text,
        "prompt_tokens": 30,
        "completion_tokens": 5,
        "latency_seconds": 0.5,
        "finish_reason": "stop",
        **changed,
    }


def score(text: str, **changed: Any) -> pd.Series:
    return metrics.scores(pd.DataFrame([respond(text, **changed)])).iloc[0]


@pytest.mark.parametrize("text", ["90 percent", "90 % [1]", "The accuracy of Linen Garden is 90%."])
def test_reference_and_statement_are_both_exact_whatever_the_citation(text: str) -> None:
    row = score(text)
    assert row["exact_match"] == row["stated"] == row["numeric_match"] == row["token_f1"] == 1


def test_an_answer_in_other_words_is_stated_and_no_exact_match() -> None:
    row = score("It reaches 90.0 percent [2].")
    assert (row["stated"], row["numeric_match"], row["exact_match"]) == (1, 1, 0)


def test_another_number_in_the_right_sentence_scores_high_but_matches_nothing() -> None:
    row = score("The accuracy of Linen Garden is 80 percent.")
    assert (row["stated"], row["numeric_match"], row["exact_match"]) == (0, 0, 0)
    assert 0.8 < row["token_f1"] < 1  # why numbers have a measure of their own


def test_numbers_match_only_where_the_reference_holds_one() -> None:
    assert np.isnan(score("Iris", reference="Iris", statement=None)["numeric_match"])
    two = {"reference": "84 percent on 12 tasks", "statement": None}
    assert score("12 tasks, 84 %", **two)["numeric_match"] == 1
    assert score("84 %", **two)["numeric_match"] == 0


def test_token_f1_is_that_of_squad() -> None:
    said, wanted = "cat sat on mat".split(), "cat is on mat too".split()
    assert metrics.token_f1(said, wanted) == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))
    assert metrics.token_f1(["cat", "cat"], ["cat"]) == pytest.approx(2 / 3)  # counted once
    assert metrics.token_f1([], ["cat"]) == metrics.token_f1(["dog"], ["cat"]) == 0


def test_an_empty_answer_scores_nothing_and_declines() -> None:
    for text in ("", "  ", "[1]"):
        row = score(text)
        quality = row[list(metrics.QUALITY)].drop("similarity").astype(float)
        assert (quality == 0).all()
        assert (row["declined"], row["words"], row["looped"]) == (1, 0, 0)


@settings(deadline=None, max_examples=60)
@given(TEXT)
def test_measures_stay_between_0_and_1_and_citations_count_for_none(text: str) -> None:
    row, cited = score(text), score(f"{text} [2]")
    names = [n for n in (*metrics.QUALITY, *metrics.SHARES) if n != "similarity"]
    assert row[names].astype(float).between(0, 1 + 1e-9).all()
    pd.testing.assert_series_equal(row[names].drop("looped"), cited[names].drop("looped"))


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("the method of the method of the method of", True),
        ("It is. It is. It is.", True),
        ("no no no no", True),
        ("!!!!!!!!!!", True),
        ("a " * 24 + "b", True),
        ("It is very very very good.", False),
        ("the method of the method", False),
        ("Layers: 1 2 1 2 3 1 2", False),
        ("1,000,000 of 1000000 tokens", False),
        ("", False),
    ],
)
def test_only_what_is_said_again_and_again_is_a_loop(text: str, loop: bool) -> None:
    assert metrics.loops(text) is loop


def test_a_long_hostile_answer_is_looked_through_quickly_enough_to_finish() -> None:
    assert metrics.loops("ab" * 50_000)
    assert not metrics.loops(" ".join(f"w{i}" for i in range(20_000)))


def test_lengths_ends_and_latency_are_taken_as_they_were() -> None:
    row = score("one two", finish_reason="length", latency_seconds=2.5)
    names = ["cut_off", "words", "completion_tokens", "prompt_tokens", "latency_seconds"]
    assert list(row[names]) == [1, 2, 5, 30, 2.5]


def test_similarity_sees_meaning_and_is_missing_without_a_model(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    p = params.load("tiny", {"output_dir": str(tmp_path)})
    texts = ["The accuracy of Linen Garden is 90 percent.", "Ninety percent.", "Bananas.", ""]
    same, near, far, empty = metrics.scores(pd.DataFrame(map(respond, texts)), p)["similarity"]
    assert same == pytest.approx(1, abs=1e-4)
    assert same > near > far > empty == 0
    assert np.isnan(score("Bananas.")["similarity"])

    def gone(error: Exception) -> Any:
        def embed(*_: Any, **__: Any) -> None:
            raise error

        return embed

    for error in (CutoffError("no network"), RuntimeError("CUDA out of memory")):
        monkeypatch.setattr(embeddings, "embed", gone(error))
        frame = metrics.scores(pd.DataFrame([respond("Bananas.")]), p)
        assert frame["similarity"].isna().all() and frame["token_f1"].notna().all()
        assert f"Similarity was not measured: {error}" in capsys.readouterr().out
    monkeypatch.setattr(embeddings, "embed", gone(DeadlineReached("time is up")))
    with pytest.raises(DeadlineReached):
        metrics.scores(pd.DataFrame([respond("Bananas.")]), p)


def test_the_table_has_every_measure_of_every_condition_with_n_and_unit() -> None:
    answers = [
        respond(
            "90 percent" if i % 3 or c == "base_rag" else "80",
            question_id=f"q{i}",
            paper_id=f"p{i // 2}",
            condition=c,
        )
        for c in ("base", "base_rag")
        for i in range(8)
    ]
    table = averages.by_condition(
        metrics.scores(pd.DataFrame(answers)), metrics.QUALITY + metrics.BEHAVIOUR, 200
    )
    rows = table.set_index(["stratum", "condition", "measure"])
    assert len(table) == 2 * 2 * len((*metrics.QUALITY, *metrics.BEHAVIOUR))
    row = rows.loc["all_post", "base", "stated"]
    assert (row["n"], row["n_papers"], row["estimate"]) == (8, 4, 5 / 8)
    assert 0 <= row["ci_low"] < row["estimate"] < row["ci_high"] <= 1
    sure = rows.loc["seen", "base_rag", "stated"]
    assert sure["ci_low"] < sure["estimate"] == sure["ci_high"] == 1  # no perfect certainty
    never = rows.loc["seen", "base_rag", "looped"]
    assert never["ci_low"] == never["estimate"] == 0 < never["ci_high"]
    unmeasured = rows.loc["seen", "base", "similarity"]
    assert unmeasured["n"] == 0 and unmeasured[["estimate", "ci_low", "ci_high"]].isna().all()
    assert rows.loc["seen", "base", "latency_seconds"][["ci_low", "ci_high"]].isna().all()
    grid = averages.grid(table, metrics.QUALITY)
    assert list(grid.columns) == ["condition", *metrics.QUALITY]
    assert list(grid["stated"]) == [0.625, 1]
