"""Which answers are preferred: wins, ties and losses of every pair, tested and in words.

    table = preferences.table(pairwise.outcomes(records), p.bootstrap_replicates, p.seed)

Wins are tested by the exact sign test, which leaves ties out, and again with whole papers
flipped; the larger p counts, adjusted by Holm's method over the pairs on all new papers.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from cutoff import bootstrap
from cutoff.evaluate.stats import differences
from cutoff.experiment import POST_STRATA, STRATA
from cutoff.params import Params
from cutoff.report.claims import MAX_JUDGE_FAILED, established, is_effect
from cutoff.report.wording import label, p_value, percent, points, with_interval

MOST_PAIRS_TOLD = 3  # one by one; of more, only which are preferred
VALUE = {"a": -1.0, "tie": 0.0, "b": 1.0}  # judge_failed is missing
SHOWN = (
    "a b stratum n a_wins ties flips b_wins judge_failed win_rate win_rate_low win_rate_high "
    "p p_by_paper p_holm"
).split()  # columns for a reader


def table(outcomes: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """One row per pair and stratum (``all_post`` pools the new papers).

    ``outcomes``: see ``pairwise.outcomes``. Columns: a, b, stratum, n (with a verdict),
    judge_failed, n_papers, a_wins, ties, b_wins, flips and half_flips (ties because the order
    decided), unasked (settled by rule: the same text, or the judge ``reference``), difference
    (share won by b minus share won by a) with ci_low, ci_high, win_rate (of b, a tie is half a
    win) with win_rate_low, win_rate_high, p (exact sign test), p_by_paper, p_holm (all_post only)
    and mde. Intervals are 95 %, papers resampled; all but counts and p are proportions.
    """
    rows = []
    for (a, b), of_pair in outcomes.groupby(["a", "b"], sort=False):
        for stratum in STRATA:
            within = POST_STRATA if stratum == "all_post" else (stratum,)
            part = of_pair[of_pair["stratum"].isin(within)]
            if part.empty:
                continue
            values = part["winner"].map(VALUE).to_numpy(dtype=float)
            found = differences.summary(values, part["paper_id"].to_numpy(), replicates, seed)
            judged = part[part["winner"] != "judge_failed"]
            found |= {"a": a, "b": b, "stratum": stratum, "judge_failed": found["n_missing"]}
            found |= {"b_wins": found["gained"], "a_wins": found["lost"]}
            found |= {"ties": found["n"] - found["gained"] - found["lost"]}
            found |= {"flips": int(judged["flipped"].sum())}
            found |= {"half_flips": int(judged["half_flipped"].sum())}
            found |= {"unasked": int(part["by_rule"].sum())}
            ends = zip(("", "_low", "_high"), ("difference", "ci_low", "ci_high"), strict=True)
            rows.append(found | {f"win_rate{end}": (1 + found[of]) / 2 for end, of in ends})
    names = [*SHOWN, *"n_papers half_flips unasked difference ci_low ci_high mde".split()]
    frame = pd.DataFrame(rows).reindex(columns=names)
    larger = frame[["p", "p_by_paper"]].astype(float).max(axis=1)
    frame["p_holm"] = bootstrap.holm(larger.where(frame["stratum"] == "all_post"))
    return frame


def reading(frame: pd.DataFrame, p: Params) -> str:
    """What the pairs on new papers say, and how many choices the order decided."""
    pooled = frame[frame["stratum"] == "all_post"]
    if pooled.empty:
        return "**No answers were put side by side** (`pairwise_conditions: none`)."
    if len(pooled) <= MOST_PAIRS_TOLD:
        text = "\n".join(f"* {_pair(row)}" for row in pooled.to_dict("records"))
    else:
        clear = pooled[established(pooled)].to_dict("records")
        told = "; ".join(" over ".join(_better_first(row)) for row in clear)
        text = (
            f"**In {len(clear)} of {len(pooled)} pairs one side is preferred"
            f"{': ' + told if clear else ''}.**"
        )
    return f"{text}\n\n{_how(pooled, p)}"


def _better_first(row: Mapping[Any, Any]) -> list[str]:
    sides = [label(row["a"]), label(row["b"])]
    return sides[::-1] if row["difference"] > 0 else sides


def _pair(row: Mapping[Any, Any]) -> str:
    a, b = label(row["a"]), label(row["b"])
    if not row["n"]:
        return f"**{a} and {b} cannot be compared: no pair of answers got a verdict.**"
    rate = with_interval(row["win_rate"], row["win_rate_low"], row["win_rate_high"], "percent")
    numbers = f"win rate of {b} {rate}, p {p_value(row['p_holm'])}, n {row['n']:,}"
    if is_effect(row):
        better, other = _better_first(row)
        return f"**Answers of {better} are preferred to those of {other}** ({numbers})."
    if not pd.isna(row["mde"]):
        numbers += f"; a balance of {points(row['mde'], False)} points would be found"
    return f"**Neither {a} nor {b} is established as better** ({numbers})."


def _how(pooled: pd.DataFrame, p: Params) -> str:
    """Who compared, and what weakens the comparison."""
    failed, n = pooled["judge_failed"].sum(), pooled[["n", "judge_failed"]].sum().sum()
    if p.judge_model == "reference":
        text = "The judge `reference` only sees the pass rates' own verdicts in pairs."
    else:
        text = (
            f"`{p.judge_model}` saw both orders: {pooled['flips'].sum():,} of {n:,} preferences "
            f"changed with the order, {pooled['half_flips'].sum():,} stood in one order only; "
            f"{failed:,} pairs got no verdict."
        )
    if failed > MAX_JUDGE_FAILED * n:
        text += f" **With {percent(failed / n)} failures this comparison is not valid.**"
    if p.pairwise_conditions == "top":
        text += " The pair was chosen by these same questions, so its p does not confirm."
    return text
