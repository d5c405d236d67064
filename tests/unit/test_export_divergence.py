"""The divergence against computations over all tokens, and the properties it must have."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from cutoff.export.parity import divergence

N_TOKENS = 300
seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, N_TOKENS)
sharpness = st.floats(0.1, 8)


def log_probabilities(seed: int, scale: float = 3.0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(scale=scale, size=N_TOKENS)
    return special.log_softmax(logits).astype(np.float32)


def most_probable(log_p: np.ndarray, n: int) -> dict[int, float]:
    return {int(i): float(log_p[i]) for i in np.argsort(-log_p)[:n]}


@given(seeds, seeds, sharpness)
def test_with_every_token_it_is_the_divergence_of_scipy_and_torch(
    a: int, b: int, scale: float
) -> None:
    p, q = log_probabilities(a, scale), log_probabilities(b, scale)
    value = divergence.nats(p, most_probable(q, N_TOKENS))
    assert value == pytest.approx(stats.entropy(np.exp(p), np.exp(q)), abs=2e-4, rel=1e-4)
    of_torch = torch.nn.functional.kl_div(
        torch.from_numpy(q).double(), torch.from_numpy(p).double(), log_target=True, reduction="sum"
    )
    assert value == pytest.approx(float(of_torch), abs=2e-4, rel=1e-4)


@given(seeds, seeds, counts, sharpness)
def test_with_some_tokens_it_is_a_lower_bound_and_never_negative(
    a: int, b: int, n: int, scale: float
) -> None:
    p, q = log_probabilities(a, scale), log_probabilities(b, scale)
    value = divergence.nats(p, most_probable(q, n))
    whole = float(special.rel_entr(np.exp(p, dtype=float), np.exp(q, dtype=float)).sum())
    assert 0 <= value <= whole + 1e-4


@given(seeds, counts, sharpness)
def test_equal_probabilities_diverge_by_nothing(seed: int, n: int, scale: float) -> None:
    p = log_probabilities(seed, scale)
    assert divergence.nats(p, most_probable(p, n)) < 1e-6


def test_a_server_that_is_sure_of_the_wrong_token_costs_whole_nats() -> None:
    p = np.log(np.array([0.98, 0.01, 0.01], dtype=np.float32))
    assert divergence.nats(p, {2: np.log(0.999)}) > 5
    assert np.isfinite(divergence.nats(p, {2: 0.0}))  # all of the mass: nothing is left over


@given(st.integers(1, 200))
def test_places_are_spread_over_the_answer_with_both_its_ends(n: int) -> None:
    found = divergence.places(n)
    assert found[0] == 0 and found[-1] == n - 1
    assert len(found) == min(n, divergence.PLACES) == len(set(found))


def test_an_empty_answer_has_no_place() -> None:
    assert divergence.places(0) == []
