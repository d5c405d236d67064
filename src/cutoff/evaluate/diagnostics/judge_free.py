"""Judge-free measures against the judge, and the planned contrasts without one.

A measure that ranks right answers above wrong ones supports the judge; a conclusion that all
of them share does not depend on it. ``verdicts`` turns a flag into verdicts, so that every
statistic of the report can be had without a judge.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cutoff import bootstrap
from cutoff.bootstrap import Array
from cutoff.evaluate.calibration.agreement import cohen
from cutoff.evaluate.diagnostics.metrics import KEYS, QUALITY, SHARES
from cutoff.evaluate.stats import averages
from cutoff.evaluate.stats.differences import sign_flip_test
from cutoff.experiment import CONTRASTS
from cutoff.report.wording import label

LEADING = "stated"  # fixed before any result: a measure chosen by its result would prove nothing
DIGITS = 3  # of a score, for ranking


def verdicts(scores: pd.DataFrame, measure: str = LEADING) -> pd.DataFrame:
    """``metrics.scores`` as verdicts of the flag ``measure``, for ``evaluate.statistics``."""
    if measure not in SHARES:
        raise ValueError(f"{measure} is no flag; one of {', '.join(SHARES)}")
    passed = scores[measure].astype("Float64").astype("boolean")
    return scores[list(KEYS)].assign(passed=passed)


def agreement(
    scores: pd.DataFrame, verdicts: pd.DataFrame, replicates: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """How well each measure tells answers that the judge passed from those that it did not.

    ``scores`` are those of ``metrics``, ``verdicts`` those of ``scoring``. Columns: measure,
    n (answers with both), n_papers, passed, auc, ci_low, ci_high (95 %, papers resampled),
    same and kappa. ``auc`` is the chance that a passed answer scores higher than a failed
    one, ties half (Mann-Whitney): 0.5 is no agreement, 1 is perfect; missing where the judge
    passed all or none, and without an interval where resampling never changes it. ``same`` is
    the share of equal decisions and ``kappa`` Cohen's, for flags only. Answers without a
    verdict or a score do not count.
    """
    judged = verdicts[["question_id", "condition", "passed"]].dropna()
    both = scores.merge(judged, on=["question_id", "condition"], validate="one_to_one")
    rows = []
    for measure in QUALITY:
        known = both[both[measure].notna()]
        passed = known["passed"].astype(bool).to_numpy()
        values = known[measure].to_numpy(float)
        papers, _ = pd.factorize(known["paper_id"])
        auc, low, high = _auc(values, passed, papers, replicates, seed)
        same = kappa = np.nan
        if measure in SHARES and len(known):
            same, kappa = _kappa(values > 0.5, passed)
        rows.append(
            (measure, len(known), len(set(papers)), int(passed.sum()), auc, low, high, same, kappa)
        )
    names = "measure n n_papers passed auc ci_low ci_high same kappa".split()
    return pd.DataFrame(rows, columns=names)


def contrasts(scores: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """The planned contrasts of every measure: the same questions, the same differences, no judge.

    Columns: measure, name, stratum, n (questions known on all sides), n_papers, difference,
    ci_low, ci_high (95 %, papers resampled), p_by_paper (whole papers flipped, not adjusted).
    A difference of a score is in the score's own unit, not in points of pass rate.
    """
    rows = []
    for stratum, part in averages.by_stratum(scores):
        planned = [contrast for contrast in CONTRASTS if stratum in contrast.planned]
        if not planned:
            continue
        for measure in QUALITY:
            wide = part.pivot(
                index=["paper_id", "question_id"], columns="condition", values=measure
            )
            papers, _ = pd.factorize(wide.index.get_level_values("paper_id"))
            values = np.column_stack(
                [
                    (wide[list(c.plus)].sum(axis=1, skipna=False)
                     - wide[list(c.minus)].sum(axis=1, skipna=False)).to_numpy(float)
                    for c in planned
                ]
            )  # fmt: skip
            _, low, high, _ = bootstrap.means(values, papers, replicates, seed)
            p = sign_flip_test(values, papers, replicates, seed)
            for i, contrast in enumerate(planned):
                known = ~np.isnan(values[:, i])
                mean = values[known, i].mean() if known.any() else np.nan
                rows.append(
                    (measure, contrast.name, stratum, int(known.sum()), len(set(papers[known])))
                    + (mean, low[i], high[i], p[i] if known.any() else np.nan)
                )
    names = "measure name stratum n n_papers difference ci_low ci_high p_by_paper".split()
    return pd.DataFrame(rows, columns=names)


def support(planned: pd.DataFrame, judge_free: pd.DataFrame) -> pd.DataFrame:
    """Judge and measures side by side: which direction each gives to every planned contrast.

    ``planned``: ``statistics.planned_contrasts``; ``judge_free``: ``contrasts``. One row per
    planned contrast: name, stratum, judge, and a column per measure, each ``up``, ``down``
    (the interval excludes zero) or ``open``; missing where there is no interval.
    """
    judged = planned[planned["planned"]].set_index(["name", "stratum"])
    table = pd.DataFrame({"judge": _directions(judged)})
    for measure, part in judge_free.groupby("measure", sort=False):
        table[measure] = _directions(part.set_index(["name", "stratum"]))
    return table.reset_index()


def written(agreement: pd.DataFrame) -> pd.DataFrame:
    """``agreement`` for reading: labels, and every number with its digits."""
    rows = agreement.to_dict("records")
    return pd.DataFrame(
        {
            "Measure": [label(row["measure"]) for row in rows],
            "n": agreement["n"],
            "Passed scores higher (0.5 = chance)": [_digits(row["auc"]) for row in rows],
            "95\u00a0% interval": [
                "–" if np.isnan(row["ci_low"])
                else f"{_digits(row['ci_low'])} to {_digits(row['ci_high'])}"
                for row in rows
            ],
            "Cohen’s κ": [_digits(row["kappa"]) for row in rows],
        }
    )  # fmt: skip


def reading(agreement: pd.DataFrame, support: pd.DataFrame) -> str:
    """Whether the measures know what the judge knows, and whether conclusions depend on it."""
    known = agreement.dropna(subset=["auc"]).sort_values("auc", ascending=False, kind="stable")
    if known.empty:
        first = "**Agreement with the judge: cannot tell**, because it passed all answers or none."
    else:
        said = ", ".join(
            f"{label(row.measure)} {_digits(row.auc)}"
            + ("" if np.isnan(row.ci_low) else f" ({row.ci_low:.3f} to {row.ci_high:.3f})")
            for row in known.itertuples()
        )
        first = (
            f"**How often an answer that passed scores higher than one that failed: {said}** "
            "(0.5 is chance; 95 % intervals, papers resampled)."
        )
    measures = [name for name in support.columns if name in QUALITY]
    settled = support[support["judge"].isin(["up", "down"])]
    opposite = [
        f"{label(row['name'])} ({label(row['stratum'])}: {label(measure)})"
        for row in support.to_dict("records")
        for measure in measures
        if {row["judge"], row[measure]} == {"up", "down"}
    ]
    led = int((settled[LEADING] == settled["judge"]).sum()) if LEADING in measures else 0
    return (
        f"{first} Of {len(settled)} planned contrasts whose interval excludes zero by the judge, "
        f"{led} do in the same direction by {label(LEADING).lower()}, the measure that leads where "
        "the judge cannot be trusted. "
        + (
            f"In the opposite direction: {'; '.join(opposite)}."
            if opposite
            else "No measure points in the opposite direction anywhere."
        )
    )


def _digits(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _directions(rows: pd.DataFrame) -> "pd.Series[Any]":
    found = np.select(
        [rows["ci_low"].isna(), rows["ci_low"] > 0, rows["ci_high"] < 0],
        ["", "up", "down"],
        default="open",
    )
    return pd.Series(found, index=rows.index).replace("", None)


def _kappa(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> tuple[float, float]:
    """Share of equal decisions, and Cohen's kappa; missing where chance alone agrees fully."""
    confusion = np.array([[np.sum((ours == a) & (theirs == b)) for b in (0, 1)] for a in (0, 1)])
    return float((ours == theirs).mean()), float(cohen(confusion.astype(float)))


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
