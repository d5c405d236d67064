"""How often must a fact be told? Recall of trained facts by the number of their wordings.

Every trained fact is in the training data in some number of wordings, each seen once an
epoch. Facts of the same papers that were never trained (``unseen_fact``) are the point at
zero: what a model answers by guessing, or from a paper's other facts.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cutoff import bootstrap
from cutoff.experiment import CONDITIONS
from cutoff.report.wording import interval, label, percent, points

Record = dict[str, Any]

TRAINED = tuple(name for name, c in CONDITIONS.items() if c.model != "base" and c.context == "none")
FEWEST_PAPERS = 10  # a bootstrap over fewer promises too much
MISSING = (
    "**How often a fact must be told is not measured:** there are no questions on trained facts."
)


def answers(
    verdicts: pd.DataFrame, questions: Sequence[Record], examples: Sequence[Record]
) -> pd.DataFrame:
    """Closed-book answers of the trained models with the exposure of the fact asked about.

    ``questions`` are the records of ``eval.jsonl``, ``examples`` those of ``train.jsonl``.
    Columns: question_id, paper_id, condition, wordings (training examples of the fact, those
    of the condition's own training), passed (missing where the judge failed).
    """
    told = Counter((example["variant"], example["fact_id"]) for example in examples)
    facts = {question["question_id"]: question["fact_id"] for question in questions}
    rows = verdicts[
        verdicts["condition"].isin(TRAINED) & verdicts["stratum"].isin(["seen", "unseen_fact"])
    ]
    wordings = [
        told[CONDITIONS[row.condition].model, facts[row.question_id]] for row in rows.itertuples()
    ]
    names = ["question_id", "paper_id", "condition", "wordings", "passed"]
    return rows.assign(wordings=np.array(wordings, dtype=int))[names].reset_index(drop=True)


def table(exposed: pd.DataFrame) -> pd.DataFrame:
    """Recall by training and number of wordings; ``exposed`` is what ``answers`` returns.

    Columns: condition, wordings, n (judged), judge_failed, n_papers, passed, pass_rate,
    ci_low, ci_high (95 %, questions clustered in papers).
    """
    frame = bootstrap.pass_rates(exposed, ("condition", "wordings"))
    order = frame["condition"].map({name: i for i, name in enumerate(TRAINED)})
    frame = frame.assign(order=order).sort_values(["order", "wordings"], ignore_index=True)
    return frame.drop(columns="order")


def varies(exposed: pd.DataFrame) -> bool:
    """Whether some trained facts were told in more wordings than others: only then a curve."""
    return bool(exposed.loc[exposed["wordings"] > 0, "wordings"].nunique() > 1)


def reading(exposed: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> str:
    """Whether more wordings go with better recall, or why that cannot be said."""
    trained = exposed[exposed["wordings"] > 0].dropna(subset=["passed"])
    if trained.empty:
        return MISSING
    if not varies(exposed):
        shares = table(exposed)
        parts = []
        for condition, rows in shares.groupby("condition", sort=False):
            by = {row["wordings"]: row for row in rows.to_dict("records")}
            told = by[max(by)]
            text = f"{label(condition)} {_rate(told)}"
            if 0 in by:
                text += f", against {_rate(by[0])} of other facts of the same papers, never told"
            parts.append(text)
        number = int(trained["wordings"].iloc[0])
        wordings = f"{number} wording{'s' if number != 1 else ''}"
        return (
            f"**How recall grows with the number of wordings is not measured: every trained fact "
            f"was told in {wordings}.** At that, closed book: {'; '.join(parts)}. Runs with other "
            "values of `exposures` would draw the curve."
        )
    parts = []
    for condition, part in trained.groupby("condition", sort=False):
        x, y = part["wordings"].to_numpy(dtype=float), part["passed"].to_numpy(dtype=float)
        papers = part["paper_id"].to_numpy()
        rise, low, high = bootstrap.slope(x, y, papers, replicates, seed)
        numbers = f"{points(rise)} points a wording, 95\u00a0% interval {interval(low, high)}"
        name = label(condition)
        if part["paper_id"].nunique() < FEWEST_PAPERS or np.isnan(low):
            parts.append(f"for {name}, too little varies to tell")
        elif low <= 0 <= high:
            parts.append(f"for {name}, no change with the number is established ({numbers})")
        else:
            word = "better" if rise > 0 else "worse"
            parts.append(f"{name} recalls facts told more often {word} ({numbers})")
    sentence = "; ".join(parts)
    return (
        f"**{sentence[0].upper()}{sentence[1:]}.** Facts were not given their number of wordings "
        "by lot: one that is easy to word in many ways may be easy to learn as well."
    )


def _rate(row: Record) -> str:
    return (
        f"{percent(row['pass_rate'])} ({interval(row['ci_low'], row['ci_high'])}, "
        f"n\u00a0=\u00a0{row['n']:,})"
    )
