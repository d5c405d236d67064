"""The spread between trainings is computed, is part of the interval, and is missing with one."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cutoff.evaluate.stats import trainings


def contrasts(qa: float, rag_style: float, error: float = 0.03) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": ["rag", "ft_closed_book_instruct", "ft_under_rag_rag", "ft_under_rag_rag"],
            "stratum": ["all_post", "seen", "all_post", "control"],
            "planned": [True, True, True, False],
            "difference": [0.8, qa, rag_style, 0.5],
            "standard_error": [0.05, error, error, 0.2],
            "n_papers": 40,
        }
    )


def test_the_spread_is_the_standard_deviation_of_planned_contrasts_of_trained_models() -> None:
    table = trainings.spread({0: contrasts(0.5, 0.1), 1: contrasts(0.7, -0.1)})
    assert list(table["name"]) == ["ft_closed_book_instruct", "ft_under_rag_rag"]
    assert table["sd"].tolist() == pytest.approx([math.sqrt(0.02)] * 2)
    sentence = trainings.reading(table)
    assert "Between 2 trainings" in sentence and "at most 14.1" in sentence
    assert "1 of 2 contrasts keep their direction" in sentence


def test_the_interval_holds_both_components_and_says_how_much_is_training() -> None:
    """Three seeds with sd .1 and a standard error over papers of .03, by hand."""
    table = trainings.spread({s: contrasts(0.5 + d, 0.1) for s, d in enumerate((-0.1, 0, 0.1))})
    row = table.iloc[0]
    papers, seeds = 0.03**2, 0.1**2 / 3
    freedom = (papers + seeds) ** 2 / (papers**2 / 39 + seeds**2 / 2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(papers + seeds)
    assert (row["mean"], row["sd"]) == pytest.approx((0.5, 0.1))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((0.5 - half, 0.5 + half))
    assert row["seed_share"] == pytest.approx(0.1**2 / (0.1**2 + 0.03**2))
    same = table.iloc[1]  # no spread: the papers' interval, and nothing due to training
    assert same["ci_high"] - same["mean"] == pytest.approx(stats.t.ppf(0.975, 39) * 0.03)
    assert same["seed_share"] == pytest.approx(0, abs=1e-12)


def test_the_interval_covers_the_mean_effect_of_training_where_papers_alone_do_not() -> None:
    """3,000 experiments of three trainings: papers shared by the seeds, a share of their own."""
    rng = np.random.default_rng(0)
    error, sd, seeds = 0.03, 0.05, 3
    experiments = 3000
    luck = rng.normal(0, error, experiments)[:, None] + rng.normal(0, sd, (experiments, seeds))
    frames = {
        s: pd.DataFrame(
            {
                "name": [f"c{i}" for i in range(experiments)],
                "stratum": "seen",
                "planned": True,
                "difference": 0.2 + luck[:, s],
                "standard_error": error,
                "n_papers": 40,
            }
        )
        for s in range(seeds)
    }
    table = trainings.spread(frames)
    inside = ((table["ci_low"] <= 0.2) & (0.2 <= table["ci_high"])).mean()
    half = stats.t.ppf(0.975, 39) * error
    papers_only = (abs(table["seed 0"] - 0.2) <= half).mean()
    assert 0.94 <= inside <= 0.975
    assert papers_only < 0.75


def test_one_training_has_no_spread() -> None:
    table = trainings.spread({0: contrasts(0.5, 0.1)})
    assert table[["sd", "ci_low", "ci_high", "seed_share"]].isna().all(axis=None)
    assert "not known" in trainings.reading(table)
