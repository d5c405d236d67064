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
    (95 %, see ``bootstrap.means``). Missing values count nowhere.
    """
    frames = []
    for stratum, part in by_stratum(frame, strata):
        for condition, own in part.groupby("condition", sort=False):
            values, papers = own[list(measures)].astype(float), own["paper_id"]
            known = values.notna()
            found = bootstrap.means(values.to_numpy(), papers.to_numpy(), replicates, seed)
            floor = np.where((values < 0).any(), -np.inf, 0.0)  # a share cannot fall below 0
            columns = {
                "stratum": stratum,
                "condition": condition,
                "measure": list(measures),
                "n": known.sum().to_numpy(),
                "n_papers": [papers[known[name]].nunique() for name in measures],
                "estimate": found.estimate,
                "ci_low": np.maximum(found.low, floor),
                "ci_high": found.high,
            }
            frames.append(pd.DataFrame(columns))
    names = "stratum condition measure n n_papers estimate ci_low ci_high".split()
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=names)


def grid(table: pd.DataFrame, measures: Sequence[str], stratum: str = "all_post") -> pd.DataFrame:
    """``by_condition`` for reading: a row per condition, a column per measure, means only."""
    rows = table[(table["stratum"] == stratum) & table["measure"].isin(list(measures))]
    wide = rows.pivot(index="condition", columns="measure", values="estimate")
    wide = wide.reindex(index=list(dict.fromkeys(rows["condition"])), columns=list(measures))
    return wide.astype(float).round(3).reset_index().rename_axis(columns=None)


def by_stratum(
    frame: pd.DataFrame, strata: Sequence[str] = STRATA
) -> list[tuple[str, pd.DataFrame]]:
    """(stratum, its rows) for every stratum that has any; ``all_post`` pools the new papers."""
    groups = [
        (name, frame[frame["stratum"].isin(POST_STRATA if name == "all_post" else (name,))])
        for name in strata
    ]
    return [(name, part) for name, part in groups if len(part)]
