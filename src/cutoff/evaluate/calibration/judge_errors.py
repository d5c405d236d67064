"""How often the judge is wrong: agreement with a person's labels, condition by condition.

The labels are a random sample of every condition's answers (``label_sheet``).
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from cutoff.bootstrap import Array
from cutoff.evaluate.calibration import agreement as kappas

KAPPA_LEADS = 0.60  # below it judge-free metrics lead (the design's rule 12)
SHOWN = (
    "condition n kappa kappa_low kappa_high true_passes sensitivity sensitivity_low "
    "sensitivity_high true_fails specificity specificity_low specificity_high"
).split()  # columns for a reader
LEAST_LABELS = 30  # fewer answers with both verdicts say nothing about a judge


def agreement(compared: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """How far judge and person agree: one row for all conditions together, then one each.

    ``compared`` is that of ``label_sheet.compared``. Columns: condition, drawn, unlabelled,
    unsure, judge_failed (labelled, no verdict), n (both known), agree (share), kappa,
    kappa_low, kappa_high, then for sensitivity (of the ``true_passes``, how many the judge
    passed) and specificity (of the ``true_fails``, how many it failed) the share with low and
    high. 95 % intervals: Jeffreys for shares, and for kappa from the same posterior of the
    four cells; counts divided by their design effect over papers. Missing where n is 0.

    Brown LD, Cai TT, DasGupta A (2001). Interval estimation for a binomial proportion.
    Statistical Science 16, 101-133.
    """
    effect = design_effect(compared)
    rows = []
    for condition in ("all", *dict.fromkeys(compared["condition"])):
        part = compared if condition == "all" else compared[compared["condition"] == condition]
        table = cells(part)
        tp, fn, fp, tn = table.ravel()
        n = int(table.sum())
        row = {
            "condition": condition,
            "drawn": len(part),
            "unlabelled": int((part["label"] == "").sum()),
            "unsure": int((part["label"] == "unsure").sum()),
            "judge_failed": int((part["human"].notna() & part["judge"].isna()).sum()),
            "n": n,
            "agree": (tp + tn) / n if n else np.nan,
        }
        kappa = float(kappas.cohen(table)) if n else np.nan
        low = high = np.nan
        if not np.isnan(kappa):
            rng = np.random.default_rng(seed)
            drawn = rng.dirichlet(table.ravel() / effect + 0.5, replicates)
            ends = np.nanquantile(kappas.cohen(drawn.reshape(-1, 2, 2)), [0.025, 0.975])
            low, high = min(kappa, ends[0]), max(kappa, ends[1])
        row |= {"kappa": kappa, "kappa_low": low, "kappa_high": high}
        row |= _share("sensitivity", "true_passes", tp, tp + fn, effect)
        row |= _share("specificity", "true_fails", tn, tn + fp, effect)
        rows.append(row)
    return pd.DataFrame(rows)


def leads(agreement: pd.DataFrame) -> str:
    """Whose verdict leads the report: ``judge``, ``metrics`` (kappa below .60) or ``unknown``."""
    pooled = agreement[agreement["condition"] == "all"].iloc[0]
    if pooled["n"] < LEAST_LABELS or pd.isna(pooled["kappa"]):
        return "unknown"
    return "judge" if pooled["kappa"] >= KAPPA_LEADS else "metrics"


def cells(compared: pd.DataFrame) -> Array:
    """[[true pass passed, failed], [true fail passed, failed]], of answers with both verdicts."""
    known = compared[compared["human"].notna() & compared["judge"].notna()]
    human, judge = known["human"].astype(bool), known["judge"].astype(bool)
    return np.array(
        [[(a & b).sum() for b in (judge, ~judge)] for a in (human, ~human)], dtype=float
    )


def design_effect(compared: pd.DataFrame) -> float:
    """How much less the labels say than as many from different papers; at least 1."""
    known = compared[compared["human"].notna() & compared["judge"].notna()]
    wrong = (known["human"] != known["judge"]).astype(float)
    n, g = len(known), known["paper_id"].nunique()
    if g < 2 or not 0 < wrong.sum() < n:
        return 1.0
    by_paper = (wrong - wrong.mean()).groupby(known["paper_id"].to_numpy()).sum()
    clustered, alone = (by_paper**2).sum() / (g - 1) * g, wrong.var() * n
    return max(1.0, float(clustered / alone))


def _share(name: str, base: str, hits: float, n: float, effect: float) -> dict[str, Any]:
    """A share with its Jeffreys interval; the ends are exact at 0 and 100 %."""
    low = high = share = np.nan
    if n:
        share = hits / n
        a, b = hits / effect + 0.5, (n - hits) / effect + 0.5
        low = 0.0 if hits == 0 else float(stats.beta.ppf(0.025, a, b))
        high = 1.0 if hits == n else float(stats.beta.ppf(0.975, a, b))
    return {base: int(n), name: share, f"{name}_low": low, f"{name}_high": high}
