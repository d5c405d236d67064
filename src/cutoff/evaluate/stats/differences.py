"""What happened to the same questions: gained, lost or neither, with interval and tests.

``paired`` serves the planned contrasts (``effect_table``), ``summary`` whatever else is compared
question by question: answers side by side, other contexts, weights of other precision.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from cutoff import bootstrap
from cutoff.bootstrap import Array
from cutoff.evaluate.stats import power


def paired(values: Array, papers: NDArray[Any], replicates: int, seed: int) -> pd.DataFrame:
    """A row per column of ``values``: questions x comparisons, NaN where a verdict is missing.

    Columns: n (known), n_missing, n_papers, gained and lost (questions above and below 0),
    difference (mean), standard_error, ci_low, ci_high (95 %, whole papers resampled), p (exact
    McNemar test: the sign test on the questions that differ), p_by_paper (whole papers
    flipped), mde and n_for_5_points (see ``power.of_questions``). Missing where n is 0.
    """
    found = bootstrap.means(values, papers, replicates, seed)
    p_by_paper = sign_flip_test(values, papers, replicates, seed)
    rows = []
    for i, column in enumerate(values.T):
        known = ~np.isnan(column)
        d = column[known]
        gained, lost = int((d > 0).sum()), int((d < 0).sum())
        mde, n_for_5_points = power.of_questions(d, found.standard_error[i])
        rows.append(
            {
                "n": len(d),
                "n_missing": int((~known).sum()),
                "n_papers": len(np.unique(papers[known])),
                "gained": gained,
                "lost": lost,
                "difference": found.estimate[i],
                "standard_error": found.standard_error[i],
                "ci_low": found.low[i],
                "ci_high": found.high[i],
                "p": mcnemar_exact(gained, lost) if len(d) else np.nan,
                "p_by_paper": p_by_paper[i] if len(d) else np.nan,
                "mde": mde,
                "n_for_5_points": n_for_5_points,
            }
        )
    return pd.DataFrame(rows)


def summary(values: Array, papers: NDArray[Any], replicates: int, seed: int) -> dict[str, Any]:
    """``paired`` of one comparison: +1, -1 or 0 for every question.

    The interval is never inside ``score_interval``: where few questions differ, no resample
    holds what could have happened to the others.
    """
    found = paired(values[:, None], papers, replicates, seed).to_dict("records")[0]
    low, high = score_interval(found["n"], found["gained"], found["lost"])
    ends = {
        "ci_low": np.fmin(found["ci_low"], low),
        "ci_high": np.fmax(found["ci_high"], high),
    }
    return {str(name): value for name, value in found.items()} | ends


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact McNemar p from the discordant pairs; 1 when no pair disagrees."""
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost).pvalue)


def sign_flip_test(values: Array, papers: NDArray[Any], replicates: int, seed: int) -> Array:
    """Two-sided p per column that the mean is zero, flipping the sign of whole papers.

    If training changes nothing, the two sides of a contrast are exchangeable within a
    paper, for all its questions at once. The observed sign pattern counts as one draw,
    so p is never zero. 1 where every paper sums to zero.
    """
    sums = bootstrap.totals(np.nan_to_num(values), papers)
    rng = np.random.default_rng(seed)
    signs = rng.integers(0, 2, size=(replicates, len(sums))) * 2.0 - 1.0
    extreme = np.abs(signs @ sums) >= np.abs(sums.sum(axis=0)) - 1e-9
    return np.asarray((extreme.sum(axis=0) + 1) / (replicates + 1))


def score_interval(n: int, gained: int, lost: int) -> tuple[float, float]:
    """Tango's 95 % score interval of (gained - lost) / n; missing without questions.

    It takes one question for as good as another, but keeps its coverage where few differ.

    Tango T (1998). Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design. Statistics in Medicine 17, 891-908.
    """
    if n == 0:
        return np.nan, np.nan
    z = float(stats.norm.ppf(0.975))
    estimate = (gained - lost) / n

    def distance(d: float) -> float:
        # The share lost, of greatest likelihood among those with a difference of d.
        b = -gained - lost + (2 * n - gained + lost) * d
        c = -lost * d * (1 - d)
        share = (max(b * b - 8 * n * c, 0.0) ** 0.5 - b) / (4 * n)
        return (n * (estimate - d)) ** 2 - z * z * n * max(2 * share + d * (1 - d), 0.0)

    # Negative beside the estimate (at 0 of 0 it touches zero), positive at the ends or beyond.
    ends = [
        end
        if end == estimate or distance(end) <= 0
        else float(optimize.brentq(distance, estimate + 1e-9 * end, end, xtol=1e-12))
        for end in (-1.0, 1.0)
    ]
    return ends[0], ends[1]
