"""What the judge's errors, measured against a person, do to rates and conclusions.

The person's labels are a random sample of every condition's answers (``calibration``). They say
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

from typing import Any

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
from cutoff.report.wording import interval, label, points

UNKNOWN_DRAWS = 0.025  # more draws than this in which the judge is no better than chance
FLIPS = ("reverses", "no longer established", "appears")


def rates(
    verdicts: pd.DataFrame, compared: pd.DataFrame, replicates: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Pass rates as the judge found them and as the person would have, by stratum.

    Columns: stratum, condition, n (judged), n_labelled (of the condition, in all strata),
    pass_rate (the judge's), corrected, ci_low, ci_high (95 %). The last three are missing
    without labels, or where these leave the judge no better than chance.
    """
    rows = []
    for stratum, wide, errors in _strata(verdicts, compared, replicates, seed):
        tail = expanded_tail(wide.index.get_level_values("paper_id").nunique())
        for condition in wide.columns:
            known = wide[condition].dropna()
            own = errors[condition]
            low, high = _interval(own["draws"], own["estimate"], tail)
            rows.append(
                {
                    "stratum": stratum,
                    "condition": condition,
                    "n": len(known),
                    "n_labelled": own["n"],
                    "pass_rate": known.mean() if len(known) else np.nan,
                    "corrected": np.nan if np.isnan(low) else own["estimate"],
                    "ci_low": low,
                    "ci_high": high,
                }
            )
    return pd.DataFrame(rows)


