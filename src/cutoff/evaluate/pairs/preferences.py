"""Which answers are preferred: wins, ties and losses of every pair, tested and in words.

    table = preferences.table(pairwise.outcomes(records, questions), p.bootstrap_replicates, p.seed)

Wins are tested by the exact sign test, which leaves ties out, and again with whole papers
flipped; the larger p counts, adjusted by Holm's method over the pairs on all new papers.
"""

from collections.abc import Mapping

import pandas as pd

from cutoff import bootstrap
from cutoff.evaluate.stats import differences
from cutoff.experiment import POST_STRATA, STRATA
from cutoff.params import Params
from cutoff.report.claims import MAX_JUDGE_FAILED, is_effect
from cutoff.report.wording import interval, label, p_value, percent, points

MOST_PAIRS_TOLD = 3  # one by one; of more, only which are preferred
VALUE = {"a": -1.0, "tie": 0.0, "b": 1.0}  # judge_failed is missing


def table(outcomes: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """One row per pair and stratum (``all_post`` pools the new papers).

    ``outcomes``: see ``pairwise.outcomes``. Columns: a, b, stratum, n (with a verdict),
    judge_failed, n_papers, a_wins, ties, b_wins, flips and half_flips (ties because the order
    decided), unasked (settled by rule: the same text, or the judge ``reference``), difference
    (share won by b minus share won by a) with ci_low, ci_high, win_rate (of b, a tie is half a
    win) with win_low, win_high, p (exact sign test), p_by_paper, p_holm (all_post only) and mde.
    Intervals are 95 %, papers resampled; all but counts and p are proportions.
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
            ends = {"win_rate": "difference", "win_low": "ci_low", "win_high": "ci_high"}
            rows.append(found | {name: (1 + found[of]) / 2 for name, of in ends.items()})
    names = (
        "a b stratum n judge_failed n_papers a_wins ties b_wins flips half_flips unasked "
        "difference ci_low ci_high win_rate win_low win_high p p_by_paper p_holm mde"
    ).split()
    frame = pd.DataFrame(rows).reindex(columns=names)
    larger = frame[["p", "p_by_paper"]].astype(float).max(axis=1)
    frame["p_holm"] = bootstrap.holm(larger.where(frame["stratum"] == "all_post"))
    return frame


def written(frame: pd.DataFrame) -> pd.DataFrame:
    """``table`` for reading: labels, counts, win rates in per cent."""
    rates = [
        f"{percent(row.win_rate)}\u00a0({interval(row.win_low, row.win_high)})"
        for row in frame.itertuples()
    ]
    return pd.DataFrame(
        {
            "First": frame["a"].map(label),
            "Second": frame["b"].map(label),
            "stratum": frame["stratum"],
            "n": frame["n"],
            "First wins": frame["a_wins"],
            "Ties": frame["ties"],
            "of them flips": frame["flips"],
            "Second wins": frame["b_wins"],
            "judge_failed": frame["judge_failed"],
            "Second’s win rate, %": rates,
            "p": frame["p"],
            "p_by_paper": frame["p_by_paper"],
            "p_holm": frame["p_holm"],
        }
    )


def reading(frame: pd.DataFrame, p: Params) -> str:
    """What the pairs on new papers say, a sentence or two each; how they were judged last."""
    pooled = frame[frame["stratum"] == "all_post"].to_dict("records")
    if not pooled:
        return "**No answers were put side by side** (`pairwise_conditions: none`)."
    if len(pooled) == 1:
        text = _pair(pooled[0])
    elif len(pooled) <= MOST_PAIRS_TOLD:
        text = "\n".join(f"* {_pair(row)}" for row in pooled)
    else:
        text = _many(pooled)
    return f"{text}\n\n{_how(pooled, p)}"


def _pair(row: Mapping) -> str:
    a, b = label(row["a"]), label(row["b"])
    sums = f"{b} wins {row['b_wins']:,}, {a} wins {row['a_wins']:,}, {row['ties']:,} are ties"
    rate = (
        f"win rate of {b} {percent(row['win_rate'])}, 95\u00a0% interval "
        f"{interval(row['win_low'], row['win_high'])}"
    )
    p = p_value(row["p_holm"])
    numbers = f"{rate}, p\u00a0{p if p.startswith('<') else '= ' + p}, n\u00a0=\u00a0{row['n']:,}"
    if not row["n"]:
        return f"**{a} and {b} cannot be compared: no pair of answers got a verdict.**"
    if is_effect(dict(row)):
        better, other = (b, a) if row["difference"] > 0 else (a, b)
        return f"**Answers of {better} are preferred to those of {other}**: {sums} ({numbers})."
    least = "too few questions to detect any" if pd.isna(row["mde"]) else (
        f"with so many questions a balance of {points(row['mde'], False)} points would be found"
    )  # fmt: skip
    return f"**Neither {a} nor {b} is established as better**: {sums} ({numbers}; {least})."


def _many(pooled: list) -> str:
    clear = [row for row in pooled if is_effect(dict(row))]
    preferred = "; ".join(
        f"{label(row['b'])} over {label(row['a'])}"
        if row["difference"] > 0
        else f"{label(row['a'])} over {label(row['b'])}"
        for row in clear
    )
    least = max((row["mde"] for row in pooled if not is_effect(dict(row))), default=float("nan"))
    open_pairs = "" if pd.isna(least) else (
        f" Of the others, a balance of {points(least, False)} points would have been found."
    )  # fmt: skip
    return (
        f"**In {len(clear)} of {len(pooled)} pairs one side is preferred"
        f"{': ' + preferred if clear else ''}** (p adjusted for all pairs below .05, interval "
        f"without zero; n\u00a0=\u00a0{min(row['n'] for row in pooled):,} or more).{open_pairs}"
    )


def _how(pooled: list, p: Params) -> str:
    by_rule = p.judge_model == "reference"
    n = sum(row["n"] + row["judge_failed"] for row in pooled)
    failed, flips = (sum(row[name] for row in pooled) for name in ("judge_failed", "flips"))
    halves = sum(row["half_flips"] for row in pooled)
    sentences = []
    if by_rule:
        sentences.append(
            "The judge `reference` compares by rule: an answer wins if it passes and the other "
            "does not. These are the pass rates' own verdicts seen in pairs, no second opinion."
        )
    else:
        sentences.append(
            f"Every pair was judged in both orders by `{p.judge_model}`. {flips:,} of {n:,} pairs "
            f"are ties because the preference changed with the order, {halves:,} because it was "
            f"there in one order only; {failed:,} got no verdict and count nowhere."
        )
        if failed > MAX_JUDGE_FAILED * n:
            sentences.append("**With so many failures this comparison is not valid.**")
    if p.pairwise_conditions == "top":
        sentences.append(
            "The two were chosen because they pass most on these very questions, so their p "
            "explores and does not confirm."
        )
    return " ".join(sentences)
