"""Ratings from pairs: the maximum of the likelihood, and intervals that know papers."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from cutoff.evaluate.pairs import bradley_terry

NAMES = ["base", "base_rag", "rag_ft", "rag_ft_rag"]
SKILL = np.array([-0.8, 0.3, -0.2, 0.7])


def play(n_questions: int, seed: int, per_paper: int = 1) -> pd.DataFrame:
    """Every pair on every question; questions of one paper have the same outcome."""
    rng = np.random.default_rng(seed)
    rows = []
    for question in range(n_questions):
        if question % per_paper == 0:
            luck = {pair: rng.random() for pair in itertools.combinations(range(4), 2)}
        for (i, j), drawn in luck.items():
            b_wins = drawn < 1 / (1 + np.exp(SKILL[i] - SKILL[j]))
            rows.append((f"q{question}", f"p{question // per_paper}", NAMES[i], NAMES[j], b_wins))
    frame = pd.DataFrame(rows, columns=["question_id", "paper_id", "a", "b", "winner"])
    return frame.assign(winner=np.where(frame["winner"], "b", "a"), stratum="seen")


def test_strengths_are_the_maximum_of_the_penalised_likelihood() -> None:
    wins = np.array([[0, 12, 7.5, 3], [20, 0, 9, 8], [4.5, 11, 0, 1], [30, 6, 14, 0]])

    def minus_log_likelihood(free: np.ndarray) -> float:
        s = np.array([0.0, *free])
        won = (wins + bradley_terry.PRIOR_WINS) * (1 - np.eye(4))
        return float((won * np.log1p(np.exp(s[None, :] - s[:, None]))).sum())

    expected = np.array([0.0, *optimize.minimize(minus_log_likelihood, np.zeros(3)).x])
    found = bradley_terry.strengths(wins)
    assert found == pytest.approx(expected - expected.mean(), abs=1e-4)
    assert bradley_terry.strengths(wins.T) == pytest.approx(-found, abs=1e-6)
    found = bradley_terry.strengths(10_000 * np.triu(np.ones((3, 3)), 1))  # who never loses
    assert np.isfinite(found).all() and found[0] > found[1] > found[2]


def test_ratings_find_the_truth_within_their_intervals_and_centre_on_1500() -> None:
    truth = bradley_terry.MEAN_RATING + bradley_terry.ELO * (SKILL - SKILL.mean())
    inside = []
    for seed in range(12):
        found = bradley_terry.ratings(play(80, seed, 2), replicates=120).set_index("condition")
        assert found["rating"].mean() == pytest.approx(1500)
        assert (found["n"] == 240).all() and (found["n_papers"] == 40).all()
        rows = found.loc[NAMES]
        inside += list((rows["rating_low"] <= truth) & (truth <= rows["rating_high"]))
    assert 0.85 < np.mean(inside) <= 1  # 48 intervals


def test_a_tie_is_half_a_win_and_a_failure_counts_nowhere() -> None:
    frame = play(30, 1)
    level = bradley_terry.ratings(frame.assign(winner="tie"), replicates=50)
    assert level["rating"].tolist() == pytest.approx([1500] * 4)
    failed = frame.assign(winner="judge_failed", question_id="x" + frame["question_id"])
    both = bradley_terry.ratings(pd.concat([frame, failed]), replicates=50)
    pd.testing.assert_frame_equal(both, bradley_terry.ratings(frame, replicates=50))


def test_two_conditions_and_old_papers_have_no_ratings() -> None:
    frame = play(10, 0)
    assert bradley_terry.ratings(frame[frame["a"].eq("base") & frame["b"].eq("rag_ft")]).empty
    assert bradley_terry.ratings(frame.assign(stratum="control")).empty
    assert bradley_terry.reading(bradley_terry.ratings(frame[:0])) == ""