def contrasts(
    verdicts: pd.DataFrame,
    compared: pd.DataFrame,
    planned: pd.DataFrame,
    replicates: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every planned contrast with corrected rates, and whether its conclusion stands.

    ``planned`` is ``statistics.planned_contrasts``. Columns: name, stratum, n, difference,
    established (before correction), corrected, ci_low, ci_high (95 %), outcome: ``holds``,
    ``reverses`` or ``no longer established`` for what was established, ``appears`` (only the
    corrected interval excludes zero) or ``still not established`` for what was not, and
    ``cannot tell``.
    """
    strata = {
        stratum: (errors, expanded_tail(wide.index.get_level_values("paper_id").nunique()))
        for stratum, wide, errors in _strata(verdicts, compared, replicates, seed)
    }
    sides = {contrast.name: contrast for contrast in CONTRASTS}
    rows = []
    for row in planned[planned["planned"].astype(bool)].to_dict("records"):
        errors, tail = strata[row["stratum"]]
        plus, minus = sides[row["name"]].plus, sides[row["name"]].minus
        drawn = sum(errors[name]["draws"] for name in plus)
        drawn = drawn - sum(errors[name]["draws"] for name in minus)
        estimate = sum(errors[name]["estimate"] for name in plus)
        estimate -= sum(errors[name]["estimate"] for name in minus)
        low, high = _interval(drawn, estimate, tail)
        rows.append(
            {
                "name": row["name"],
                "stratum": row["stratum"],
                "n": row["n"],
                "difference": row["difference"],
                "established": is_effect(row),
                "corrected": np.nan if np.isnan(low) else estimate,
                "ci_low": low,
                "ci_high": high,
                "outcome": _outcome(row, low, high),
            }
        )
    return pd.DataFrame(rows)


def reading(agreement: pd.DataFrame, corrected: pd.DataFrame) -> str:
    """What the calibration says, in words; without enough labels, that it was not measured."""
    pooled = agreement[agreement["condition"] == "all"].iloc[0]
    if leads(agreement) == "unknown":
        return (
            f"**Not measured: whether a person would agree with the judge.** Of {pooled['drawn']:,}"
            f" answers drawn for a person, {pooled['n']:,} have a label and a verdict; from "
            f"{LEAST_LABELS} on, with passes and fails among them, agreement is reported. The "
            "pass rates and contrasts of this report take the judge's word."
        )
    kappa = f"{pooled['kappa']:.2f} (95\u00a0% interval {pooled['kappa_low']:.2f} to "
    kappa += f"{pooled['kappa_high']:.2f}, n\u00a0=\u00a0{pooled['n']:,})"
    text = (
        f"**The judge agrees with the person: kappa {kappa}.** It is to be believed first."
        if leads(agreement) == "judge"
        else f"**The judge agrees too little with the person: kappa {kappa}, below "
        f"{KAPPA_LEADS:.2f}.** Judge-free metrics lead; read its pass rates with them."
    )
    left_out = [
        f"{pooled[name]:,} {word}"
        for name, word in (
            ("unlabelled", "not labelled yet"),
            ("unsure", "labelled unsure"),
            ("judge_failed", "without a verdict of the judge"),
        )
        if pooled[name]
    ]
    if left_out:
        text += f" Left out: {', '.join(left_out)}."
    return text + " " + _conclusions(corrected)


def written(corrected: pd.DataFrame) -> pd.DataFrame:
    """``contrasts`` for reading: labels, and points before and after with the interval."""
    return pd.DataFrame(
        {
            "name": corrected["name"],
            "stratum": corrected["stratum"],
            "as judged": corrected["difference"].map(points),
            "corrected": corrected["corrected"].map(points),
            "ci_low": corrected["ci_low"],
            "ci_high": corrected["ci_high"],
            "conclusion": corrected["outcome"],
        }
    )


def _conclusions(corrected: pd.DataFrame) -> str:
    told = corrected[corrected["outcome"] != "cannot tell"]
    if told.empty:
        return "Whether a planned conclusion flips, these labels cannot tell."
    flipped = told[told["outcome"].isin(FLIPS)]
    text = (
        f"With pass rates corrected for the judge's errors, {len(flipped)} of {len(told)} planned "
        "conclusions flip"
    )
    if len(flipped):
        text += ": " + "; ".join(_flip(row) for row in flipped.to_dict("records"))
    text += "."
    if unknown := len(corrected) - len(told):
        text += f" For {unknown} the labels cannot tell."
    if "no longer established" in set(flipped["outcome"]):
        text += (
            " *No longer established* means that errors of the judge could explain the "
            "difference, as far as this many labels can exclude them; more labels narrow it."
        )
    return text


def _flip(row: dict[str, Any]) -> str:
    return (
        f"{label(row['name'])}, {label(row['stratum']).lower()}, {row['outcome']} "
        f"({points(row['difference'])} points as judged; {points(row['corrected'])} corrected, "
        f"95\u00a0% interval {interval(row['ci_low'], row['ci_high'])})"
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
) -> list[tuple[str, pd.DataFrame, dict[str, dict[str, Any]]]]:
    """(stratum, questions x conditions, condition -> n, corrected estimate and draws)."""
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
    found = []
    for stratum in STRATA:
        part = wide[of.isin(POST_STRATA) if stratum == "all_post" else of == stratum]
        if len(part):
            papers, _ = pd.factorize(part.index.get_level_values("paper_id"))
            means = mean_draws(part.to_numpy(), papers, replicates, seed)
            own = {
                name: _corrected(part[name].dropna(), means[:, i], errors[name], rng)
                for i, name in enumerate(part.columns)
            }
            found.append((stratum, part, own))
    return found


def _errors(
    table: Array, pass_rate: float, effect: float, replicates: int, rng: np.random.Generator
) -> dict[str, Any]:
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
    return {"n": int(table.sum()), "estimate": estimate, "draws": drawn}


def _corrected(
    known: "pd.Series[float]", means: Array, errors: dict[str, Any], rng: np.random.Generator
) -> dict[str, Any]:
    n, passed = len(known), known.sum()
    if errors["n"] == 0 or n == 0:
        return {"n": errors["n"], "estimate": np.nan, "draws": np.full(len(means), np.nan)}
    if np.ptp(means) == 0:  # nobody passed, or everybody: that is not certain
        means = rng.beta(passed + 0.5, n - passed + 0.5, len(means))
    return {
        "n": errors["n"],
        "estimate": float(_rogan_gladen(passed / n, *errors["estimate"])),
        "draws": _rogan_gladen(means, *errors["draws"]),
    }


def _rogan_gladen(pass_rate: Any, sensitivity: Any, specificity: Any) -> Any:
    """The true pass rate, 0 to 1; missing where the judge is no better than chance."""
    better = np.asarray(sensitivity + specificity - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.clip((pass_rate + specificity - 1) / better, 0, 1)
    return np.where(better > 0, found, np.nan)


def _interval(drawn: Array, estimate: float, tail: float) -> tuple[float, float]:
    """95 % of the draws, and the estimate; missing where too many draws are."""
    known = drawn[~np.isnan(drawn)]
    if len(known) < (1 - UNKNOWN_DRAWS) * len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [tail, 1 - tail])
    return min(float(low), estimate), max(float(high), estimate)
