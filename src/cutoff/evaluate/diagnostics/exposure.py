"""How often must a fact be told? Recall of trained facts by the number of their wordings.

Every trained fact is in the training data in some number of wordings, each seen once an
epoch. Facts of the same papers that were never trained (``unseen_fact``) are the point at
zero: what a model answers by guessing, or from a paper's other facts.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cutoff import bootstrap
from cutoff.experiment import CONDITIONS
from cutoff.records import Example, Question
from cutoff.report.wording import each, label, with_interval

TRAINED = tuple(name for name, c in CONDITIONS.items() if c.model != "base" and c.context == "none")
MISSING = (
    "**How often a fact must be told is not measured:** there are no questions on trained facts."
)


def answers(
    verdicts: pd.DataFrame, questions: Sequence[Question], examples: Sequence[Example]
) -> pd.DataFrame:
    """Closed-book answers of the trained models with the exposure of the fact asked about.

    Columns: question_id, paper_id, condition, wordings (training examples of the fact, those
    of the condition's own training), passed (missing where the judge failed).
    """
    told = Counter((example["variant"], example["fact_id"]) for example in examples)
    facts = {question["question_id"]: question["fact_id"] for question in questions}
    asked = verdicts["stratum"].isin(["seen", "unseen_fact"])
    rows = verdicts[verdicts["condition"].isin(TRAINED) & asked]
    both = zip(rows["condition"], rows["question_id"], strict=True)
    wordings = [told[CONDITIONS[condition].model, facts[name]] for condition, name in both]
    names = ["question_id", "paper_id", "condition", "wordings", "passed"]
    return rows.assign(wordings=np.array(wordings, dtype=int))[names].reset_index(drop=True)


def table(exposed: pd.DataFrame) -> pd.DataFrame:
    """``bootstrap.pass_rates`` by condition and wordings; ``exposed`` comes from ``answers``."""
    frame = bootstrap.pass_rates(exposed, ("condition", "wordings"))
    order = frame.assign(place=frame["condition"].map(TRAINED.index))
    return frame.loc[order.sort_values(["place", "wordings"]).index].reset_index(drop=True)


def varies(exposed: pd.DataFrame) -> bool:
    """Whether some trained facts were told in more wordings than others: only then a curve."""
    return bool(exposed.loc[exposed["wordings"] > 0, "wordings"].nunique() > 1)


def reading(exposed: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> str:
    """How recall changes with one more wording, or why that cannot be said."""
    trained = exposed[exposed["wordings"] > 0].dropna(subset=["passed"])
    if trained.empty:
        return MISSING
    if not varies(exposed):
        shares = table(exposed)
        told = each(shares[shares["wordings"] > 0], "condition", "pass_rate")
        others = each(shares[shares["wordings"] == 0], "condition", "pass_rate")
        return (
            "**How recall grows with the number of wordings is not measured: every trained fact "
            f"was told in {trained['wordings'].iloc[0]}.** Closed book, {told}; facts never "
            f"told: {others or 'not asked'}. Other values of `exposures` would draw the curve."
        )
    parts = []
    for condition, part in trained.groupby("condition", sort=False):
        columns = part["wordings"].to_numpy(float), part["passed"].to_numpy(float)
        rise = bootstrap.slope(*columns, part["paper_id"].to_numpy(), replicates, seed)
        unknown = np.isnan(rise[1])
        change = "too little varies to tell" if unknown else with_interval(*rise)
        parts.append(f"{label(condition)} {change}")
    return f"**One more wording changes the recall of a fact by: {'; '.join(parts)}.**"
