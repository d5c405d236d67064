"""Judge-free measures against the judge, and the planned contrasts without one.

A measure that ranks right answers above wrong ones supports the judge; a conclusion that all
of them share does not depend on it.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cutoff import bootstrap
from cutoff.bootstrap import Array
from cutoff.evaluate.calibration.agreement import cohen
from cutoff.evaluate.diagnostics.metrics import QUALITY, SHARES
from cutoff.evaluate.stats import differences
from cutoff.evaluate.stats.averages import by_stratum
from cutoff.evaluate.stats.effect_table import by_question, contrast_values
from cutoff.experiment import CONTRASTS
from cutoff.report.wording import label

LEADING = "stated"  # fixed before any result: a measure chosen by its result would prove nothing
DIGITS = 3  # of a score, for ranking


def agreement(scores: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """How well each measure tells answers that the judge passed from those that it did not.

    ``scores`` are those of ``metrics``. Columns: measure, n (answers with both), n_papers,
    passed, auc, auc_low, auc_high (95 %, papers resampled), same and kappa. ``auc`` is the
    chance that a passed answer scores higher than a failed one, ties half (Mann-Whitney): 0.5 is
    no agreement, 1 is perfect; missing where the judge passed all or none, and without an
    interval where resampling never changes it. ``same`` is the share of equal decisions and
    ``kappa`` Cohen's, for flags only. Answers without a verdict or a score do not count.
    """
    rows = []
    for measure in QUALITY:
        known = scores.dropna(subset=["passed", measure])
        passed = known["passed"].astype(bool).to_numpy()
        values, papers = known[measure].to_numpy(float), known["paper_id"].to_numpy()
        auc, low, high = _auc(values, passed, papers, replicates, seed)
        row = {"measure": measure, "n": len(known), "n_papers": len(set(papers))}
        row |= {"passed": int(passed.sum()), "auc": auc, "auc_low": low, "auc_high": high}
        if measure in SHARES and len(known):
            flags = values > 0.5
            both = [[np.sum((flags == a) & (passed == b)) for b in (0, 1)] for a in (0, 1)]
            row |= {"same": (flags == passed).mean(), "kappa": float(cohen(np.array(both, float)))}
        rows.append(row)
    names = "measure n n_papers passed auc auc_low auc_high same kappa".split()
    return pd.DataFrame(rows).reindex(columns=names)


def contrasts(scores: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """The planned contrasts of every measure: the same questions, the same differences, no judge.

    Columns: measure, name, stratum, n (questions known on all sides), n_papers, difference,
    ci_low, ci_high (95 %, papers resampled), p_by_paper (whole papers flipped, not adjusted).
    A difference of a score is in the score's own unit, not in points of pass rate.
    """
    frames = []
    for stratum, part in by_stratum(scores):
        planned = [contrast for contrast in CONTRASTS if stratum in contrast.planned]
        for measure in QUALITY if planned else ():
            wide = by_question(part, measure)
            values = {name: wide[name].to_numpy() for name in wide.columns}
            columns = np.column_stack([contrast_values(values, c) for c in planned])
            papers = wide.index.get_level_values("paper_id").to_numpy()
            found = differences.paired(columns, papers, replicates, seed)
            names = [contrast.name for contrast in planned]
            frames.append(found.assign(measure=measure, name=names, stratum=stratum))
    names = "measure name stratum n n_papers difference ci_low ci_high p_by_paper".split()
    return pd.concat(frames or [pd.DataFrame(columns=names)], ignore_index=True)[names]


def support(planned: pd.DataFrame, judge_free: pd.DataFrame) -> pd.DataFrame:
    """Judge and measures side by side: which direction each gives to every planned contrast.

    ``planned``: ``effect_table.planned_contrasts``; ``judge_free``: ``contrasts``. One row per
    planned contrast: name, stratum, judge, and a column per measure, each ``up``, ``down``
    (the interval excludes zero) or ``open``; missing where there is no interval.
    """
    rows = [planned[planned["planned"]].assign(measure="judge"), judge_free]
    every = pd.concat(rows, ignore_index=True).dropna(subset=["ci_low"])
    every["way"] = np.select([every["ci_low"] > 0, every["ci_high"] < 0], ["up", "down"], "open")
    table = every.pivot(index=["name", "stratum"], columns="measure", values="way")
    order = pd.MultiIndex.from_frame(planned.loc[planned["planned"], ["name", "stratum"]])
    found = table.reindex(index=order, columns=["judge", *judge_free["measure"].unique()])
    return found.astype(object).where(found.notna(), None).reset_index().rename_axis(columns=None)


def reading(agreement: pd.DataFrame, support: pd.DataFrame) -> str:
    """Whether the measures know what the judge knows, and whether conclusions depend on it."""
    text = "**Agreement with the judge: cannot tell**, because it passed all answers or none."
    if agreement["auc"].notna().any():
        best = agreement.loc[agreement["auc"].idxmax()]
        text = (
            f"**{label(best['measure'])} agrees best with the judge: an answer that passed scores "
            f"higher than one that failed with a chance of {best['auc']:.3f}** (0.5 is none)."
        )
    settled = support[support["judge"].isin(["up", "down"])]
    measures = [name for name in QUALITY if name in support]
    other = {"up": "down", "down": "up"}
    opposite = sum((settled["judge"].map(other) == settled[name]).sum() for name in measures)
    led = (settled[LEADING] == settled["judge"]).sum() if LEADING in measures else 0
    return (
        f"{text} Of {len(settled)} planned contrasts that the judge's interval settles, {led} go "
        f"the same way by {label(LEADING).lower()}; by any measure, {opposite} go the opposite way."
    )


def _auc(
    values: Array, passed: NDArray[np.bool_], papers: NDArray[Any], replicates: int, seed: int
) -> tuple[float, float, float]:
    """Area under the ROC curve with a percentile interval, drawing whole papers."""
    if not passed.any() or passed.all():
        return np.nan, np.nan, np.nan
    levels, place = np.unique(np.round(values, DIGITS), return_inverse=True)
    counts = np.zeros((len(values), 2, len(levels)))
    counts[np.arange(len(values)), passed.astype(int), place] = 1
    by_paper = bootstrap.totals(counts.reshape(len(values), -1), papers)
    found = bootstrap.intervals(by_paper, _areas, replicates, seed)
    return float(found.estimate), float(found.low), float(found.high)


def _areas(counts: Array) -> Array:
    """AUC per row of failed and passed by level, lowest first; NaN where one side is empty."""
    wrong, right = np.split(counts, 2, axis=1)
    below = np.cumsum(wrong, axis=1) - wrong / 2
    pairs = right.sum(axis=1) * wrong.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((right * below).sum(axis=1) / pairs)
