"""What the judge's errors, measured against a person, do to rates and conclusions.

A person's labels of a random sample say how often an answer that the judge passed, or failed, is
truly right; with the judge's pass rate that gives its sensitivity and specificity in each
condition, and from them the rate that the person would have found (Rogan and Gladen 1978,
American Journal of Epidemiology 107, 71-76). Assumed: the person is right, and a condition's
errors are alike in all strata. Intervals cover papers (bootstrap) and the number of labels
(Jeffreys; a bootstrap of few labels without an error would promise that there is none).
"""

from typing import Any

import numpy as np
import pandas as pd

from cutoff.bootstrap import Array, effective_n, expanded_tail, mean_draws
from cutoff.evaluate.calibration.judge_errors import KAPPA_LEADS, LEAST_LABELS, both_known, leads
from cutoff.evaluate.stats.averages import by_stratum
from cutoff.evaluate.stats.effect_table import by_question, contrast_values
from cutoff.experiment import CONTRASTS
from cutoff.report.claims import is_effect
from cutoff.report.wording import label

UNKNOWN_DRAWS = 0.025  # more draws than this in which the judge is no better than chance
FLIPS = ("reverses", "no longer established", "appears")
SHOWN = "name stratum difference corrected ci_low ci_high outcome".split()  # for a reader


# Corrected rates of one stratum, a column per condition: a row of estimates, then one per draw;
# and the quantile of the draws that stands for 2.5 %.
Rates = tuple[pd.DataFrame, float]


