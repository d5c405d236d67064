"""One scale for more than two conditions: Bradley-Terry strengths, written as Elo ratings.

ratings = bradley_terry.ratings(pairwise.outcomes(records, questions), replicates, seed)
"""

import numpy as np
import pandas as pd
from scipy import stats

from cutoff.bootstrap import Array
from cutoff.experiment import POST_STRATA

ELO = 400 / np.log(10)  # rating points per unit of log strength: 400 points are odds of 10 to 1
MEAN_RATING = 1500
PRIOR_WINS = 0.5  # of either side of every pair, see ``ratings``
VALUE = {"a": 0.0, "tie": 0.5, "b": 1.0}


def ratings(outcomes: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """Rating of every condition on the new papers, best first; empty with fewer than three.

    ``outcomes``: see ``pairwise.outcomes``; a tie is half a win for both and a failed judgement
    counts nowhere. Columns: condition, n (comparisons), n_papers, rating, rating_low,
    rating_high (95 %, whole papers resampled). The mean rating is 1500; b beats a with
    probability 1 / (1 + 10^((rating_a - rating_b) / 400)), a tie being half a win. Every pair
    gets one further drawn comparison, so that a condition that never loses has a finite
    rating; with 100 comparisons that moves a rating by a point or two.

    Bradley RA, Terry ME (1952). Rank analysis of incomplete block designs I. Biometrika 39,
    324-345. Percentiles are expanded as in ``bootstrap.intervals``.
    """
    known = outcomes[outcomes["stratum"].isin(POST_STRATA) & (outcomes["winner"] != "judge_failed")]
    names = list(dict.fromkeys([*known["a"], *known["b"]]))
    columns = ["condition", "n", "n_papers", "rating", "rating_low", "rating_high"]
    if len(names) < 3:
        return pd.DataFrame(columns=columns)
    wins = _wins_by_paper(known, names)
    g, k = len(wins), len(names)
    estimate = MEAN_RATING + ELO * strengths(wins.sum(axis=0))
    low = high = np.full(k, np.nan)
    if g > 1:
        drawn = np.random.default_rng(seed).multinomial(g, np.full(g, 1 / g), size=replicates)
        resampled = (drawn @ wins.reshape(g, k * k)).reshape(replicates, k, k)
        spread = MEAN_RATING + ELO * strengths(resampled)
        tail = stats.norm.cdf(stats.t.ppf(0.025, g - 1) * (g / (g - 1)) ** 0.5)
        low, high = np.quantile(spread, [tail, 1 - tail], axis=0)
    total = wins.sum(axis=0)
    rows = pd.DataFrame(
        {
            "condition": names,
            "n": np.rint(total.sum(axis=0) + total.sum(axis=1)).astype(int),
            "n_papers": g,
            "rating": estimate,
            "rating_low": low,
            "rating_high": high,
        }
    )
    return rows.sort_values("rating", ascending=False, kind="stable").reset_index(drop=True)


def strengths(wins: Array) -> Array:
    """Log strengths that sum to zero, of greatest (penalised) likelihood, by Newton's method.

    ``wins[..., i, j]``: how often i beat j, a tie counting half for both. Leading axes are
    separate data sets.
    """
    k = wins.shape[-1]
    wins = wins + np.where(np.eye(k, dtype=bool), 0.0, PRIOR_WINS)
    played = wins + np.swapaxes(wins, -1, -2)
    found = np.zeros(wins.shape[:-1])
    for _ in range(100):
        expected = 1 / (1 + np.exp(found[..., None, :] - found[..., :, None]))
        gradient = (wins - played * expected).sum(axis=-1)
        if np.abs(gradient).max() < 1e-9 * max(1.0, float(played.max())):
            break
        weight = played * expected * (1 - expected)
        curvature = weight.sum(axis=-1)[..., None] * np.eye(k) - weight + 1 / k
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        # One unit at most: far from the top, Newton's step can overshoot.
        found = found + step / np.maximum(1.0, np.abs(step).max(axis=-1, keepdims=True))
    return found - found.mean(axis=-1, keepdims=True)


def reading(frame: pd.DataFrame) -> str:
    """The order in a sentence; empty where there are no ratings."""
    if frame.empty:
        return ""
    from cutoff.report.wording import label

    order = ", ".join(
        f"{label(row.condition)} {row.rating:.0f} ({row.rating_low:.0f} to {row.rating_high:.0f})"
        for row in frame.itertuples()
    )
    return (
        f"**On one scale (Bradley-Terry, as Elo ratings, 95\u00a0% intervals in brackets): {order}."
        "** 100 points are odds of 1.8 to 1. Overlapping intervals are no test: whether two "
        "conditions differ stands in the table of pairs."
    )


def _wins_by_paper(outcomes: pd.DataFrame, names: list[str]) -> Array:
    """Papers x winner x loser."""
    papers, labels = pd.factorize(outcomes["paper_id"])
    place = {name: i for i, name in enumerate(names)}
    a, b = outcomes["a"].map(place).to_numpy(), outcomes["b"].map(place).to_numpy()
    share = outcomes["winner"].map(VALUE).to_numpy(dtype=float)
    wins = np.zeros((len(labels), len(names), len(names)))
    np.add.at(wins, (papers, b, a), share)
    np.add.at(wins, (papers, a, b), 1 - share)
    return wins
