"""The pattern that was expected before any run, against what was observed."""

import math
from typing import Any

import pandas as pd

from cutoff.compare.sizes import QUANTITIES, written
from cutoff.wording import points

# Class of sizes -> (fewest, most parameters) and the pattern stated before the runs.
# A range is tested; words without a number cannot be.
SIZE_CLASSES = {"0.5B": (0.3e9, 1e9), "3-7B": (2.5e9, 9e9), "14B+": (13e9, math.inf)}
EXPECTED: dict[str, dict[str, tuple[float, float] | str]] = {
    "rag_benefit": {"0.5B": (4, 5), "3-7B": (3, 4), "14B+": (2, 3)},
    "ft_benefit": {"0.5B": "+1.3 observed", "3-7B": (0.05, 0.10), "14B+": (0.10, 0.20)},
    "synergy": {"0.5B": "minimal", "3-7B": "moderate", "14B+": "strong"},
    "ft_alone": {"0.5B": "no", "3-7B": "partially", "14B+": "possibly"},
}


def against(table: pd.DataFrame) -> pd.DataFrame:
    """The pattern expected at each class of sizes against what this repository observed.

    ``verdict``: *inside*, *above* or *below* when the whole interval is; *cannot tell* when
    it crosses an edge, when nothing was run, or when the expectation is a word.
    """
    rows = []
    ours = table[table["source"] != "published"]
    for quantity, by_class in EXPECTED.items():
        for size_class, expected in by_class.items():
            least, most = SIZE_CLASSES[size_class]
            here = ours[(ours["quantity"] == quantity) & ours["n_parameters"].between(least, most)]
            stated = expected if isinstance(expected, str) else _range(quantity, *expected)
            for record in here.to_dict("records") or [None]:
                rows.append(
                    {
                        "quantity": QUANTITIES[quantity],
                        "size_class": size_class,
                        "expected": stated,
                        "observed": f"{record['size']}: {written(quantity, record)}"
                        if record
                        else "not run",
                        "verdict": verdict(expected, record),
                    }
                )
    return pd.DataFrame(rows)


def tally(pattern: pd.DataFrame) -> str:
    """How many of the expectations were decided, and how."""
    kinds = pattern["verdict"].str.split(":").str[0].str.removesuffix(" yet")
    parts = [f"{n} {kind}" for kind, n in kinds.value_counts().items()]
    decided = int((kinds != "cannot tell").sum())
    return f"Of {len(pattern)} expectations, {decided} can be decided: {', '.join(parts)}."


def verdict(expected: tuple[float, float] | str, record: dict[str, Any] | None) -> str:
    """Where an observed interval lies with respect to an expected range."""
    if record is None:
        return "cannot tell: not run"
    if isinstance(expected, str):
        return "cannot tell: no number was stated"
    low, high = record["ci_low"], record["ci_high"]
    if pd.isna(low) or pd.isna(high):
        return "cannot tell: no interval"
    if low > expected[1]:
        return "above"
    if high < expected[0]:
        return "below"
    return "inside" if expected[0] <= low and high <= expected[1] else "cannot tell yet"


def _range(quantity: str, low: float, high: float) -> str:
    if quantity == "rag_benefit":
        return f"{low:g} to {high:g}×"
    return f"{points(low)} to {points(high)}"
