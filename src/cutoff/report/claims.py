"""Sentences that a contrast has earned.

"Raises", "lowers" and their like appear only where a planned contrast's interval excludes
zero and its Holm-adjusted p is below .05. Everything else is said to be not established,
together with the smallest difference that this run would have found.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from cutoff.report.wording import evidence, percent, points

MAX_JUDGE_FAILED = 0.01  # share of judgements; above it the run is not valid
ALPHA = 0.05

Row = Mapping[str, Any]


def is_effect(row: Row) -> bool:
    """True when a planned contrast may be called an effect (False for detail rows)."""
    known = not pd.isna(row["p_holm"]) and not pd.isna(row["ci_low"])
    return bool(known and row["p_holm"] < ALPHA and not row["ci_low"] <= 0 <= row["ci_high"])


def established(frame: pd.DataFrame) -> "pd.Series[bool]":
    """``is_effect`` of every row of a frame."""
    rows = [is_effect(row) for row in frame.to_dict("records")]
    return pd.Series(rows, index=frame.index, dtype=bool)


def validity(rates: pd.DataFrame) -> str | None:
    """A sentence when so many judgements failed that the run is not valid, else None."""
    apart = rates[rates["stratum"] != "all_post"]
    failed, every = int(apart["judge_failed"].sum()), int(apart[["n", "judge_failed"]].sum().sum())
    if failed <= MAX_JUDGE_FAILED * every:
        return None
    return (
        f"This run is not valid: {failed:,} of {every:,} judgements failed "
        f"({percent(failed / every)}, the limit is {percent(MAX_JUDGE_FAILED)}); "
        "no effect is claimed."
    )


def claims(contrasts: pd.DataFrame, rates: pd.DataFrame) -> list[str]:
    """Five findings from ``effect_table.planned_contrasts``, a sentence each; one if not valid.

    What retrieval buys; what training stores; whether it reaches beyond the trained facts;
    what it adds to retrieval; training against retrieval, and both together. The p values
    in them are Holm-adjusted, the intervals cover 95 %.
    """
    if invalid := validity(rates):
        return [invalid]
    rows: dict[Any, Row]
    rows = {(row["name"], row["stratum"]): row for row in contrasts.to_dict("records")}

    def change(subject: str, where: str, name: str, stratum: str) -> str:
        if not (row := rows.get((name, stratum))):
            return f"{subject} was not tested on {where}"
        effect = f"{subject} {{verb}} the pass rate on {where} from {{a}} to {{b}}"
        null = f"{{null}} for {subject} on {where}, {{a}} without it and {{b}} with it"
        return _clause(row, "effect", ("raises", "lowers"), effect, null)

    new, trained = "papers after the cutoff", "the facts it was trained on"
    qa, cited = "question-answer training", "RAG-style training"
    sentences = (
        change("retrieval", new, "rag", "all_post"),
        "without retrieval, "
        + change(qa, trained, "ft_closed_book_instruct", "seen")
        + "; "
        + change(cited, trained, "ft_closed_book_rag", "seen"),
        "beyond the facts it was trained on, and without retrieval, "
        + change(qa, "other facts of the same papers", "ft_closed_book_instruct", "unseen_fact")
        + "; "
        + change(qa, "papers never trained on", "ft_closed_book_instruct", "unseen_paper"),
        "on top of retrieval, "
        + change(cited, new, "ft_under_rag_rag", "all_post")
        + "; "
        + change(qa, new, "ft_under_rag_instruct", "all_post"),
        _against(rows.get(("ft_instead_of_rag", "seen")))
        + "; "
        + _together(rows.get(("interaction_rag", "all_post"))),
    )
    return [sentence[0].upper() + sentence[1:] + "." for sentence in sentences]


def _against(row: Row | None) -> str:
    if row is None:
        return "training alone was not compared with retrieval alone"
    effect = "question-answer training alone {verb} retrieval alone, {b} against {a}"
    null = "{null} between question-answer training alone, {b}, and retrieval alone, {a}"
    verbs = ("beats", "falls short of")
    return "on trained facts, " + _clause(row, "difference", verbs, effect, null)


def _together(row: Row | None) -> str:
    if row is None:
        return "whether the two gain from each other was not tested"
    gains = f"{points(row['rate_a'])} points without and {points(row['rate_b'])} with it"
    effect = f"RAG-style training gains {{verb}} with retrieval than without, {gains}"
    null = f"{{null}} between RAG-style training and retrieval, its gain being {gains}"
    return "together, " + _clause(row, "interaction", ("more", "less"), effect, null)


def _clause(row: Row, noun: str, verbs: tuple[str, str], effect: str, null: str) -> str:
    """``effect`` or, where none is established, ``null``, filled in, with the numbers behind."""
    low, high = row["ci_low"], row["ci_high"]
    none = f"no {noun} was established"
    if low > 0 or high < 0:  # zero just outside the interval is a hint, and no more
        none = f"{'an' if noun[0] in 'aeiou' else 'a'} {noun} is suggested but not established"
    text = (effect if is_effect(row) else null).format(
        verb=verbs[row["difference"] <= 0],
        null=none,
        a=percent(row["rate_a"]),
        b=percent(row["rate_b"]),
    )
    return f"{text} {_evidence(row)}"


def _evidence(row: Row) -> str:
    parts = [evidence(row)]
    if row["n_missing"]:
        parts.append(f"{row['n_missing']} left out without a verdict")
    if not is_effect(row):
        least = f"{points(row['mde'], sign=False)} points"
        unknown = "too few questions to detect anything"
        parts.append(unknown if pd.isna(row["mde"]) else f"smallest detectable {least}")
    return f"({', '.join(parts)})"
