"""Shares, differences and slopes of questions in papers, against statsmodels and known truth."""

import math
from operator import itemgetter

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from cutoff import bootstrap


def bounds(found: dict[str, float]) -> tuple[float, float]:
    return found["ci_low"], found["ci_high"]


@pytest.mark.parametrize("ones, n", [(0, 40), (1, 40), (13, 40), (39, 40), (40, 40)])
def test_one_question_a_paper_gives_the_wilson_interval_of_statsmodels(ones: int, n: int) -> None:
    values = np.repeat([1.0, 0.0], [ones, n - ones])
    found = bootstrap.share(values, np.arange(n))
    assert (found["n"], found["n_papers"], found["ones"]) == (n, n, ones)
    expected = proportion_confint(ones, n, method="wilson")
    assert bounds(found) == pytest.approx(expected, abs=1e-12)


def test_papers_that_agree_with_themselves_count_as_one_question_each() -> None:
    values = np.repeat([1.0, 0.0], [5, 15])
    found = bootstrap.share(np.repeat(values, 6), np.repeat(np.arange(20), 6))
    assert bounds(found) == pytest.approx(proportion_confint(5, 20, method="wilson"), abs=1e-12)


def test_one_paper_is_worth_one_question() -> None:
    found = bootstrap.share(np.zeros(8), np.zeros(8))
    assert bounds(found) == pytest.approx(proportion_confint(0, 1, method="wilson"), abs=1e-12)


def test_no_question_gives_no_share() -> None:
    found = bootstrap.share(np.zeros(0), np.zeros(0))
    assert found["n"] == 0 and math.isnan(found["share"]) and math.isnan(found["ci_low"])


@pytest.mark.parametrize("truth", [0.5, 0.9])
def test_shares_of_clustered_answers_are_covered_as_often_as_promised(truth: float) -> None:
    """95 % within 2.5 points; Wilson's interval over single questions covers far less."""
    rng = np.random.default_rng(5)
    clustered = single = 0
    experiments = 1200
    for _ in range(experiments):
        papers = np.repeat(np.arange(24), rng.integers(2, 7, size=24))
        shared, own = rng.normal(size=24)[papers], rng.normal(size=len(papers))
        values = (0.5**0.5 * (shared + own) < stats.norm.ppf(truth)).astype(float)
        found = bootstrap.share(values, papers)
        clustered += found["ci_low"] <= truth <= found["ci_high"]
        low, high = proportion_confint(values.sum(), len(values), method="wilson")
        single += low <= truth <= high
    assert 0.925 <= clustered / experiments <= 0.975
    assert single / experiments < 0.90


@pytest.mark.parametrize("first, second", [((3, 20), (12, 30)), ((30, 30), (0, 25))])
def test_differences_agree_with_newcombe_of_statsmodels(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    shares = [
        itemgetter("share", "ci_low", "ci_high")(
            bootstrap.share(np.repeat([1.0, 0.0], [ones, n - ones]), np.arange(n))
        )
        for ones, n in (first, second)
    ]
    expected = confint_proportions_2indep(*second, *first, method="newcomb", compare="diff")
    assert bootstrap.difference(*shares)[1:] == pytest.approx(expected, abs=1e-9)


def test_slopes_agree_with_least_squares_and_are_covered() -> None:
    rng = np.random.default_rng(3)
    inside, experiments = 0, 300
    for experiment in range(experiments):
        papers = np.repeat(np.arange(30), 4)
        x = rng.uniform(0, 3, size=30)[papers] + 2024
        noise = rng.normal(size=30)[papers] + rng.normal(size=len(papers))
        y = 0.5 * x + noise
        found, low, high = bootstrap.slope(x, y, papers, 300, experiment)
        assert found == pytest.approx(np.polyfit(x - 2024, y, 1)[0], abs=1e-9)
        inside += low <= 0.5 <= high
    assert 0.90 <= inside / experiments <= 0.98


def test_equal_answers_are_no_proof_of_a_slope_of_zero() -> None:
    papers = np.repeat(np.arange(20), 2)
    found, low, high = bootstrap.slope(papers.astype(float), np.ones(40), papers, 200, 0)
    assert found == pytest.approx(0) and math.isnan(low) and math.isnan(high)
    assert all(math.isnan(v) for v in bootstrap.slope(np.ones(40), np.ones(40), papers, 200, 0))


# --- the bootstrap -------------------------------------------------------------------------


def test_any_statistic_of_totals_is_resampled_and_columns_share_their_draws() -> None:
    rng = np.random.default_rng(0)
    papers = np.repeat(np.arange(25), 4)
    x, y = rng.random(100) + 1, rng.random(100) + 1
    by_paper = bootstrap.totals(np.column_stack([x, y]), papers)
    ratio = bootstrap.intervals(by_paper, lambda sums: sums[:, 0] / sums[:, 1], 2000, 0)
    assert float(ratio.estimate) == pytest.approx(x.sum() / y.sum())
    assert ratio.low < ratio.estimate < ratio.high
    drawn = bootstrap.draws(by_paper, lambda sums: sums, 2000, 0)
    ends = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    assert ratio.low < ends[0] and ends[1] < ratio.high  # expanded for few papers
    alike = bootstrap.mean_draws(np.column_stack([x, x]), papers, 50, 0)
    assert (alike[:, 0] == alike[:, 1]).all()


def test_means_leave_unknown_values_out_and_are_never_certain() -> None:
    values = np.array([[1.0, 0.0, np.nan], [np.nan, 0.0, np.nan], [0.0, 0.0, np.nan]])
    found = bootstrap.means(values, np.arange(3), 500, 0)
    assert found.estimate[:2] == pytest.approx([0.5, 0.0]) and math.isnan(found.estimate[2])
    assert found.low[1] < 0 < found.high[1]  # nobody passed, which is not certain
    assert math.isnan(found.low[2])
    one = bootstrap.means(values[:, :2], np.zeros(3), 500, 0)
    assert np.isnan(one.low).all() and not np.isnan(one.estimate).any()


def test_holm_leaves_missing_values_missing_and_uncounted() -> None:
    adjusted = bootstrap.holm(pd.Series([0.01, np.nan, 0.04]))
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04]) and math.isnan(adjusted[1])


def test_a_failed_judgement_counts_apart_and_a_missing_label_is_a_group() -> None:
    passed = pd.array([True, False, None, True], dtype="boolean")
    rows = {"paper_id": list("aabb"), "month": ["1", "1", "1", None], "passed": passed}
    rates = bootstrap.pass_rates(pd.DataFrame(rows), ["month"])
    names = ["n", "judge_failed", "n_papers", "passed"]
    assert rates[names].to_numpy().tolist() == [[2, 1, 1, 1], [1, 0, 1, 1]]
    assert rates["month"].isna().tolist() == [False, True]
