"""Detectable effects and needed questions: published values, simulation, and clusters."""

import math

import numpy as np
import pytest

from cutoff.evaluate.stats import power


@pytest.mark.parametrize("n, points", [(72, 16.2), (154, 11.2), (800, 4.9)])
def test_mde_reproduces_the_published_plan(n: int, points: float) -> None:
    assert round(100 * power.minimum_detectable_effect(n, 0.25), 1) == points


def test_mde_has_the_power_it_promises() -> None:
    n, psi = 154, 0.25
    d = power.minimum_detectable_effect(n, psi)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(n, [(psi + d) / 2, (psi - d) / 2, 1 - psi], size=4000)
    z = (counts[:, 0] - counts[:, 1]) / np.sqrt(counts[:, 0] + counts[:, 1])
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.03)


def test_mde_without_any_discordance_is_not_zero() -> None:
    d = power.minimum_detectable_effect(80, 0.0)
    assert 0.05 < d < 0.15
    assert math.isnan(power.minimum_detectable_effect(3, 0.25))


def test_sample_size_is_that_of_the_r_package_mess() -> None:
    """Its own test: power_mcnemar_test(paid = .05, psi = 45 / 5, power = .8) needs 22 pairs."""
    smaller, larger = 0.05, 0.45
    assert round(power.sample_size(larger - smaller, larger + smaller)) == 22


@pytest.mark.parametrize("n, psi", [(72, 0.25), (154, 0.5), (800, 0.0), (5000, 0.02)])
def test_sample_size_is_the_inverse_of_the_detectable_effect(n: int, psi: float) -> None:
    d = power.minimum_detectable_effect(n, psi)
    assert power.sample_size(d, psi) == pytest.approx(n, rel=1e-6)


def test_pairs_that_hang_together_need_as_many_more_as_their_design_effect() -> None:
    d = np.repeat([1.0, 0.0, -1.0, 0.0], 50)
    independent = (d.var() / len(d)) ** 0.5
    alone = power.of_questions(d, independent)
    clustered = power.of_questions(d, 2 * independent)  # four times the variance
    assert clustered[1] == pytest.approx(4 * alone[1], abs=4)
    assert clustered[0] == pytest.approx(power.minimum_detectable_effect(50, 0.5))
    assert power.of_questions(d, independent / 2) == alone  # luck is not counted
    assert all(math.isnan(value) for value in power.of_questions(d[:0], 0.1))
