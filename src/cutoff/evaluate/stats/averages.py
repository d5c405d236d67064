"""Means of any measure by condition, with whole papers resampled."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cutoff import bootstrap
from cutoff.experiment import POST_STRATA, STRATA


def by_condition(
    frame: pd.DataFrame,
    measures: Sequence[str],
    replicates: int = 10_000,
    seed: int = 0,
    strata: Sequence[str] = STRATA,
) -> pd.DataFrame:
    """Mean of every measure under every condition, tidy: one row each, per stratum.

    ``frame``: a row per question and condition with paper_id, stratum, condition and the
    measures (numbers, flags or missing). Columns: stratum (``all_post`` pools the new
    papers), condition, measure, n (known values), n_papers, estimate, ci_low, ci_high
    (95 %). Missing values count nowhere; an interval is missing where there is one paper
    only, or where a measure never varies without being 0 or 1.
    """
    rows = []
    for stratum, part in by_stratum(frame, strata):
        for condition, own in part.groupby("condition", sort=False):
            values = own[list(measures)].astype(float).to_numpy()
            papers = own["paper_id"].to_numpy()
            _, low, high, _ = bootstrap.means(values, papers, replicates, seed)
            for i, measure in enumerate(measures):
                known = values[:, i][~np.isnan(values[:, i])]
                ends = _sound(known, low[i], high[i])
                n_papers = len(set(papers[~np.isnan(values[:, i])]))
                mean = known.mean() if len(known) else np.nan
                rows.append((stratum, condition, measure, len(known), n_papers, mean, *ends))
    names = "stratum condition measure n n_papers estimate ci_low ci_high".split()
    return pd.DataFrame(rows, columns=names)


def by_stratum(
    frame: pd.DataFrame, strata: Sequence[str] = STRATA
) -> list[tuple[str, pd.DataFrame]]:
    """(stratum, its rows) for every stratum that has any; ``all_post`` pools the new papers."""
    groups = [
        (name, frame[frame["stratum"].isin(POST_STRATA if name == "all_post" else (name,))])
        for name in strata
    ]
    return [(name, part) for name, part in groups if len(part)]


def _sound(known: "np.ndarray", low: float, high: float) -> tuple[float, float]:
    """The interval within the scale of a share, where the values are shares. Where nothing varies
    only all 0 or all 1 has the score interval that ``bootstrap.means`` falls back to."""
    if not len(known) or (np.ptp(known) == 0 and known[0] not in (0, 1)):
        return np.nan, np.nan
    share = known.min() >= 0 and known.max() <= 1
    return (max(0.0, low), min(1.0, high)) if share else (low, high)
