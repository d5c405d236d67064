"""Agreement of judges: kappas against independent implementations, intervals by paper."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from cutoff.evaluate.calibration import agreement

Record = dict[str, Any]


def judgements(codes: np.ndarray, names: str) -> list[Record]:
    """Judgements of answers x judges, -1 for a failed one; four answers to a paper."""
    verdicts = [*agreement.GIVEN, "judge_failed"]
    return [
        {
            "paper_id": n // 4,
            "verdicts": {k: verdicts[c] for k, c in zip(names, row, strict=True)},
        }
        for n, row in enumerate(codes)
    ]


def drawn(n: int, judges: int, seed: int = 0) -> np.ndarray:
    """Judges that say what is true three times in four."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, n, p=[0.5, 0.4, 0.1])
    noise = rng.choice(3, (n, judges))
    return np.where(rng.random((n, judges)) < 0.75, truth[:, None], noise)


def test_cohens_kappa_is_that_of_statsmodels() -> None:
    codes = drawn(200, 2)
    confusion = np.zeros((3, 3))
    np.add.at(confusion, (codes[:, 0], codes[:, 1]), 1)
    assert agreement.cohen(confusion) == pytest.approx(cohens_kappa(confusion).kappa, abs=1e-12)


def fleiss(counts: np.ndarray) -> float:
    """Of answers x categories, in the way of the table."""
    m = counts.sum(axis=1)
    agreeing = ((counts**2).sum(axis=1) - m) / (m * (m - 1))
    return float(agreement.fleiss(counts.sum(axis=0), agreeing.sum(), np.array(len(counts))))


def test_fleiss_kappa_is_that_of_statsmodels_and_of_the_article() -> None:
    codes = drawn(200, 4)
    counts = np.stack([(codes == k).sum(axis=1) for k in range(3)], axis=1)
    assert fleiss(counts) == pytest.approx(fleiss_kappa(counts), abs=1e-12)
    table = agreement.table(judgements(codes, "abcd"), 50, 0)
    assert table["kappa"].iloc[-1] == pytest.approx(fleiss_kappa(counts), abs=1e-12)
    # Fleiss (1971), as worked through in his table: 10 subjects, 14 raters, 5 categories.
    article = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss(np.array(article)) == pytest.approx(0.210, abs=5e-4)


def test_chance_alone_and_full_agreement_are_told_apart() -> None:
    assert agreement.cohen(np.array([[25, 25], [25, 25]])) == 0
    assert agreement.cohen(np.array([[30, 0], [0, 5]])) == 1
    assert np.isnan(agreement.cohen(np.array([[30, 0], [0, 0]])))  # no chance to disagree
    assert np.isnan(agreement.cohen(np.zeros((3, 3))))


def test_the_table_has_a_row_per_pair_and_one_for_all_and_leaves_failures_out() -> None:
    codes = drawn(80, 3)
    codes[:5, 2] = -1
    frame = agreement.table(judgements(codes, "abc"), 400, 0)
    assert list(frame["judges"]) == ["a and b", "a and c", "b and c", "all"]
    assert list(frame["n"]) == [80, 75, 75, 75] and list(frame["n_missing"]) == [0, 5, 5, 5]
    both = codes[5:, [0, 2]]
    row = frame.set_index("judges").loc["a and c"]
    assert row["agreement"] == (both[:, 0] == both[:, 1]).mean()
    assert ((frame["kappa_low"] < frame["kappa"]) & (frame["kappa"] < frame["kappa_high"])).all()
    pd.testing.assert_frame_equal(frame, agreement.table(judgements(codes, "abc"), 400, 0))


def test_the_interval_of_all_is_a_bootstrap_of_fleiss_kappa_over_papers() -> None:
    codes = drawn(120, 3)
    counts = np.stack([(codes == k).sum(axis=1) for k in range(3)], axis=1)
    row = agreement.table(judgements(codes, "abc"), 2000, 1).iloc[-1]
    rng = np.random.default_rng(7)
    papers = counts.reshape(30, 4, 3)
    kappas = [fleiss_kappa(papers[rng.integers(0, 30, 30)].reshape(-1, 3)) for _ in range(1000)]
    assert [row["kappa_low"], row["kappa_high"]] == pytest.approx(
        np.quantile(kappas, [0.025, 0.975]), abs=0.03
    )


def test_the_reading_says_what_was_measured_and_no_more() -> None:
    def reading(codes: np.ndarray, names: str) -> str:
        return agreement.reading(agreement.table(judgements(codes, names), 100, 0))

    assert "not measured" in reading(drawn(20, 1), "a")
    assert "cannot be told" in reading(np.zeros((20, 2), dtype=int), "ab")
    assert "Fleiss’ kappa" in reading(drawn(200, 3), "abc")
