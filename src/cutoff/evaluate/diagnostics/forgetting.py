"""What training made the model forget: questions on papers from before the cutoff.

Every trained model answers the same control questions as the untouched one, so the change
is paired. These four comparisons are not among the planned contrasts; they are adjusted
among themselves.
"""

import pandas as pd

from cutoff import bootstrap
from cutoff.evaluate.stats.effect_table import by_question
from cutoff.report.claims import is_effect
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

    ``contrasts`` is ``effect_table.planned_contrasts`` of the same verdicts, whose rows of the
    control stratum are taken over. Columns: a, b (before, after), n, n_missing, n_papers,
    rate_a, rate_b, gained, lost, difference, ci_low, ci_high, p, p_holm (adjusted over these
    rows, of the larger of ``p`` and ``p_by_paper``), mde, retained (share of the answers right
    before that are right after), retained_low, retained_high. Empty without control questions.
    """
    rows = contrasts[contrasts["stratum"].eq("control") & contrasts["name"].isin(CHANGES)]
    frame = rows.assign(p=rows[["p", "p_by_paper"]].max(axis=1)).reset_index(drop=True)
    frame["p_holm"] = bootstrap.holm(frame["p"])
    names = (
        "a b n n_missing n_papers rate_a rate_b gained lost difference ci_low ci_high p p_holm "
        "mde retained retained_low retained_high"
    ).split()
    if frame.empty:
        return frame.reindex(columns=names)
    wide = by_question(verdicts[verdicts["stratum"] == "control"])
    for i, row in frame.iterrows():
        before = wide[wide[row["a"]] == 1].dropna(subset=row["b"])
        papers = before.index.get_level_values("paper_id").to_numpy()
        kept = bootstrap.share(before[row["b"]].to_numpy(), papers)
        ends = [kept[name] for name in ("share", "ci_low", "ci_high")]
        frame.loc[i, ["retained", "retained_low", "retained_high"]] = ends
    return frame[names]


def reading(changes: pd.DataFrame) -> str:
    """Where training lost, or cannot be said to have lost, answers to control questions."""
    if changes.empty:
        return MISSING
    parts = []
    for row in changes.to_dict("records"):
        what = ": no change is established"
        if is_effect(row):
            what = " forgets" if row["difference"] < 0 else " gains"
        parts.append(f"{label(row['b'])}{what} ({evidence(row)})")
    return (
        f"**On papers from before the cutoff, {'; '.join(parts)}.** These {len(changes)} "
        "comparisons were not planned; p is adjusted among them."
    )
