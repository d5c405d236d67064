"""At what size does fine-tuning pay? Answered by a rule that was fixed before any real run.

At one size training *pays* when its planned contrast is an established effect above zero: the
interval excludes zero and the adjusted p is below .05, the rule of every claim in 04. It *does
not pay* when it is established below zero, or when the whole interval lies below ``WORTHWHILE``:
a gain that large is ruled out. Anything else *cannot be told yet*.
"""

from typing import Any

import pandas as pd

from cutoff.compare.runs import Results, families_of
from cutoff.report.claims import is_effect
from cutoff.report.wording import listed, points

# Five points: the least that was expected of 3-7B, and about what a run of 800 questions detects.
WORTHWHILE = 0.05
# What training is asked to do -> the planned contrast and stratum that answer.
PURPOSES = {
    "on top of retrieval": ("ft_under_rag_rag", "all_post"),
    "instead of retrieval, for trained facts": ("ft_instead_of_rag", "seen"),
    "without retrieval, to store trained facts": ("ft_closed_book_instruct", "seen"),
}
PAYS, NOT, UNKNOWN = "pays", "does not pay", "cannot tell yet"


def verdict(row: dict[str, Any] | None) -> tuple[str, str]:
    """(*pays*, *does not pay* or *cannot tell yet*, why) for one contrast at one size."""
    if row is None or row.get("ci_low") is None:
        return UNKNOWN, "not measured"
    small, worthwhile = row["ci_high"] < WORTHWHILE, points(WORTHWHILE, False)
    if is_effect(row) and row["difference"] > 0:
        return PAYS, f"by less than {worthwhile} points" if small else ""
    if is_effect(row):
        return NOT, "lowers the pass rate"
    if small:
        return NOT, f"a gain of {worthwhile} points is ruled out"
    suggested = "suggested, not established after adjustment"
    return UNKNOWN, suggested if row["ci_low"] > 0 else "the interval holds both"


def by_size(runs: list[Results], size: str) -> pd.DataFrame:
    """The rule at every run of the family of ``size``, smallest model first.

    Columns: purpose, size, n_parameters, n, difference, ci_low, ci_high, verdict, why.
    """
    families = families_of(runs)
    rows = []
    for purpose, key in PURPOSES.items():
        for found in (one for one in runs if families[one["size"]] == families[size]):
            held = {(row["name"], row["stratum"]): row for row in found["contrasts"]}.get(key)
            numbers = {n: (held or {}).get(n) for n in ("n", "difference", "ci_low", "ci_high")}
            of = {"purpose": purpose, "size": found["size"], "n_parameters": found["n_parameters"]}
            rows.append(of | numbers | dict(zip(("verdict", "why"), verdict(held), strict=True)))
    return pd.DataFrame(rows)


def answers(table: pd.DataFrame) -> list[str]:
    """One sentence per purpose: at which sizes training pays, as far as the runs can tell."""
    sentences = []
    for purpose, rows in table.groupby("purpose", sort=False):
        parts = [
            f"{told} at {listed([f'`{size}`' for size in same['size']])}"
            for told, same in rows.groupby("verdict", sort=False)
        ]
        sentences.append(f"**Training {purpose} {'; '.join(parts)}.**")
    return sentences
