"""Which answers are preferred: wins, ties and losses of every pair, tested and in words.

Wins are tested by the exact sign test, which leaves ties out, and again with whole papers
flipped; the larger p counts, adjusted by Holm's method over the pairs on all new papers.
"""

import pandas as pd

from cutoff import bootstrap
from cutoff.evaluate.stats import differences
from cutoff.evaluate.stats.averages import by_stratum
from cutoff.params import Params
from cutoff.report.claims import MAX_JUDGE_FAILED, established
from cutoff.report.wording import label, p_value, percent, with_interval

VALUE = {"a": -1.0, "tie": 0.0, "b": 1.0}  # judge_failed is missing
SHOWN = (
    "a b stratum n a_wins ties flips b_wins judge_failed win_rate win_rate_low win_rate_high "
    "p p_by_paper p_holm"
).split()  # columns for a reader


def table(outcomes: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """One row per pair and stratum (``all_post`` pools the new papers).

    ``outcomes``: see ``pairwise.outcomes``. Columns: a, b, stratum, n (with a verdict),
    judge_failed, n_papers, a_wins, ties, b_wins, flips and half_flips (ties because the order
    decided), difference (share won by b minus share won by a) with ci_low, ci_high, win_rate (of
    b, a tie is half a win) with win_rate_low, win_rate_high, p (exact sign test), p_by_paper,
    p_holm (all_post only) and mde. Intervals are 95 %, papers resampled.
    """
    rows = []
    for (a, b), of_pair in outcomes.groupby(["a", "b"], sort=False):
        for stratum, part in by_stratum(of_pair):
            values = part["winner"].map(VALUE).to_numpy(dtype=float)
            found = differences.summary(values, part["paper_id"].to_numpy(), replicates, seed)
            judged = part[part["winner"] != "judge_failed"]
            flips = {"flips": judged["flipped"].sum(), "half_flips": judged["half_flipped"].sum()}
            rows.append({"a": a, "b": b, "stratum": stratum, **found, **flips})
    names = {"gained": "b_wins", "lost": "a_wins", "n_missing": "judge_failed"}
    columns = [*SHOWN, *"n_papers half_flips difference ci_low ci_high mde".split()]
    frame = pd.DataFrame(rows).rename(columns=names).reindex(columns=columns)
    frame["ties"] = frame["n"] - frame["a_wins"] - frame["b_wins"]
    for end, of in (("", "difference"), ("_low", "ci_low"), ("_high", "ci_high")):
        frame[f"win_rate{end}"] = (1 + frame[of]) / 2
    larger = frame[["p", "p_by_paper"]].astype(float).max(axis=1)
    frame["p_holm"] = bootstrap.holm(larger.where(frame["stratum"] == "all_post"))
    return frame


def reading(frame: pd.DataFrame, p: Params) -> str:
    """Which side is preferred on new papers, and what weakens the comparison."""
    pooled = frame[frame["stratum"] == "all_post"]
    if pooled.empty:
        return "**No answers were put side by side** (`pairwise_conditions: none`)."
    told = []
    for row in pooled[established(pooled)].to_dict("records"):
        sides = [label(row["a"]), label(row["b"])]
        better, other = sides[::-1] if row["difference"] > 0 else sides
        rate = with_interval(row["win_rate"], row["win_rate_low"], row["win_rate_high"], "percent")
        numbers = f"win rate of {sides[1]} {rate}, p {p_value(row['p_holm'])}, n {row['n']:,}"
        told.append(f"{better} over {other} ({numbers})")
    text = (
        f"**In {len(told)} of {len(pooled)} pairs of conditions the answers of one are preferred"
        f"{': ' + '; '.join(told) if told else ''}.** "
    )
    failed, n = pooled["judge_failed"].sum(), pooled[["n", "judge_failed"]].sum().sum()
    if p.judge_model == "reference":
        text += "The judge `reference` only sees the pass rates' own verdicts in pairs."
    else:
        text += (
            f"`{p.judge_model}` saw both orders: {pooled['flips'].sum():,} of {n:,} preferences "
            f"changed with the order, {pooled['half_flips'].sum():,} stood in one order only; "
            f"{failed:,} pairs got no verdict."
        )
    if failed > MAX_JUDGE_FAILED * n:
        text += f" **With {percent(failed / n)} failures this comparison is not valid.**"
    if p.pairwise_conditions == "top":
        text += " The pair was chosen by these same questions, so its p does not confirm."
    return text
