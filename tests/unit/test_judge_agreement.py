"""Agreement of judges: kappa against an independent implementation, intervals by paper."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from cutoff.evaluate.calibration import agreement


def judgements(codes: np.ndarray, names: str) -> list[dict[str, Any]]:
    """Judgements of answers x judges, -1 for a failed one; four answers to a paper."""
    verdicts = [*agreement.GIVEN, "judge_failed"]
    said = [dict(zip(names, [verdicts[c] for c in row], strict=True)) for row in codes]
    return [{"paper_id": n // 4, "verdicts": given} for n, given in enumerate(said)]


def drawn(n: int, judges: int, seed: int = 0) -> np.ndarray:
    """Judges that say what is true three times in four."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, n, p=[0.5, 0.4, 0.1])
    noise = rng.choice(3, (n, judges))
    return np.where(rng.random((n, judges)) < 0.75, truth[:, None], noise)


def statsmodels_kappa(codes: np.ndarray) -> float:
    confusion = np.zeros((3, 3))
    np.add.at(confusion, (codes[:, 0], codes[:, 1]), 1)
    return float(cohens_kappa(confusion).kappa)


def test_chance_alone_and_full_agreement_are_told_apart() -> None:
    assert agreement.cohen(np.array([[25, 25], [25, 25]])) == 0
    assert agreement.cohen(np.array([[30, 0], [0, 5]])) == 1
    assert np.isnan(agreement.cohen(np.array([[30, 0], [0, 0]])))  # no chance to disagree
    assert np.isnan(agreement.cohen(np.zeros((3, 3))))


def test_the_table_has_a_row_per_pair_and_leaves_failures_out() -> None:
    codes = drawn(80, 3)
    codes[:5, 2] = -1
    frame = agreement.table(judgements(codes, "abc"), 400, 0)
    assert list(frame["judges"]) == ["a and b", "a and c", "b and c"]
    assert list(frame["n"]) == [80, 75, 75] and list(frame["n_missing"]) == [0, 5, 5]
    both = codes[5:, [0, 2]]
    row = frame.set_index("judges").loc["a and c"]
    assert row["agreement"] == (both[:, 0] == both[:, 1]).mean()
    assert row["kappa"] == pytest.approx(statsmodels_kappa(both), abs=1e-12)
    assert ((frame["kappa_low"] < frame["kappa"]) & (frame["kappa"] < frame["kappa_high"])).all()
    pd.testing.assert_frame_equal(frame, agreement.table(judgements(codes, "abc"), 400, 0))


def test_the_interval_is_a_bootstrap_over_papers() -> None:
    codes = drawn(120, 2)
    row = agreement.table(judgements(codes, "ab"), 2000, 1).iloc[-1]
    rng, papers = np.random.default_rng(7), codes.reshape(30, 4, 2)
    again = [statsmodels_kappa(papers[rng.integers(0, 30, 30)].reshape(-1, 2)) for _ in range(500)]
    expected = np.quantile(again, [0.025, 0.975])
    assert [row["kappa_low"], row["kappa_high"]] == pytest.approx(expected, abs=0.03)


def test_the_reading_says_what_was_measured_and_no_more() -> None:
    def reading(codes: np.ndarray, names: str) -> str:
        return agreement.reading(agreement.table(judgements(codes, names), 100, 0))

    assert "not measured" in reading(drawn(20, 1), "a")
    assert "cannot be told" in reading(np.zeros((20, 2), dtype=int), "ab")
    assert "kappa of at least 0." in reading(drawn(200, 3), "abc")
