"""What training made the model forget: questions on papers from before the cutoff.

Every trained model answers the same control questions as the untouched one, so the change
is paired. These four comparisons are not among the planned contrasts; they are adjusted
among themselves.
"""

from typing import Any

import numpy as np
import pandas as pd

from cutoff import bootstrap
from cutoff.experiment import CONDITIONS
from cutoff.report.claims import is_effect
from cutoff.report.wording import interval, label, p_value, percent, points

MISSING = (
    "**What training made the model forget is not measured:** there are no questions on papers "
    "from before the cutoff. `n_control_papers` and `n_eval_control` above 0 ask some."
)
# contrast of statistics.planned_contrasts: the condition before training, and after it
CHANGES = {
    "ft_closed_book_instruct": ("base", "instruct_ft"),
    "ft_closed_book_rag": ("base", "rag_ft"),
    "ft_under_rag_instruct": ("base_rag", "instruct_ft_rag"),
    "ft_under_rag_rag": ("base_rag", "rag_ft_rag"),
}


def table(verdicts: pd.DataFrame, contrasts: pd.DataFrame) -> pd.DataFrame:
    """Control questions before and after training, a row per trained condition.

    ``contrasts`` is ``statistics.planned_contrasts`` of the same verdicts, whose rows of the
    control stratum are taken over. Columns: a, b (before, after), n, n_missing, n_papers,
    rate_a, rate_b, gained, lost, difference, ci_low, ci_high, p, p_holm (adjusted over these
    rows, of the larger of ``p`` and ``p_by_paper``), mde, kept (share of the answers right
    before that are right after), kept_low, kept_high. Empty without control questions.
    """
    rows = contrasts[contrasts["stratum"].eq("control") & contrasts["name"].isin(CHANGES)]
    frame = rows.assign(p=rows[["p", "p_by_paper"]].max(axis=1)).reset_index(drop=True)
    frame["p_holm"] = bootstrap.holm(frame["p"])
    control = verdicts[verdicts["stratum"] == "control"]
    kept = [_kept(control, a, b) for a, b in zip(frame["a"], frame["b"], strict=True)]
    columns = ["kept", "kept_low", "kept_high"]
    frame[columns] = pd.DataFrame(kept, columns=columns, index=frame.index, dtype=float)
    names = (
        "a b n n_missing n_papers rate_a rate_b gained lost difference ci_low ci_high p p_holm "
        "mde kept kept_low kept_high"
    ).split()
    return frame[names]


def written(changes: pd.DataFrame) -> pd.DataFrame:
    """``table`` for reading."""
    kept = [
        f"{percent(row.kept)} ({interval(row.kept_low, row.kept_high)})"
        for row in changes.itertuples()
    ]
    names = "a b n n_papers gained lost difference ci_low ci_high p_holm mde".split()
    shown = changes[names].assign(**{"Right before, still right (95 % interval)": kept})
    return shown.assign(a=shown["a"].map(label), b=shown["b"].map(label))


def reading(changes: pd.DataFrame) -> str:
    """Where training lost, or cannot be said to have lost, answers to control questions."""
    if changes.empty:
        return MISSING
    rows = changes.to_dict("records")
    alone = [row for row in rows if CONDITIONS[row["b"]].context == "none"]
    beside = [row for row in rows if CONDITIONS[row["b"]].context != "none"]
    text = f"**Closed book, {'; '.join(_change(row) for row in alone)}.**"
    if beside:
        text += f" With retrieval, {'; '.join(_change(row) for row in beside)}."
    if sum(row["gained"] for row in rows) > 0:
        text += (
            " The share of earlier answers that are kept counts losses only and is therefore no "
            "measure of the net change."
        )
    return text + f" These {len(rows)} comparisons were not planned; p is adjusted among them."


def _change(row: dict[str, Any]) -> str:
    before, after = percent(row["rate_a"]), percent(row["rate_b"])
    p = p_value(row["p_holm"])
    numbers = (
        f"{points(row['difference'])} points, 95\u00a0% interval "
        f"{interval(row['ci_low'], row['ci_high'])}, "
        f"p\u00a0{p if p.startswith('<') else '= ' + p}, n\u00a0=\u00a0{row['n']:,}"
    )
    if row["n_missing"]:
        numbers += f", {row['n_missing']} left out without a verdict"
    name = label(row["b"])
    if is_effect(row):
        verb = "forgets" if row["difference"] < 0 else "gains"
        return f"{name} {verb} on old papers, {before} before and {after} after ({numbers})"
    least = row["mde"]
    detectable = (
        "too few questions to detect anything"
        if pd.isna(least)
        else f"smallest detectable {points(least, False)} points"
    )
    inside = pd.isna(row["ci_low"]) or row["ci_low"] <= 0 <= row["ci_high"]
    claim = "no change is established" if inside else "a change is suggested but not established"
    return f"for {name} {claim}, {before} before and {after} after ({numbers}, {detectable})"


def _kept(control: pd.DataFrame, before: str, after: str) -> tuple[float, float, float]:
    """Share, with interval, of the questions right before that are right after."""
    wide = control.pivot(index=["question_id", "paper_id"], columns="condition", values="passed")
    both = wide[[before, after]].dropna()
    known = both[both[before].astype(bool)]
    papers = known.index.get_level_values("paper_id").to_numpy()
    found = bootstrap.share(known[after].to_numpy(dtype=np.float64), papers)
    return found["share"], found["ci_low"], found["ci_high"]
