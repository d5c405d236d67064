"""What happened to the same questions: gained, lost or neither, with interval and tests.

The planned contrasts have their own table (``statistics``). This one serves whatever else is
compared question by question: answers side by side, and weights of other precision.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from cutoff.evaluate.stats import pairs_of_rates, power
from cutoff.evaluate.stats.resampling import Array, bootstrap_intervals, sign_flip_test


def summary(values: Array, papers: NDArray[Any], replicates: int, seed: int) -> dict[str, Any]:
    """``values``: +1, -1 or 0 for every question, NaN where it has no verdict.

    Returns n (known), n_missing, n_papers, gained, lost, difference (their balance over n),
    ci_low, ci_high (95 %, whole papers resampled, and never inside ``score_interval``: where
    few questions differ, no resample holds what could have happened to the others), p (exact
    sign test on the questions that differ, which is the exact McNemar test), p_by_paper (whole
    papers flipped) and mde (the smallest difference that so many questions find with 80 %
    power, see ``power``).
    """
    known = ~np.isnan(values)
    d = values[known]
    low, high, error = bootstrap_intervals(values[:, None], papers, replicates, seed)
    gained, lost = int((d > 0).sum()), int((d < 0).sum())
    score_low, score_high = score_interval(len(d), gained, lost)
    p_by_paper = sign_flip_test(values[:, None], papers, replicates, seed)[0]
    return {
        "n": len(d),
        "n_missing": int((~known).sum()),
        "n_papers": len(np.unique(papers[known])),
        "gained": gained,
        "lost": lost,
        "difference": d.mean() if len(d) else np.nan,
        "ci_low": np.fmin(low[0], score_low),
        "ci_high": np.fmax(high[0], score_high),
        "p": pairs_of_rates.mcnemar_exact(gained, lost) if len(d) else np.nan,
        "p_by_paper": p_by_paper if len(d) else np.nan,
        "mde": power.of_questions(d, error[0])[0],
    }


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
