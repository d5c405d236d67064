"""One scale for more than two conditions: Bradley-Terry strengths, written as Elo ratings.

Bradley RA, Terry ME (1952). Rank analysis of incomplete block designs I. Biometrika 39, 324-345.
"""

import warnings

import numpy as np
import pandas as pd
import statsmodels.api as sm

from cutoff import bootstrap
from cutoff.bootstrap import Array
from cutoff.experiment import POST_STRATA
from cutoff.report.wording import label

ELO = 400 / np.log(10)  # rating points per unit of log strength: 400 points are odds of 10 to 1
MEAN_RATING = 1500
PRIOR_WINS = 0.5  # of either side of every pair, see ``ratings``
MOST_REPLICATES = 2_000  # each is a fit of a millisecond
VALUE = {"a": 0.0, "tie": 0.5, "b": 1.0}


def ratings(outcomes: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """Rating of every condition on the new papers, best first; empty with fewer than three.

    ``outcomes``: see ``pairwise.outcomes``; a tie is half a win for both and a failed judgement
    counts nowhere. Columns: condition, n (comparisons), n_papers, rating, rating_low,
    rating_high (95 %, whole papers resampled, at most ``MOST_REPLICATES`` times). The mean rating
    is 1500; b beats a with probability 1 / (1 + 10^((rating_a - rating_b) / 400)). Every pair
    gets one further drawn comparison, so that a condition that never loses has a finite rating.
    """
    known = outcomes[outcomes["stratum"].isin(POST_STRATA) & (outcomes["winner"] != "judge_failed")]
    names = list(dict.fromkeys([*known["a"], *known["b"]]))
    columns = ["condition", "n", "n_papers", "rating", "rating_low", "rating_high"]
    k = len(names)
    if k < 3:
        return pd.DataFrame(columns=columns)
    a, b = (known[side].map(names.index).to_numpy() for side in "ab")
    share = known["winner"].map(VALUE).to_numpy(dtype=float)
    wins = np.zeros((len(known), k, k))  # comparison x winner x loser
    wins[np.arange(len(known)), b, a] = share
    wins[np.arange(len(known)), a, b] = 1 - share
    by_paper = bootstrap.totals(wins.reshape(len(known), k * k), known["paper_id"].to_numpy())

    def rated(sums: Array) -> Array:
        return MEAN_RATING + ELO * np.array([strengths(row.reshape(k, k)) for row in sums])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels takes a draw that fits exactly for a fault
        found = bootstrap.intervals(by_paper, rated, min(replicates, MOST_REPLICATES), seed)
    played = np.rint(wins.sum(axis=(0, 1)) + wins.sum(axis=(0, 2))).astype(int)
    values = (names, played, len(by_paper), *found[:3])
    rows = pd.DataFrame(dict(zip(columns, values, strict=True)))
    return rows.sort_values("rating", ascending=False, kind="stable").reset_index(drop=True)


def strengths(wins: Array) -> Array:
    """Log strengths that sum to zero: a logistic regression of who wins on who plays.

    ``wins[i, j]``: how often i beat j, a tie counting half for both.
    """
    k = len(wins)
    first, second = np.triu_indices(k, 1)
    design = (np.eye(k)[first] - np.eye(k)[second])[:, 1:]  # the strength of the first is zero
    won_and_lost = np.column_stack([wins[first, second], wins[second, first]]) + PRIOR_WINS
    found = sm.GLM(won_and_lost, design, family=sm.families.Binomial()).fit().params
    found = np.concatenate([[0.0], found])
    return np.asarray(found - found.mean())


def reading(frame: pd.DataFrame) -> str:
    """The order in a sentence; empty where there are no ratings."""
    order = ", ".join(
        f"{label(row.condition)} {row.rating:.0f} ({row.rating_low:.0f} to {row.rating_high:.0f})"
        for row in frame.itertuples()
    )
    return f"**On one scale (Elo; 100 points are odds of 1.8 to 1): {order}.**" if order else ""
