"""Pairs against statsmodels and against values that R packages and books document."""

import math

import pytest
from statsmodels.stats.contingency_tables import mcnemar

from cutoff.evaluate.stats import pairs_of_rates


@pytest.mark.parametrize("gained, lost", [(0, 0), (1, 0), (6, 0), (13, 4), (40, 41), (300, 2)])
def test_exact_mcnemar_agrees_with_statsmodels(gained: int, lost: int) -> None:
    expected = mcnemar([[10, lost], [gained, 7]], exact=True).pvalue
    assert pairs_of_rates.mcnemar_exact(gained, lost) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("wins, losses, p", [(62, 51, 0.347), (42, 44, 0.914), (45, 48, 0.836)])
def test_exact_mcnemar_reproduces_published_sign_tests(wins: int, losses: int, p: float) -> None:
    assert round(pairs_of_rates.mcnemar_exact(wins, losses), 3) == p


def test_newcombe_interval_is_that_of_the_r_package_contingencytables() -> None:
    """Its test of Newcombe_square_and_add_CI_paired_2x2 on rbind(c(59, 6), c(16, 80)),
    first minus second: -0.0621 (-0.1186 to -0.0046)."""
    low, high = pairs_of_rates.newcombe_interval(both=59, gained=16, lost=6, neither=80)
    assert (round(low, 4), round(high, 4)) == (0.0046, 0.1186)


def test_newcombe_interval_changes_sides_with_the_pairs() -> None:
    low, high = pairs_of_rates.newcombe_interval(30, 12, 3, 40)
    assert pairs_of_rates.newcombe_interval(30, 3, 12, 40) == pytest.approx((-high, -low))


@pytest.mark.parametrize(
    "both, gained, lost, neither", [(0, 0, 0, 40), (40, 0, 0, 0), (0, 40, 0, 0), (0, 0, 40, 0)]
)
def test_newcombe_interval_is_never_empty_and_stays_on_the_scale(
    both: int, gained: int, lost: int, neither: int
) -> None:
    low, high = pairs_of_rates.newcombe_interval(both, gained, lost, neither)
    assert -1 <= low < high <= 1
    assert low - 1e-12 <= (gained - lost) / 40 <= high + 1e-12
    assert 0.05 < high - low < 0.2


def test_newcombe_interval_without_pairs_is_missing() -> None:
    assert all(math.isnan(end) for end in pairs_of_rates.newcombe_interval(0, 0, 0, 0))
