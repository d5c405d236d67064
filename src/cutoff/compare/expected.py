"""The pattern that was expected before any run, against what was observed.

Where the expectation was stated as a word, the range it is read as stands beside it; these
readings are ours, and were fixed before any real size was run.
"""

import math
from typing import Any

import pandas as pd

from cutoff.compare.sizes import QUANTITIES, written
from cutoff.report.wording import points

# Class of sizes -> (fewest, most parameters).
SIZE_CLASSES = {"0.5B": (0.3e9, 1e9), "3-7B": (2.5e9, 9e9), "14B+": (13e9, math.inf)}
# Quantity -> class of sizes -> (as it was stated, range that is tested).
EXPECTED: dict[str, dict[str, tuple[str, float, float]]] = {
    "rag_benefit": {
        "0.5B": ("4-5×", 4, 5),
        "3-7B": ("3-4×", 3, 4),
        "14B+": ("2-3×", 2, 3),
    },
    "ft_benefit": {
        "0.5B": ("+1.3 % observed", -0.05, 0.05),
        "3-7B": ("+5-10 %", 0.05, 0.10),
        "14B+": ("+10-20 %", 0.10, 0.20),
    },
    "synergy": {
        "0.5B": ("minimal", -0.05, 0.05),
        "3-7B": ("moderate", 0.05, 0.10),
        "14B+": ("strong", 0.10, math.inf),
    },
    "ft_alone": {
        "0.5B": ("FT replaces RAG: no", -math.inf, -0.10),
        "3-7B": ("FT replaces RAG: partially", -0.10, 0.0),
        "14B+": ("FT replaces RAG: possibly", 0.0, math.inf),
    },
}


def against(table: pd.DataFrame) -> pd.DataFrame:
    """The pattern expected at each class of sizes against what this repository observed.

    ``table`` is ``sizes.comparison``. ``verdict``: *inside*, *above* or *below* when the whole
    interval is; *cannot tell* when it crosses an edge, or when nothing was run.
    """
    rows = []
    ours = table[table["source"] != "published"]
    for quantity, by_class in EXPECTED.items():
        for size_class, (stated, low, high) in by_class.items():
            least, most = SIZE_CLASSES[size_class]
            here = ours[(ours["quantity"] == quantity) & ours["n_parameters"].between(least, most)]
            for record in here.to_dict("records") or [None]:
                seen = record and f"{record['size']}: {written(quantity, record)}"
                rows.append(
                    {
                        "quantity": QUANTITIES[quantity],
                        "size class": size_class,
                        "expected": stated,
                        "range tested": _range(quantity, low, high),
                        "observed": seen or "not run",
                        "verdict": verdict((low, high), record),
                    }
                )
    return pd.DataFrame(rows)


def tally(pattern: pd.DataFrame) -> str:
    """How many of the expectations were decided, and how."""
    kinds = pattern["verdict"].str.split(":").str[0]
    parts = [f"{n} {kind}" for kind, n in kinds.value_counts().items()]
    decided = int((kinds != "cannot tell").sum())
    text = f"**Of {len(pattern)} expectations, {decided} can be decided: {', '.join(parts)}.**"
    if (pattern["observed"] == "not run").all():
        text += " No run falls into a size class of the expectation: neither confirmed nor refuted."
    return text


def verdict(expected: tuple[float, float], record: dict[str, Any] | None) -> str:
    """Where an observed interval lies with respect to an expected range."""
    if record is None:
        return "cannot tell: not run"
    low, high = record["ci_low"], record["ci_high"]
    if pd.isna(low):
        return "cannot tell: no interval"
    high = math.inf if pd.isna(high) else high
    if low > expected[1]:
        return "above"
    if high < expected[0]:
        return "below"
    inside = expected[0] <= low and high <= expected[1]
    return "inside" if inside else "cannot tell: the interval crosses an edge"


def _range(quantity: str, low: float, high: float) -> str:
    if quantity == "rag_benefit":
        return f"{low:g} to {high:g}×"
    if math.isinf(low):
        return f"below {points(high)}"
    return f"above {points(low)}" if math.isinf(high) else f"{points(low)} to {points(high)}"