def rates(
    verdicts: pd.DataFrame, compared: pd.DataFrame, replicates: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Pass rates as the person would have found them, by stratum and condition.

    Columns: stratum, condition, corrected, ci_low, ci_high (95 %). The last three are missing
    without labels of the condition, or where these leave the judge no better than chance.
    """
    return pd.DataFrame(
        {"stratum": stratum, "condition": name} | _interval(found[name].to_numpy(), tail)
        for stratum, (found, tail) in _strata(verdicts, compared, replicates, seed).items()
        for name in found
    )


def contrasts(
    verdicts: pd.DataFrame,
    compared: pd.DataFrame,
    planned: pd.DataFrame,
    replicates: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every contrast of ``planned`` with corrected rates, and whether its conclusion stands.

    Columns: name, stratum, n, difference, established (before correction), corrected, ci_low,
    ci_high (95 %), outcome: ``holds``, ``reverses`` or ``no longer established`` for what was
    established, ``appears`` (only the corrected interval excludes zero) or ``still not
    established`` for what was not, and ``cannot tell``.
    """
    strata = _strata(verdicts, compared, replicates, seed)
    sides = {contrast.name: contrast for contrast in CONTRASTS}
    rows = []
    for row in planned[planned["planned"].astype(bool)].to_dict("records"):
        found, tail = strata[row["stratum"]]
        corrected = {str(name): values.to_numpy() for name, values in found.items()}
        interval = _interval(contrast_values(corrected, sides[row["name"]]), tail)
        kept = {name: row[name] for name in ("name", "stratum", "n", "difference")}
        outcome = _outcome(row, interval["ci_low"], interval["ci_high"])
        rows.append(kept | {"established": is_effect(row)} | interval | {"outcome": outcome})
    return pd.DataFrame(rows)


def reading(agreement: pd.DataFrame, corrected: pd.DataFrame) -> str:
    """What the calibration says, in words; without enough labels, that it was not measured."""
    pooled, leading = agreement[agreement["condition"] == "all"].iloc[0], leads(agreement)
    if leading == "unknown":
        return (
            f"**Not measured: whether a person would agree with the judge.** Of {pooled['drawn']:,}"
            f" answers drawn for a person, {pooled['n']:,} have a label and a verdict; "
            f"{LEAST_LABELS} are needed, with passes and fails among them."
        )
    agrees = {
        "judge": "agrees with the person",
        "metrics": f"agrees too little with the person (below {KAPPA_LEADS:.2f} judge-free metrics "
        "lead)",
    }[leading]
    told = corrected[corrected["outcome"] != "cannot tell"]
    flips = [
        f"{label(row['name'])}, {label(row['stratum']).lower()}, {row['outcome']}"
        for row in told[told["outcome"].isin(FLIPS)].to_dict("records")
    ]
    return (
        f"**The judge {agrees}: kappa {pooled['kappa']:.2f}, n\u00a0=\u00a0{pooled['n']:,}.** "
        f"Corrected for the judge's errors, {len(flips)} of {len(told)} planned conclusions "
        f"flip{': ' * bool(flips)}{'; '.join(flips)}. For {len(corrected) - len(told)} these "
        "labels cannot tell."
    )


def _outcome(row: dict[str, Any], low: float, high: float) -> str:
    if np.isnan(low):
        return "cannot tell"
    excludes = low > 0 or high < 0
    if is_effect(row):
        if not excludes:
            return "no longer established"
        return "holds" if (low > 0) == (row["difference"] > 0) else "reverses"
    before = row["ci_low"] > 0 or row["ci_high"] < 0
    return "appears" if excludes and not before else "still not established"


def _strata(
    verdicts: pd.DataFrame, compared: pd.DataFrame, replicates: int, seed: int
) -> dict[str, Rates]:
    overall, rng = by_question(verdicts).mean(), np.random.default_rng(seed)
    right = _truly_right(compared, list(overall.index), replicates, rng)
    found = {}
    for stratum, rows in by_stratum(verdicts):
        wide = by_question(rows)[list(overall.index)]
        papers = wide.index.get_level_values("paper_id").to_numpy()
        drawn = mean_draws(wide.to_numpy(), papers, replicates, seed)
        n, passed = wide.count(), wide.sum()
        certain = np.ptp(drawn, axis=0) == 0  # nobody passed, or everybody: it is not
        drawn[:, certain] = rng.beta(
            passed[certain] + 0.5, (n - passed)[certain] + 0.5, (replicates, certain.sum())
        )
        corrected = _rogan_gladen(np.vstack([passed / n, drawn]), overall.to_numpy(), right)
        frame = pd.DataFrame(corrected, columns=wide.columns)
        found[stratum] = frame, expanded_tail(len(set(papers)))
    return found


def _truly_right(
    compared: pd.DataFrame, conditions: list[str], replicates: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Shares of truly right answers among those that the judge passed, and among those that it
    failed: a row of estimates and one per draw, a column per condition, missing without labels."""
    known = both_known(compared)
    shares = []
    wrong = (known["human"] != known["judge"]).to_numpy(dtype=float)
    codes = known["paper_id"].factorize()[0]
    # How much less the labels say than as many from different papers.
    effect = len(known) / effective_n(wrong, codes, wrong.mean()) if len(known) else 1.0
    unlabelled = ~np.isin(conditions, known["condition"])
    for verdict in (True, False):
        given = known[known["judge"] == verdict].astype({"human": int}).groupby("condition")
        right = given["human"].sum().reindex(conditions, fill_value=0).to_numpy()
        n = given.size().reindex(conditions, fill_value=0).to_numpy()
        # Without a label an answer is half right until somebody looks.
        estimate = np.where(n > 0, right / np.maximum(n, 1), 0.5)
        size = (replicates, len(conditions))
        drawn = rng.beta(right / effect + 0.5, (n - right) / effect + 0.5, size)
        shares.append(np.where(unlabelled, np.nan, np.vstack([estimate, drawn])))
    return shares[0], shares[1]


def _rogan_gladen(rates: Array, pass_rate: Array, right: tuple[Array, Array]) -> Array:
    """The true rates, 0 to 1; missing where the judge is no better than chance.

    ``pass_rate`` is that of each condition over all strata: with the shares that are truly right
    it gives sensitivity and specificity, more exactly than the labels alone would.
    """
    if_passed, if_failed = right
    true = pass_rate * if_passed + (1 - pass_rate) * if_failed
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = np.where(true == 0, 1.0, pass_rate * if_passed / true)
        specificity = np.where(true == 1, 1.0, (1 - pass_rate) * (1 - if_failed) / (1 - true))
        better = sensitivity + specificity - 1
        found = np.clip((rates + specificity - 1) / better, 0, 1)
        return np.where(better > 0, found, np.nan)


def _interval(values: Array, tail: float) -> dict[str, float]:
    """corrected, ci_low, ci_high (95 % of the draws, and the estimate) of an estimate and its
    draws; missing where too many draws are."""
    estimate, drawn = float(values[0]), values[1:][~np.isnan(values[1:])]
    if len(drawn) < (1 - UNKNOWN_DRAWS) * (len(values) - 1):
        return dict.fromkeys(("corrected", "ci_low", "ci_high"), np.nan)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return {
        "corrected": estimate,
        "ci_low": min(float(low), estimate),
        "ci_high": max(float(high), estimate),
    }
