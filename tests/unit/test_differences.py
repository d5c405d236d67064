"""Gained, lost or neither: intervals that hold where few questions differ."""

import itertools
from operator import itemgetter

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar

from cutoff import bootstrap
from cutoff.evaluate.stats import differences


@pytest.mark.parametrize("gained, lost", [(0, 0), (1, 0), (6, 0), (13, 4), (40, 41), (300, 2)])
def test_exact_mcnemar_agrees_with_statsmodels(gained: int, lost: int) -> None:
    expected = mcnemar([[10, lost], [gained, 7]], exact=True).pvalue
    assert differences.mcnemar_exact(gained, lost) == pytest.approx(expected, rel=1e-9)


def score(n: int, gained: int, lost: int, d: float) -> float:
    """The score statistic with the nuisance parameter maximised numerically, as defined."""

    def minus_likelihood(share_lost: float) -> float:
        shares = (share_lost + d, share_lost, 1 - 2 * share_lost - d)
        counts = (gained, lost, n - gained - lost)
        return -sum(c * np.log(max(s, 1e-300)) for c, s in zip(counts, shares, strict=True) if c)

    low, high = max(0.0, -d), (1 - d) / 2
    best = optimize.minimize_scalar(
        minus_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    ).x
    return (gained - lost - n * d) / (n * (2 * best + d - d * d)) ** 0.5


@pytest.mark.parametrize(("n", "gained", "lost"), [(60, 9, 3), (44, 1, 0), (150, 0, 7), (30, 4, 4)])
def test_the_score_interval_ends_where_the_score_test_begins_to_reject(
    n: int, gained: int, lost: int
) -> None:
    low, high = differences.score_interval(n, gained, lost)
    z = stats.norm.ppf(0.975)
    assert score(n, gained, lost, low) == pytest.approx(z, abs=1e-3)
    assert score(n, gained, lost, high) == pytest.approx(-z, abs=1e-3)


def test_where_nothing_differs_the_interval_is_that_of_tango() -> None:
    z2 = stats.norm.ppf(0.975) ** 2
    for n in (5, 80, 1000):
        low, high = differences.score_interval(n, 0, 0)
        assert (-low, high) == pytest.approx((z2 / (n + z2),) * 2, rel=1e-4)
    assert differences.score_interval(6, 6, 0)[1] == 1.0
    assert np.isnan(differences.score_interval(0, 0, 0)).all()


def test_the_interval_covers_where_few_questions_differ_and_the_bootstrap_alone_does_not() -> None:
    n, gain, loss = 60, 0.03, 0.01  # about two questions of sixty differ
    share = bootstrap = 0.0
    for gained, lost in itertools.product(range(9), range(6)):
        chance = stats.multinomial.pmf(
            [gained, lost, n - gained - lost], n, [gain, loss, 1 - gain - loss]
        )
        low, high = differences.score_interval(n, gained, lost)
        share += chance * (low <= gain - loss <= high)
        values = np.repeat([1.0, -1.0, 0.0], [gained, lost, n - gained - lost])
        drawn = np.random.default_rng(0).choice(values, (400, n)).mean(axis=1)
        ends = np.quantile(drawn, [0.025, 0.975])
        bootstrap += chance * (ends[0] <= gain - loss <= ends[1])
        found = differences.summary(values, np.arange(n), 50, 0)
        assert found["ci_low"] <= low and high <= found["ci_high"]
    assert share > 0.94
    assert bootstrap < 0.9


def test_papers_that_agree_within_widen_the_interval_beyond_the_score() -> None:
    values = np.repeat(np.tile([1.0, 0.0, -1.0, 1.0, 0.0], 4), 6)
    apart = differences.summary(values, np.arange(120), 2000, 0)
    together = differences.summary(values, np.repeat(np.arange(20), 6), 2000, 0)
    width = [row["ci_high"] - row["ci_low"] for row in (apart, together)]
    assert width[1] > 1.8 * width[0]
    assert (together["n_papers"], together["gained"], together["lost"]) == (20, 48, 24)
    assert apart["p"] == together["p"] < together["p_by_paper"]
    assert together["mde"] > 1.5 * apart["mde"]
    table = np.array([[0, 48], [24, 48]])
    assert together["p"] == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_a_missing_verdict_is_left_out_and_counted() -> None:
    found = differences.summary(np.array([1.0, np.nan, -1.0, 1.0]), np.arange(4), 100, 0)
    assert (found["n"], found["n_missing"], found["gained"], found["lost"]) == (3, 1, 2, 1)
    assert found["difference"] == pytest.approx(1 / 3)
    nothing = differences.summary(np.full(3, np.nan), np.arange(3), 100, 0)
    assert nothing["n"] == 0 and np.isnan([nothing["p"], nothing["ci_low"], nothing["mde"]]).all()


def test_the_interval_of_a_difference_of_differences_covers() -> None:
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(150):
        ends = {}
        for name, rate in (("one", 0.15), ("other", 0.05)):
            paper = rng.random(30) < rate * 2  # half of the questions of such a paper are lost
            values = -(paper[:, None] & (rng.random((30, 3)) < 0.5)).astype(float).ravel()
            found = differences.summary(values, np.repeat(np.arange(30), 3), 200, 0)
            ends[name] = found
        names = itemgetter("difference", "ci_low", "ci_high")
        _, low, high = bootstrap.difference(names(ends["other"]), names(ends["one"]))
        inside.append(low <= -0.10 <= high)
    assert 0.91 < np.mean(inside)
