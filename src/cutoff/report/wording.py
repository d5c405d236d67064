"""How conditions, strata, contrasts and numbers are written wherever a reader meets them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

LABELS = {
    "base": "Base",
    "base_rag": "Base + RAG",
    "instruct_ft": "QA-tuned",
    "instruct_ft_rag": "QA-tuned + RAG",
    "rag_ft": "RAG-tuned",
    "rag_ft_rag": "RAG-tuned + RAG",
    "all": "All questions",
    "all_post": "All new papers",
    "seen": "Trained facts",
    "unseen_fact": "Other facts, same papers",
    "unseen_paper": "Papers not trained on",
    "control": "Papers before the cutoff",
    "rag": "Retrieval, no training",
    "ft_closed_book_instruct": "QA training, closed book",
    "ft_closed_book_rag": "RAG-style training, closed book",
    "ft_under_rag_instruct": "QA training on top of retrieval",
    "ft_under_rag_rag": "RAG-style training on top of retrieval",
    "transfer_to_rag": "With retrieval: QA against RAG-style training",
    "transfer_to_closed_book": "Closed book: RAG-style against QA training",
    "ft_instead_of_rag": "QA training instead of retrieval",
    "interaction_instruct": "Interaction: QA training × retrieval",
    "interaction_rag": "Interaction: RAG-style training × retrieval",
    "none": "No passages",
    "retrieved": "Retrieved passages",
    "oracle": "Evidence only",
    "distractor": "Useless passages",
    "evidence_alone": "Evidence only instead of retrieved passages",
    "useless_passages": "Useless passages instead of none",
    "unanswerable": "Questions without an answer",
    "stated": "Reference stated",
    "exact_match": "Exact match",
    "numeric_match": "Numbers match",
    "token_f1": "Token F1",
    "similarity": "Embedding similarity",
    "declined": "Declined",
    "guessed": "Reference stated all the same",
    "looped": "Repeats itself",
    "words": "Words",
    "completion_tokens": "Answer tokens",
    "prompt_tokens": "Prompt tokens",
    "latency_seconds": "Latency (s)",
    "not_attempted": "Not attempted (judge)",
    "cut_off": "Cut off",
    "answer_in_context": "Answer in the prompt",
    "cited": "Something cited",
    "citation_precision": "Citation precision",
    "citation_recall": "Citation recall",
    "answer_in_cited": "Answer in a cited passage",
    "grounded": "Grounded words",
}
LABELS |= {
    f"{model}_{context}": f"{LABELS[model]} + {LABELS[context].lower()}"
    for model in ("base", "instruct_ft", "rag_ft")
    for context in ("oracle", "distractor")
}


def label(identifier: Any) -> str:
    """The name that readers see for a condition, stratum or contrast."""
    text = str(identifier)
    parts = [LABELS.get(part, part) for part in text.split(" - ")]
    return " − ".join(parts)


def percent(proportion: float) -> str:
    """``0.6286`` -> ``62.9 %``."""
    return "–" if pd.isna(proportion) else f"{100 * proportion:.1f}\u00a0%"


def points(difference: float, sign: bool = True) -> str:
    """Percentage points with a real minus sign: ``-0.0125`` -> ``−1.2``."""
    if pd.isna(difference):
        return "–"
    text = f"{100 * difference:.1f}"
    if text in ("-0.0", "0.0"):
        return "0.0"
    plus = "+" if sign and difference > 0 else ""
    return plus + text.replace("-", "−")


def millions(parameters: float) -> str:
    """A model's size: ``3.3 M``, ``494 M``, ``7.6 B``."""
    if pd.isna(parameters):
        return "–"
    small = parameters < 1e9
    return f"{parameters / (1e6 if small else 1e9):.3g}\u00a0{'M' if small else 'B'}"


def p_value(p: float) -> str:
    """APA style, without the letter: ``.042``, ``< .001``, ``1.000``."""
    if pd.isna(p):
        return "–"
    return "<\u00a0.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def interval(low: float, high: float) -> str:
    """An interval in percentage points: ``−2.5 to 7.5``."""
    if pd.isna(low):
        return "–"
    return f"{points(low, False)}\u00a0to\u00a0{points(high, False)}"


def with_interval(value: float, low: float, high: float, unit: str = "points") -> str:
    """``+8.8 points (−1.2 to 17.6)`` or, as ``percent``, ``62.9 % (50.1 to 73.0)``."""
    text = percent(value) if unit == "percent" else f"{points(value)}\u00a0points"
    return text if pd.isna(value) or pd.isna(low) else f"{text} ({interval(low, high)})"


def each(frame: pd.DataFrame, name: str, value: str, unit: str = "percent") -> str:
    """``Base 8.6 % (5.8 to 12.5), QA-tuned ...``: the label ``name`` of every row of ``frame`` and
    its ``value`` with ci_low and ci_high."""
    return ", ".join(
        f"{label(row[name])} {with_interval(row[value], row['ci_low'], row['ci_high'], unit)}"
        for row in frame.to_dict("records")
    )


def evidence(row: Mapping[str, Any]) -> str:
    """The numbers behind a sentence about a difference, in the order of every report.

    ``row``: difference, ci_low, ci_high, and p_holm (or p) and n where there are any.
    """
    parts = [
        f"{points(row['difference'])} points",
        f"95\u00a0% interval {interval(row['ci_low'], row['ci_high'])}",
    ]
    p = row.get("p_holm", row.get("p"))
    if p is not None and not pd.isna(p):
        text = p_value(p)
        parts.append(f"p\u00a0{text if text.startswith('<') else '= ' + text}")
    if "n" in row:
        parts.append(f"n\u00a0=\u00a0{row['n']:,}")
    return ", ".join(parts)


def listed(texts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))
