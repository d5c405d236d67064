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
    rows = {(row["name"], row["stratum"]): row for row in contrasts.to_dict("records")}

    def change(subject: str, where: str, name: str, stratum: str) -> str:
        row = rows.get((name, stratum))
        return _change(subject, where, row) if row else f"{subject} was not tested on {where}"

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


def _change(subject: str, where: str, row: Row) -> str:
    before, after = percent(row["rate_a"]), percent(row["rate_b"])
    if is_effect(row):
        verb = "raises" if row["difference"] > 0 else "lowers"
        return (
            f"{subject} {verb} the pass rate on {where} from {before} to {after} {_evidence(row)}"
        )
    return (
        f"{_not_established('effect', row)} for {subject} on {where}, "
        f"{before} without it and {after} with it {_evidence(row)}"
    )


def _against(row: Row | None) -> str:
    if row is None:
        return "training alone was not compared with retrieval alone"
    trained, retrieval = percent(row["rate_b"]), percent(row["rate_a"])
    if is_effect(row):
        verb = "beats" if row["difference"] > 0 else "falls short of"
        return (
            f"on trained facts, question-answer training alone {verb} retrieval alone, "
            f"{trained} against {retrieval} {_evidence(row)}"
        )
    return (
        f"on trained facts, {_not_established('difference', row)} between question-answer "
        f"training alone, {trained}, and retrieval alone, {retrieval} {_evidence(row)}"
    )


def _together(row: Row | None) -> str:
    if row is None:
        return "whether the two gain from each other was not tested"
    gains = f"{points(row['rate_a'])} points without and {points(row['rate_b'])} with it"
    if is_effect(row):
        size = "more" if row["difference"] > 0 else "less"
        return (
            f"together, RAG-style training gains {size} with retrieval than without, "
            f"{gains} {_evidence(row)}"
        )
    return (
        f"together, {_not_established('interaction', row)} between RAG-style training and "
        f"retrieval, its gain being {gains} {_evidence(row)}"
    )


def _not_established(noun: str, row: Row) -> str:
    """Zero inside the interval is a null; zero just outside it is a hint, and no more."""
    low, high = row["ci_low"], row["ci_high"]
    if pd.isna(low) or low <= 0 <= high:
        return f"no {noun} was established"
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun} is suggested but not established"


def _evidence(row: Row) -> str:
    parts = [evidence(row)]
    if row["n_missing"]:
        parts.append(f"{row['n_missing']} left out without a verdict")
    if not is_effect(row):
        least = f"{points(row['mde'], sign=False)} points"
        unknown = "too few questions to detect anything"
        parts.append(unknown if pd.isna(row["mde"]) else f"smallest detectable {least}")
    return f"({', '.join(parts)})"
