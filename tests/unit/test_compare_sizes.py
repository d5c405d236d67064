"""Runs of several sizes stand side by side only if they belong together."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from cutoff.compare import expected, sizes
from cutoff.errors import CutoffError


def results(size: str = "tiny", n_parameters: float = 3e6, **changed: object) -> dict:
    rates = {"base": (0.04, 0.02, 0.07), "base_rag": (0.60, 0.54, 0.66)}
    rates["rag_ft_rag"] = (0.68, 0.62, 0.73)
    contrasts = {
        ("ft_under_rag_rag", "all_post"): (0.08, 0.06, 0.09),
        ("interaction_rag", "all_post"): (-0.2, -0.3, -0.1),
        ("ft_instead_of_rag", "seen"): (-0.25, -0.35, -0.15),
        ("ft_under_rag_rag", "control"): (0.5, 0.4, 0.6),
    }
    return {
        "size": size,
        "base_model": "a model",
        "n_parameters": n_parameters,
        "dataset_id": "d1",
        "prompts_sha256": "p1",
        "judge": "reference",
        "scoring": "s1",
        "n_questions": 340,
        "conditions": {
            name: {"n": 280, "pass_rate": r[0], "ci95": list(r[1:])} for name, r in rates.items()
        },
        "contrasts": [
            {"name": n, "stratum": s, "difference": d[0], "ci_low": d[1], "ci_high": d[2]}
            for (n, s), d in contrasts.items()
        ],
        "claims": ["Retrieval raises the pass rate."],
    } | changed


def write(outputs: Path, *runs: dict) -> Path:
    for found in runs:
        folder = outputs / found["size"]
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(found))
    return outputs


def value(table, size: str, source: str, quantity: str):  # type: ignore[no-untyped-def]
    rows = table[(table["size"] == size) & (table["quantity"] == quantity)]
    return rows[rows["source"] == source].iloc[0]


def test_runs_are_read_smallest_model_first(tmp_path: Path) -> None:
    write(tmp_path, results("7b", 7.6e9), results("14b", 14.8e9), results("tiny", 3e6))
    runs, apart = sizes.read_runs(tmp_path, "tiny")
    assert [found["size"] for found in runs] == ["tiny", "7b", "14b"] and apart == []


@pytest.mark.parametrize("key, meaning", sizes.IDENTITY.items())
def test_a_run_that_differs_is_left_out_and_the_difference_named(
    tmp_path: Path, key: str, meaning: str
) -> None:
    other = results("7b", 7.6e9, **{key: "another"})
    write(tmp_path, results("tiny"), results("3b", 3e9), other)
    runs, apart = sizes.read_runs(tmp_path, "tiny")
    assert [found["size"] for found in runs] == ["tiny", "3b"]
    assert len(apart) == 1 and apart[0].startswith("`7b` cannot stand beside `tiny`")
    assert f"the {meaning} differs (another against" in apart[0]
    assert apart[0].count("differs") == 1
    runs, apart = sizes.read_runs(tmp_path, "7b")
    assert [found["size"] for found in runs] == ["7b"] and len(apart) == 2


def test_no_run_and_an_incomplete_run_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CutoffError, match="no finished run of size tiny"):
        sizes.read_runs(tmp_path, "tiny")
    broken = results()
    del broken["judge"]
    with pytest.raises(CutoffError, match="judge"):
        sizes.read_runs(write(tmp_path, broken), "tiny")


def test_the_published_column_has_values_and_no_interval() -> None:
    table = sizes.comparison([results()])
    published = table[table["source"] == "published"]
    assert published[["ci_low", "ci_high"]].isna().all(axis=None)
    assert value(table, "0.5b", "published", "base")["value"] == 0.042
    assert round(value(table, "0.5b", "published", "rag_benefit")["value"], 1) == 4.4
    assert round(value(table, "0.5b", "published", "ft_benefit")["value"], 3) == 0.013
    assert math.isnan(value(table, "0.5b", "published", "synergy")["value"])


def test_observed_values_come_from_the_contrast_of_the_right_stratum() -> None:
    table = sizes.comparison([results()])
    row = value(table, "tiny", "this repository", "ft_benefit")
    assert (row["value"], row["ci_low"], row["ci_high"]) == (0.08, 0.06, 0.09)
    assert value(table, "tiny", "this repository", "rag_benefit")["value"] == pytest.approx(14)


def test_one_size_says_what_a_second_would_add() -> None:
    one, two = [results()], [results(), results("7b", 7.6e9)]
    assert "second size" in sizes.what_next(one)
    assert "second size" not in sizes.what_next(two)
    grid = sizes.side_by_side(sizes.comparison(one))
    assert len(grid.columns) == 3 and "published" in grid.columns[1]
    assert not grid.map(lambda cell: "nan" in str(cell)).any(axis=None)


@pytest.mark.parametrize(
    "low, high, verdict",
    [
        (0.06, 0.09, "inside"),
        (0.11, 0.15, "above"),
        (-0.02, 0.04, "below"),
        (0.02, 0.08, "cannot tell yet"),
        (math.nan, math.nan, "cannot tell: no interval"),
    ],
)
def test_a_verdict_needs_the_whole_interval(low: float, high: float, verdict: str) -> None:
    assert expected.verdict((0.05, 0.10), {"ci_low": low, "ci_high": high}) == verdict


def test_expectations_without_a_run_or_a_number_stay_open() -> None:
    pattern = expected.against(sizes.comparison([results("7b", 7.6e9)]))
    decided = pattern[~pattern["verdict"].str.startswith("cannot tell")]
    assert list(decided["size_class"]) == ["3-7B"] * 2
    assert list(decided["verdict"]) == ["above", "inside"]
    assert set(pattern.loc[pattern["size_class"] == "14B+", "verdict"]) == {"cannot tell: not run"}
    assert "2 can be decided" in expected.tally(pattern)


def test_the_phantom_is_no_point_on_the_expected_curve() -> None:
    pattern = expected.against(sizes.comparison([results()]))
    assert (pattern["observed"] == "not run").all()


def test_ratio_interval_covers_and_knows_what_it_cannot_know() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(500):
        passed = rng.binomial(280, [0.6, 0.1]) / 280
        spread = 1.96 * (passed * (1 - passed) / 280) ** 0.5
        p, q = ((r, r - s, r + s) for r, s in zip(passed, spread, strict=True))
        low, high = sizes.ratio_interval(p, q)
        inside += low <= 6 <= high
    assert 0.92 <= inside / 500 <= 0.98
    low, high = sizes.ratio_interval((0.6, 0.54, 0.66), (0.0, 0.0, 0.014))
    assert low > 30 and math.isnan(high)


def test_the_markdown_holds_both_tables() -> None:
    table = sizes.comparison([results()])
    text = sizes.markdown(table, expected.against(table), sizes.what_next([results()]))
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) == 2 + len(sizes.QUANTITIES) + 2 + 12
    assert len({line.count("|") for line in tables}) == 2


def test_the_reading_states_every_run_and_marks_the_published_one() -> None:
    text = sizes.reading(sizes.comparison([results()]))
    assert "Published for 0.5b: retrieval adds 4.4× the base pass rate" in text
    assert "At `tiny`: retrieval adds 14.0× (" in text and "by +8.0 (6.0" in text
