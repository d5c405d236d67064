"""At what size does fine-tuning pay? Answered by a rule that was fixed before any real run.

At one size training *pays* when its planned contrast is an established effect above zero: the
interval excludes zero and the adjusted p is below .05, the rule of every claim in 04. It *does
not pay* when the whole interval lies below ``WORTHWHILE``: a gain that large is ruled out.
Anything else *cannot be told yet*. Training pays *from* the smallest size at which, and at every
larger size of the family, it pays.
"""

from typing import Any

import pandas as pd

from cutoff.compare import sample_size
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
    value, low, high = row["difference"], row["ci_low"], row["ci_high"]
    if is_effect(row):
        if value < 0:
            return NOT, "lowers the pass rate"
        small = high < WORTHWHILE
        return PAYS, f"by less than {points(WORTHWHILE, False)} points" if small else ""
    if high < WORTHWHILE:
        return NOT, f"a gain of {points(WORTHWHILE, False)} points is ruled out"
    if low > 0:
        return UNKNOWN, "suggested, not established after adjustment"
    # Whichever is further off is decided first.
    edge = max((0.0, WORTHWHILE), key=lambda edge: abs(edge - value))
    needed = sample_size.questions(row["n"], value, low, high, (edge,))
    return UNKNOWN, f"needs {sample_size.written(needed)}"


def by_size(runs: list[Results], size: str) -> pd.DataFrame:
    """The rule at every run of the family of ``size``, smallest model first.

    Columns: purpose, size, n_parameters, n, difference, ci_low, ci_high, verdict, why.
    """
    families = families_of(runs)
    rows = []
    for purpose, key in PURPOSES.items():
        for found in runs:
            if families[found["size"]] != families[size]:
                continue
            held = {(row["name"], row["stratum"]): row for row in found["contrasts"]}.get(key)
            decided, why = verdict(held)
            names = ("n", "difference", "ci_low", "ci_high")
            rows.append(
                {"purpose": purpose, "size": found["size"], "n_parameters": found["n_parameters"]}
                | {name: (held or {}).get(name) for name in names}
                | {"verdict": decided, "why": why}
            )
    return pd.DataFrame(rows)


def answers(table: pd.DataFrame) -> list[str]:
    """One sentence per purpose: from which size training pays, as far as the runs can tell."""
    return [
        f"**Training {purpose}: {_answer(rows.to_dict('records'))}**"
        for purpose, rows in table.groupby("purpose", sort=False)
    ]


def _answer(rows: list[dict[str, Any]]) -> str:
    pays = [f"`{row['size']}`" for row in rows if row["verdict"] == PAYS]
    not_pays = [f"`{row['size']}`" for row in rows if row["verdict"] == NOT]
    first = len(rows)
    while first and rows[first - 1]["verdict"] == PAYS:
        first -= 1
    if first == 0:
        only = f"at {pays[0]}, the only size run" if len(pays) == 1 else (
            f"at every size run, from {pays[0]} on")  # fmt: skip
        return f"pays {only}; where it begins to pay lies below or was not looked for."
    if first < len(rows):
        below = [row["size"] for row in rows[:first] if row["verdict"] == NOT]
        if pays[0] != f"`{rows[first]['size']}`":
            return (
                f"no single threshold. It pays at {listed(pays)}, but not, or not for certain, at "
                f"a size between them; from `{rows[first]['size']}` on it pays throughout."
            )
        lower = f"above `{below[-1]}` and " if below else ""
        return f"begins to pay {lower}at the latest at `{rows[first]['size']}`."
    if pays:
        return f"no single threshold. It pays at {listed(pays)}, but no longer for certain above."
    if len(not_pays) == len(rows):
        return f"pays at none of the sizes run (largest: `{rows[-1]['size']}`)."
    ruled_out = f" It does not at {listed(not_pays)}." if not_pays else ""
    return f"cannot tell yet at which size it pays.{ruled_out}"
