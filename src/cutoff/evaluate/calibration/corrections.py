"""What the judge's errors, measured against a person, do to rates and conclusions.

The person's labels are a random sample of every condition's answers (``label_sheet``). They say
how often an answer that the judge passed, or failed, is truly right. With the judge's pass rate
over all answers this gives the judge's sensitivity and specificity in each condition, and from
them the pass rate that the person would have found (Rogan and Gladen). A judge that favours one
condition is thus seen and undone, because errors are measured condition by condition.

Assumed: the person is right, and a condition's sensitivity and specificity are alike in all
strata. Intervals cover the choice of papers (bootstrap) and the number of labels (Jeffreys
posterior of the two shares, with the labels' design effect over papers); where the labels do
not show that the judge is better than chance, there is no corrected figure.

Rogan WJ, Gladen B (1978). Estimating prevalence from the results of a screening test. American
Journal of Epidemiology 107, 71-76. Begg CB, Greenes RA (1983). Assessment of diagnostic tests
when disease verification is subject to selection bias. Biometrics 39, 207-215. Flor M et al.
(2020). Comparison of Bayesian and frequentist methods for prevalence estimation under
misclassification. BMC Public Health 20, 1135.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cutoff.bootstrap import Array, expanded_tail, mean_draws
from cutoff.errors import CutoffError
from cutoff.evaluate.calibration.judge_errors import (
    KAPPA_LEADS,
    LEAST_LABELS,
    cells,
    design_effect,
    leads,
)
from cutoff.experiment import CONTRASTS, POST_STRATA, STRATA
from cutoff.report.claims import is_effect
from cutoff.report.wording import label

UNKNOWN_DRAWS = 0.025  # more draws than this in which the judge is no better than chance
FLIPS = ("reverses", "no longer established", "appears")
SHOWN = "name stratum difference corrected ci_low ci_high outcome".split()  # for a reader


class Errors(NamedTuple):
    """Sensitivity and specificity of the judge in one condition, from ``n`` labels."""

    n: int
    estimate: tuple[Any, Any]
    draws: tuple[Any, Any]


class Corrected(NamedTuple):
    """A pass rate of ``n`` verdicts, as judged and corrected, and draws of the corrected one."""

    n: int
    n_labelled: int
    pass_rate: float
    estimate: float
    draws: Array


def rates(
    verdicts: pd.DataFrame, compared: pd.DataFrame, replicates: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Pass rates as the judge found them and as the person would have, by stratum.

    Columns: stratum, condition, n (judged), n_labelled (of the condition, in all strata),
    pass_rate (the judge's), corrected, ci_low, ci_high (95 %). The last three are missing
    without labels, or where these leave the judge no better than chance.
    """
    rows = []
    for stratum, (tail, found) in _strata(verdicts, compared, replicates, seed).items():
        for condition, own in found.items():
            judged = {"n": own.n, "n_labelled": own.n_labelled, "pass_rate": own.pass_rate}
            interval = _interval(own.estimate, own.draws, tail)
            rows.append({"stratum": stratum, "condition": condition, **judged, **interval})
    return pd.DataFrame(rows)


