"""How often the judge is wrong: agreement with a person's labels, condition by condition.

The labels are a random sample of every condition's answers (``label_sheet``).
"""

import numpy as np
import pandas as pd

from cutoff import bootstrap
from cutoff.evaluate.calibration.agreement import kappa

KAPPA_LEADS = 0.60  # below it judge-free metrics lead (the design's rule 12)
LEAST_LABELS = 30  # fewer answers with both verdicts say nothing about a judge
SHOWN = (
    "condition n kappa kappa_low kappa_high true_passes sensitivity sensitivity_low "
    "sensitivity_high true_fails specificity specificity_low specificity_high"
).split()  # columns for a reader


def agreement(compared: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """How far judge and person agree: one row for all conditions together, then one each.

    ``compared`` is that of ``label_sheet.compared``. Columns: condition, drawn, unlabelled,
    unsure, n (label and verdict known), kappa (see ``agreement.kappa``), sensitivity (of the
    ``true_passes``, how many the judge passed) and specificity (of the ``true_fails``, how many
    it failed), each with _low and _high (95 %, ``bootstrap.share``). Missing where n is 0.
    """
    rows = []
    for condition in ("all", *dict.fromkeys(compared["condition"])):
        part = compared if condition == "all" else compared[compared["condition"] == condition]
        known = both_known(part)
        human, judge = (known[name].to_numpy(dtype=bool) for name in ("human", "judge"))
        papers = known["paper_id"].to_numpy()
        row = {
            "condition": condition,
            "drawn": len(part),
            "unlabelled": int((part["label"] == "").sum()),
            "unsure": int((part["label"] == "unsure").sum()),
            "n": len(known),
            **kappa(np.column_stack([human, judge]).astype(int), papers, replicates, seed),
        }
        for name, base, truth in (
            ("sensitivity", "true_passes", True),
            ("specificity", "true_fails", False),
        ):
            of = human == truth
            found = bootstrap.share((judge == truth)[of], papers[of])
            row |= {base: int(of.sum()), name: found["share"]}
            row |= {f"{name}_low": found["ci_low"], f"{name}_high": found["ci_high"]}
        rows.append(row)
    return pd.DataFrame(rows)


def both_known(compared: pd.DataFrame) -> pd.DataFrame:
    """The rows with a label, pass or fail, and a verdict."""
    return compared.dropna(subset=["human", "judge"])


def leads(agreement: pd.DataFrame) -> str:
    """Whose verdict leads the report: ``judge``, ``metrics`` (kappa below .60) or ``unknown``."""
    pooled = agreement[agreement["condition"] == "all"].iloc[0]
    if pooled["n"] < LEAST_LABELS or pd.isna(pooled["kappa"]):
        return "unknown"
    return "judge" if pooled["kappa"] >= KAPPA_LEADS else "metrics"
