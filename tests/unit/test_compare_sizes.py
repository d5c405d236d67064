"""Runs of several sizes stand side by side only if they belong together; nothing is made up."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from cutoff import params
from cutoff.compare import cost, expected, payoff, runs, size_figures, sizes
from cutoff.errors import CutoffError
from cutoff.report import figures


def results(size: str = "tiny", n_parameters: float = 3e6, **changed: object) -> dict:
    """A made-up results.json, small but of the real shape."""
    rates = {"base": (0.04, 0.02, 0.07), "base_rag": (0.60, 0.54, 0.66)}
    rates["rag_ft_rag"] = (0.68, 0.62, 0.73)
    contrasts = {
        ("rag", "all_post"): (0.56, 0.50, 0.62),
        ("ft_under_rag_rag", "all_post"): (0.08, 0.06, 0.09),
        ("interaction_rag", "all_post"): (-0.2, -0.3, -0.1),
        ("ft_instead_of_rag", "seen"): (-0.25, -0.35, -0.15),
        ("ft_under_rag_rag", "control"): (0.5, 0.4, 0.6),
    }
    return {
        "size": size,
        "base_model": "phantom",
        "n_parameters": n_parameters,
        "dataset_id": "d1",
        "prompts_sha256": "p1",
        "judge": "reference",
        "scoring": "s1",
        "n_questions": 340,
        "conditions": {
            name: {"n": 280, "pass_rate": r[0], "ci95": list(r[1:])} for name, r in rates.items()
        },
        "pass_rates": [
            {"stratum": s, "condition": name, "n": 280, "pass_rate": r[0]}
            | {"ci_low": r[1], "ci_high": r[2]}
            for name, r in rates.items()
            for s in ("all_post", "seen")
        ],
        "contrasts": [row(n, s, *d) for (n, s), d in contrasts.items()],
        "claims": ["Retrieval raises the pass rate."],
    } | changed


def row(name: str, stratum: str, difference: float, low: float, high: float, p: float = 0.001):
    return {
        "name": name, "stratum": stratum, "planned": stratum != "control", "a": "base",
        "b": "base_rag", "n": 120 if stratum == "seen" else 280, "n_papers": 60,
        "difference": difference, "ci_low": low, "ci_high": high, "p_holm": p,
    }  # fmt: skip


def gaining(size: str, n_parameters: float, difference: float, p: float = 0.001, **changed):
    """A run whose gain of RAG-style training under RAG is ``difference`` +- 4 points."""
    gain = row("ft_under_rag_rag", "all_post", difference, difference - 0.04, difference + 0.04, p)
    return results(size, n_parameters, contrasts=[gain], **changed)


def write(outputs: Path, *found: dict) -> Path:
    for one in found:
        folder = outputs / one["size"]
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(one))
    return outputs


def value(table, size: str, source: str, quantity: str):  # type: ignore[no-untyped-def]
    rows = table[(table["size"] == size) & (table["quantity"] == quantity)]
    return rows[rows["source"] == source].iloc[0]


# --- which runs ------------------------------------------------------------------------


def test_runs_are_read_smallest_model_first(tmp_path: Path) -> None:
    write(tmp_path, results("7b", 7.6e9), results("14b", 14.8e9), results("tiny", 3e6))
    found, apart = runs.read(tmp_path, "tiny")
    assert [one["size"] for one in found] == ["tiny", "7b", "14b"] and apart == []


@pytest.mark.parametrize("key, meaning", runs.IDENTITY.items())
def test_a_run_that_differs_is_left_out_and_the_difference_named(
    tmp_path: Path, key: str, meaning: str
) -> None:
    other = results("7b", 7.6e9, **{key: "another"})
    write(tmp_path, results("tiny"), results("3b", 3e9), other)
    found, apart = runs.read(tmp_path, "tiny")
    assert [one["size"] for one in found] == ["tiny", "3b"]
    assert len(apart) == 1 and apart[0].startswith("`7b` cannot stand beside `tiny`")
    assert f"the {meaning} differs (another against {results()[key]})" in apart[0]
    assert apart[0].count("differs") == 1
    found, apart = runs.read(tmp_path, "7b")
    assert [one["size"] for one in found] == ["7b"] and len(apart) == 2


def test_no_run_an_incomplete_run_and_a_second_folder_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CutoffError, match="no finished run of size tiny"):
        runs.read(tmp_path, "tiny")
    write(tmp_path, results())
    copy = tmp_path / "tiny copy"
    copy.mkdir()
    (copy / "results.json").write_text(json.dumps(results()))
    with pytest.raises(CutoffError, match="second run of size tiny"):
        runs.read(tmp_path, "tiny")
    broken = results()
    del broken["judge"]
    with pytest.raises(CutoffError, match="judge"):
        runs.read(write(tmp_path / "other", broken), "tiny")


def stages_of(folder: Path, **entries: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"stages": entries}))


def test_missing_stages_are_listed_and_not_guessed(tmp_path: Path) -> None:
    done = {name: {"key": "k", "started": "t"} for name in runs.RUN_STAGES}
    write(tmp_path, results())
    stages_of(tmp_path / "tiny", **done)
    stages_of(tmp_path / "7b", **{"01_generate": {"key": "k"}, "02_finetune": {"started": "t"}})
    table = runs.progress(tmp_path).set_index("size")
    assert list(table.loc["tiny", list(runs.RUN_STAGES)]) == ["complete"] * 4
    assert list(table.loc["7b", list(runs.RUN_STAGES)]) == [
        "complete", "started, not complete", "not run", "not run",
    ]  # fmt: skip
    assert list(table.loc["14b", list(runs.RUN_STAGES)]) == ["not run"] * 4
    assert "compare" not in table.index


def test_what_differs_along_with_size_is_shown_and_families_are_told_apart(tmp_path: Path) -> None:
    found = [results("s", 1e9, base_model="Qwen/Qwen2.5-1B"), results("l", 8e9, base_model="x/Y")]
    for one, bits, parallel in zip(found, (False, True), (1, 8), strict=True):
        values = {"load_in_4bit": bits, "parallel": parallel, "lora_rank": 16}
        stages_of(tmp_path / one["size"], **{"04_evaluate": {"provenance": {"parameters": values}}})
    table = runs.differing_settings(tmp_path, found)
    assert list(table["parameter"]) == ["load_in_4bit"]
    assert list(table.iloc[0])[1:] == ["False", "True"]
    text = runs.confounds(tmp_path, found)
    assert "`load_in_4bit`" in text and "different families (`s` is qwen; `l` is y)" in text
    assert set(runs.NO_CONFOUND) <= set(params.NAMES)


# --- the table -------------------------------------------------------------------------


def test_the_published_column_has_values_and_no_interval() -> None:
    table = sizes.comparison([results()])
    published = table[table["source"] == "published"]
    assert published[["ci_low", "ci_high"]].isna().all(axis=None)
    assert value(table, "0.5b", "published", "base")["value"] == 0.042
    assert round(value(table, "0.5b", "published", "rag_benefit")["value"], 1) == 4.4
    assert round(value(table, "0.5b", "published", "ft_benefit")["value"], 3) == 0.013
    assert math.isnan(value(table, "0.5b", "published", "synergy")["value"])
    column = sizes.side_by_side(table).set_index("quantity").iloc[:, 0]
    assert column[sizes.QUANTITIES["synergy"]] == "about 0, no figure given"


def test_observed_values_come_from_the_contrast_of_the_right_stratum() -> None:
    table = sizes.comparison([results()])
    found = value(table, "tiny", "this repository", "ft_benefit")
    assert (found["value"], found["ci_low"], found["ci_high"]) == (0.08, 0.06, 0.09)
    assert value(table, "tiny", "this repository", "rag_benefit")["value"] == pytest.approx(14)
    assert value(table, "tiny", "this repository", "ft_alone")["n"] == 120
    assert value(table, "tiny", "this repository", "synergy")["n"] == 280


def test_what_a_run_did_not_measure_is_a_dash_everywhere() -> None:
    bare = results(contrasts=[], conditions={}, pass_rates=[])
    table = sizes.comparison([bare])
    grid = sizes.side_by_side(table)
    assert (grid.iloc[:, 2] == "–").all()
    assert not grid.map(lambda cell: cell == "nan").any(axis=None)
    assert set(payoff.by_size([bare], "tiny")["verdict"]) == {"cannot tell yet"}
    assert set(payoff.by_size([bare], "tiny")["why"]) == {"not measured"}


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


def test_the_markdown_holds_every_table_and_text() -> None:
    table = sizes.comparison([results()])
    grid = sizes.side_by_side(table)
    text = sizes.markdown([("One", grid), ("Two", "words"), ("Three", expected.against(table))])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(sizes.QUANTITIES) + 2 + 12
    assert "## Two\n\nwords" in text and text.count("\n## ") == 3


# --- the expected pattern --------------------------------------------------------------


@pytest.mark.parametrize(
    "low, high, verdict",
    [(0.06, 0.09, "inside"), (0.11, 0.15, "above"), (-0.02, 0.04, "below")]
    + [(math.nan, math.nan, "cannot tell: no interval")],
)
def test_a_verdict_needs_the_whole_interval(low: float, high: float, verdict: str) -> None:
    record = {"value": (low + high) / 2, "ci_low": low, "ci_high": high, "n": 280}
    assert expected.verdict((0.05, 0.10), record) == verdict


def test_expectations_without_a_run_stay_open_and_readings_of_words_are_shown() -> None:
    pattern = expected.against(sizes.comparison([results("7b", 7.6e9)]))
    here = pattern[pattern["size class"] == "3-7B"].set_index("quantity")
    assert list(here["verdict"]) == ["above", "inside", "below", "below"]
    assert here.loc[sizes.QUANTITIES["synergy"], "expected"] == "moderate"
    assert here.loc[sizes.QUANTITIES["synergy"], "range tested"] == "+5.0 to +10.0"
    assert set(pattern.loc[pattern["size class"] == "14B+", "verdict"]) == {"cannot tell: not run"}
    assert "4 can be decided" in expected.tally(pattern)


def test_the_phantom_is_no_point_on_the_expected_curve() -> None:
    pattern = expected.against(sizes.comparison([results()]))
    assert (pattern["observed"] == "not run").all()
    assert "neither confirmed nor refuted" in expected.tally(pattern)


# --- at what size does fine-tuning pay ---------------------------------------------------


def on_top(*found: dict) -> str:
    return payoff.answers(payoff.by_size(list(found), found[0]["size"]))[0]


@pytest.mark.parametrize(
    "difference, p, verdict",
    [(0.10, 0.001, "pays"), (-0.06, 0.001, "does not pay"), (0.0, 1.0, "does not pay")]
    + [(0.03, 0.3, "cannot tell yet"), (0.05, 0.2, "cannot tell yet")],
)
def test_the_rule_at_one_size(difference: float, p: float, verdict: str) -> None:
    (found,) = gaining("a", 1e9, difference, p)["contrasts"]
    assert payoff.verdict(found)[0] == verdict


def test_a_gain_that_is_established_but_small_says_so() -> None:
    found = row("ft_under_rag_rag", "all_post", 0.02, 0.01, 0.03)
    assert payoff.verdict(found) == ("pays", "by less than 5.0 points")
    suggested = payoff.verdict({**found, "difference": 0.06, "ci_high": 0.11, "p_holm": 0.08})
    assert suggested[0] == "cannot tell yet" and "not established" in suggested[1]


def test_another_family_is_no_point_on_the_road_to_a_threshold() -> None:
    stranger = gaining("x", 5e9, 0.10, base_model="meta-llama/X")
    assert "does not pay at `a`.**" in on_top(gaining("a", 1e9, 0.0, 1), stranger)


# --- cost ------------------------------------------------------------------------------


def trained(folder: Path, **changed: object) -> None:
    known = {"device": "T4", "gpu_hours": 0.5, "train_seconds": 1800.0, "n_examples": 100}
    known |= {"mean_tokens": 50.0, "settings": {"epochs": 3}}
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps(known | changed))
    (folder / "adapter_model.safetensors").write_bytes(b"x" * 2_000_000)


def test_cost_adds_up_over_adapters_and_what_is_missing_stays_missing(tmp_path: Path) -> None:
    found = results("7b", 7e9, diagnostics={"answers": [
        {"answers": 340, "prompt_tokens": 100.0, "answer_tokens": 10.0}] * 6})  # fmt: skip
    trained(tmp_path / "7b/adapters/instruct_ft")
    trained(tmp_path / "7b/adapters/rag_ft")
    stages_of(tmp_path / "7b", **{n: {"seconds": 1200} for n in cost.LATER_STAGES})
    other = results("14b", 14e9)
    trained(tmp_path / "14b/adapters/instruct_ft")
    trained(tmp_path / "14b/adapters/rag_ft", gpu_hours=None)
    table = cost.by_size(tmp_path, [found, other]).set_index("size")
    assert table.loc["7b", "gpu_hours"] == 1.0 and table.loc["7b", "training_minutes"] == 60
    assert table.loc["7b", "training_tokens"] == 2 * 100 * 50 * 3
    assert table.loc["7b", "answering_tokens"] == 6 * 340 * 110
    assert table.loc["7b", "hours"] == 1.0 and table.loc["7b", "adapter_mb"] == 4.0
    assert math.isnan(table.loc["14b", "gpu_hours"]) and math.isnan(table.loc["14b", "hours"])
    text = cost.reading(table.reset_index())
    assert "parameters 2.0 times, training 1.0 times" in text
    grid = cost.written(table.reset_index()).set_index("figure")
    assert grid.loc["GPU hours of training", "14b"] == "–"


# --- pictures --------------------------------------------------------------------------


def test_curves_draw_every_interval_of_every_run() -> None:
    found = [results("a", 1e9), results("b", 3e9), results("c", 9e9)]
    effects = sizes.effects(found)
    names = ("rag", "ft_under_rag_rag")
    figure = size_figures.contrasts(effects, names)
    assert len(figure.axes) == len(names)
    ends = [s for panel in figure.axes for c in panel.collections for s in c.get_segments()]
    assert len(ends) == 3 * 3  # sizes x (contrast, stratum) shown: rag, and gain in two strata
    assert figures.png(figure) == figures.png(size_figures.contrasts(effects, names))
    alt = size_figures.contrasts_alt(effects, names)
    assert "+56.0 at a" in alt and "+1.3 at 0.5b (published)" in alt
    rates = sizes.all_rates(found)
    assert len(size_figures.pass_rates(rates).axes) == 2
    assert "Base 4.2" in size_figures.pass_rates_alt(rates)


def test_a_published_value_is_drawn_only_where_a_run_comes_near_its_size() -> None:
    for n_parameters, near in ((3e6, False), (1e9, True)):
        effects = sizes.effects([results("a", n_parameters)])
        figure = size_figures.contrasts(effects, ("rag",))
        names = [text.get_text() for text in figure.axes[0].get_xticklabels()]
        assert ("0.5b\n(published)" in names) == near
        assert ("(published)" in size_figures.contrasts_alt(effects, ("rag",))) == near
        rates = sizes.all_rates([results("a", n_parameters)])
        assert ("(published)" in size_figures.pass_rates_alt(rates)) == near