def contrasts(
    verdicts: pd.DataFrame,
    compared: pd.DataFrame,
    planned: pd.DataFrame,
    replicates: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every planned contrast with corrected rates, and whether its conclusion stands.

    ``planned`` is ``effect_table.planned_contrasts``. Columns: name, stratum, n, difference,
    established (before correction), corrected, ci_low, ci_high (95 %), outcome: ``holds``,
    ``reverses`` or ``no longer established`` for what was established, ``appears`` (only the
    corrected interval excludes zero) or ``still not established`` for what was not, and
    ``cannot tell``.
    """
    strata = _strata(verdicts, compared, replicates, seed)
    sides = {contrast.name: contrast for contrast in CONTRASTS}
    rows = []
    for row in planned[planned["planned"].astype(bool)].to_dict("records"):
        tail, found = strata[row["stratum"]]
        plus = [found[name] for name in sides[row["name"]].plus]
        minus = [found[name] for name in sides[row["name"]].minus]
        interval = _interval(
            sum(own.estimate for own in plus) - sum(own.estimate for own in minus),
            np.sum([own.draws for own in plus], axis=0)
            - np.sum([own.draws for own in minus], axis=0),
            tail,
        )
        outcome = _outcome(row, interval["ci_low"], interval["ci_high"])
        kept = {name: row[name] for name in ("name", "stratum", "n", "difference")}
        rows.append(kept | {"established": is_effect(row)} | interval | {"outcome": outcome})
    return pd.DataFrame(rows)


def reading(agreement: pd.DataFrame, corrected: pd.DataFrame) -> str:
    """What the calibration says, in words; without enough labels, that it was not measured."""
    pooled = agreement[agreement["condition"] == "all"].iloc[0]
    leading = leads(agreement)
    if leading == "unknown":
        return (
            f"**Not measured: whether a person would agree with the judge.** Of {pooled['drawn']:,}"
            f" answers drawn for a person, {pooled['n']:,} have a label and a verdict; "
            f"{LEAST_LABELS} are needed, with passes and fails among them."
        )
    kappa = (
        f"kappa {pooled['kappa']:.2f} (95\u00a0% interval {pooled['kappa_low']:.2f} to "
        f"{pooled['kappa_high']:.2f}, n\u00a0=\u00a0{pooled['n']:,})"
    )
    text = (
        f"**The judge agrees with the person: {kappa}.**"
        if leading == "judge"
        else f"**The judge agrees too little with the person: {kappa}, below {KAPPA_LEADS:.2f}.** "
        "Judge-free metrics lead."
    )
    told = corrected[corrected["outcome"] != "cannot tell"]
    if told.empty:
        return f"{text} Whether a planned conclusion flips, these labels cannot tell."
    flipped = told[told["outcome"].isin(FLIPS)]
    flips = "; ".join(
        f"{label(row['name'])}, {label(row['stratum']).lower()}, {row['outcome']}"
        for row in flipped.to_dict("records")
    )
    text += (
        f" Corrected for the judge's errors, {len(flipped)} of {len(told)} planned conclusions "
        f"flip{': ' + flips if flips else ''}."
    )
    unknown = len(corrected) - len(told)
    return text + (f" For {unknown} the labels cannot tell." if unknown else "")


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
) -> dict[str, tuple[float, dict[str, Corrected]]]:
    """stratum -> (quantile of the draws that stands for 2.5 %, condition -> corrected rate)."""
    index = ["paper_id", "question_id", "stratum"]
    numbers = verdicts.assign(passed=verdicts["passed"].astype("Float64"))
    wide = numbers.pivot(index=index, columns="condition", values="passed").astype(float)
    wide = wide[list(dict.fromkeys(verdicts["condition"]))]
    strange = set(compared["condition"]) - set(wide.columns)
    if strange:
        raise CutoffError(f"Labels for {sorted(strange)[0]}, which has no verdicts.")
    rng = np.random.default_rng(seed)
    effect = design_effect(compared)
    errors = {}
    for name in wide.columns:
        table = cells(compared[compared["condition"] == name])
        errors[name] = _errors(table, wide[name].mean(), effect, replicates, rng)
    of = wide.index.get_level_values("stratum")
    found = {}
    for stratum in STRATA:
        part = wide[of.isin(POST_STRATA) if stratum == "all_post" else of == stratum]
        if len(part):
            papers = part.index.get_level_values("paper_id").to_numpy()
            means = mean_draws(part.to_numpy(), papers, replicates, seed)
            own = {
                name: _corrected(part[name].dropna(), means[:, i], errors[name], rng)
                for i, name in enumerate(part.columns)
            }
            found[stratum] = expanded_tail(len(set(papers))), own
    return found


def _errors(
    table: Array, pass_rate: float, effect: float, replicates: int, rng: np.random.Generator
) -> Errors:
    """Sensitivity and specificity of the judge in one condition: estimate and draws.

    They follow from the shares of right answers among those that the judge passed and failed,
    weighted by how many of all answers it passed: more exact than the labels alone when the
    sample happens to hold more of its passes than all answers do.
    """
    tp, fn, fp, tn = table.ravel()

    def both(right_if_passed: Any, right_if_failed: Any) -> tuple[Any, Any]:
        true = pass_rate * right_if_passed + (1 - pass_rate) * right_if_failed
        with np.errstate(invalid="ignore", divide="ignore"):
            sensitivity = np.where(true > 0, pass_rate * right_if_passed / true, 1.0)
            false = (1 - pass_rate) * (1 - right_if_failed)
            specificity = np.where(true < 1, false / (1 - true), 1.0)
        return sensitivity, specificity

    # A cell without a label is half right until somebody looks: the mean of its posterior.
    estimate = both(tp / (tp + fp) if tp + fp else 0.5, fn / (fn + tn) if fn + tn else 0.5)
    drawn = both(
        rng.beta(tp / effect + 0.5, fp / effect + 0.5, replicates),
        rng.beta(fn / effect + 0.5, tn / effect + 0.5, replicates),
    )
    return Errors(int(table.sum()), estimate, drawn)


def _corrected(
    known: "pd.Series[float]", means: Array, errors: Errors, rng: np.random.Generator
) -> Corrected:
    """``known``: verdicts of one condition; ``means``: of its papers, drawn."""
    n, passed = len(known), known.sum()
    rate = passed / n if n else np.nan
    if errors.n == 0 or n == 0:
        return Corrected(n, errors.n, rate, np.nan, np.full(len(means), np.nan))
    if np.ptp(means) == 0:  # nobody passed, or everybody: that is not certain
        means = rng.beta(passed + 0.5, n - passed + 0.5, len(means))
    estimate = float(_rogan_gladen(rate, *errors.estimate))
    return Corrected(n, errors.n, rate, estimate, _rogan_gladen(means, *errors.draws))


def _rogan_gladen(pass_rate: Any, sensitivity: Any, specificity: Any) -> Any:
    """The true pass rate, 0 to 1; missing where the judge is no better than chance."""
    better = np.asarray(sensitivity + specificity - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.clip((pass_rate + specificity - 1) / better, 0, 1)
    return np.where(better > 0, found, np.nan)


def _interval(estimate: float, drawn: Array, tail: float) -> dict[str, float]:
    """corrected, ci_low, ci_high (95 % of the draws, and the estimate); missing where too many
    draws are."""
    known = drawn[~np.isnan(drawn)]
    if len(known) < (1 - UNKNOWN_DRAWS) * len(drawn):
        return dict.fromkeys(("corrected", "ci_low", "ci_high"), np.nan)
    low, high = np.quantile(known, [tail, 1 - tail])
    ends = {"ci_low": min(float(low), estimate), "ci_high": max(float(high), estimate)}
    return {"corrected": estimate} | ends
