"""What training made the model forget: questions on papers from before the cutoff.

Every trained model answers the same control questions as the untouched one, so the change
is paired. These four comparisons are not among the planned contrasts; they are adjusted
among themselves.
"""

import pandas as pd

from cutoff import bootstrap
from cutoff.evaluate.stats.effect_table import by_question
from cutoff.report.claims import established
from cutoff.report.wording import evidence, label

MISSING = (
    "**What training made the model forget is not measured:** there are no questions on papers "
    "from before the cutoff. `n_control_papers` and `n_eval_control` above 0 ask some."
)
CHANGES = (  # contrasts: trained against untouched, without and with retrieval
    "ft_closed_book_instruct",
    "ft_closed_book_rag",
    "ft_under_rag_instruct",
    "ft_under_rag_rag",
)


def table(verdicts: pd.DataFrame, contrasts: pd.DataFrame) -> pd.DataFrame:
    """Control questions before and after training, a row per trained condition.

    ``contrasts``: ``effect_table.planned_contrasts`` of the same verdicts, whose rows of the
    control stratum are taken over, with p (the larger of the two), p_holm (over these rows) and
    retained (share of the answers right before that are right after), retained_low and
    retained_high. Empty without control questions.
    """
    rows = contrasts[contrasts["stratum"].eq("control") & contrasts["name"].isin(CHANGES)]
    frame = rows.assign(p=rows[["p", "p_by_paper"]].max(axis=1)).reset_index(drop=True)
    frame["p_holm"] = bootstrap.holm(frame["p"])
    wide = by_question(verdicts[verdicts["stratum"] == "control"])
    kept = []
    for row in frame.itertuples():
        before = wide[wide[row.a] == 1].dropna(subset=row.b)
        papers = before.index.get_level_values("paper_id").to_numpy()
        kept.append(bootstrap.share(before[row.b].to_numpy(), papers))
    for name, end in (
        ("retained", "share"),
        ("retained_low", "ci_low"),
        ("retained_high", "ci_high"),
    ):
        frame[name] = pd.Series([share[end] for share in kept], dtype=float)
    names = "a b n n_missing n_papers rate_a rate_b gained lost difference ci_low ci_high p p_holm"
    return frame[[*names.split(), "mde", "retained", "retained_low", "retained_high"]]


def reading(changes: pd.DataFrame) -> str:
    """Where training lost, or cannot be said to have lost, answers to control questions."""
    if changes.empty:
        return MISSING
    parts = []
    effects = established(changes)
    for row, effect in zip(changes.to_dict("records"), effects, strict=True):
        verb = "forgets" if row["difference"] < 0 else "gains"
        what = f" {verb}" if effect else ": no change is established"
        parts.append(f"{label(row['b'])}{what} ({evidence(row)})")
    return f"**On papers from before the cutoff, {'; '.join(parts)}.**"
