"""Differences between sizes, paired: every size answered the same questions.

A hard paper is hard for every size, so the errors of two sizes are correlated, and their
difference is known better than two separate intervals suggest. The correlation comes from the
verdicts of single questions (``judgements.jsonl``), summed by paper, because papers were sampled.
Where they are not at hand, two sizes count as independent, and it is said.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from cutoff import files
from cutoff.compare.runs import Results
from cutoff.experiment import POST_STRATA
from cutoff.report.wording import label, with_interval

# The correlation of two sizes is shrunk by this factor: equal verdicts on some hundred questions
# do not prove that two models are equal.
SHRINKAGE = 0.95


def verdicts(outputs: Path, runs: list[Results]) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Passes by question of every size that kept them, and a sentence for each that did not.

    A table has a row per question (index paper_id, stratum, question_id), a column per
    condition, and 1.0, 0.0 or NaN (no verdict). One that contradicts its run's
    ``results.json`` is not used.
    """
    tables, lacking = {}, []
    for found in runs:
        size = found["size"]
        table = _table(outputs / size / "judgements.jsonl")
        if table is None:
            reason = "its judgements of single questions, one for each, are not at hand"
        elif not _agrees(table, found):
            reason = "its judgements are not those that its results.json was made from"
        else:
            tables[size] = table
            continue
        lacking.append(f"`{size}` counts as independent of the other sizes: {reason}.")
    return tables, lacking


def covariance(rows: Mapping[str, Results], tables: Mapping[str, pd.DataFrame]) -> NDArray[Any]:
    """Covariance of the same contrast's estimates at several sizes (proportions squared).

    ``rows`` maps a size to the contrast's row of ``results.json``, whose interval gives the
    variance; the correlation is that of the papers' contributions to the two means
    (linearised cluster estimator).

    Binder DA (1983). On the variances of asymptotically normal estimators from complex
    surveys. International Statistical Review 51, 279-292.
    """
    errors = np.array([standard_error(row) for row in rows.values()])
    shares = [_contributions(row, tables.get(size)) for size, row in rows.items()]
    correlation = np.eye(len(errors))
    for i, one in enumerate(shares):
        for j, other in enumerate(shares[:i]):
            if one is not None and other is not None:
                both = pd.concat([one, other], axis=1, join="inner").to_numpy()
                norm = np.sqrt((both**2).sum(axis=0).prod())
                r = float(both[:, 0] @ both[:, 1] / norm) if norm > 0 else 0.0
                correlation[i, j] = correlation[j, i] = SHRINKAGE * r
    return np.asarray(correlation * np.outer(errors, errors))


def standard_error(row: Results) -> float:
    """Standard error behind a 95 % interval of ``results.json``; NaN without one."""
    low, high = row.get("ci_low"), row.get("ci_high")
    return float("nan") if low is None or high is None else (high - low) / (2 * _t(row))


def planned_rows(runs: list[Results]) -> dict[tuple[str, str], dict[str, Results]]:
    """(contrast, stratum) -> size -> its row of ``results.json``, where an interval is known."""
    found: dict[tuple[str, str], dict[str, Results]] = {}
    for one in runs:
        for row in one["contrasts"]:
            if row.get("planned") and not np.isnan(standard_error(row)):
                found.setdefault((row["name"], row["stratum"]), {})[one["size"]] = row
    return found


def between(runs: list[Results], tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How much a planned contrast grows from one size to the next larger one.

    Columns: name, stratum, smaller, larger, n, paired, difference (larger minus smaller,
    proportions), ci_low, ci_high (95 %, t with papers - 1 degrees of freedom).
    """
    lines = []
    for (name, stratum), by_size in planned_rows(runs).items():
        for smaller, larger in pairwise(by_size):
            pair = {smaller: by_size[smaller], larger: by_size[larger]}
            one, other = pair.values()
            matrix = covariance(pair, tables)
            error = float(np.sqrt(matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1]))
            reach = _t(one, other) * error
            d = other["difference"] - one["difference"]
            lines.append(
                {
                    "name": name,
                    "stratum": stratum,
                    "smaller": smaller,
                    "larger": larger,
                    "n": min(one.get("n", 0), other.get("n", 0)),
                    "paired": smaller in tables and larger in tables,
                    "difference": d,
                    "ci_low": max(-2.0, d - reach),
                    "ci_high": min(2.0, d + reach),
                }
            )
    names = "name stratum smaller larger n paired difference ci_low ci_high".split()
    return pd.DataFrame(lines, columns=names)


def reading(table: pd.DataFrame) -> str:
    """Which contrasts differ between neighbouring sizes; nothing is said of the others."""
    if table.empty:
        return "**There is no second size to compare with.**"
    apart = table[(table["ci_low"] > 0) | (table["ci_high"] < 0)]
    lines = [
        f"* {label(row['name'])} ({label(row['stratum']).lower()}), `{row['larger']}` against "
        f"`{row['smaller']}`: " + with_interval(row["difference"], row["ci_low"], row["ci_high"])
        for row in apart.to_dict("records")
    ]
    head = (
        f"**{len(apart)} of {len(table)} planned contrasts differ between neighbouring sizes** "
        f"(interval without zero); about {0.05 * len(table):.1f} would by chance alone."
    )
    return "\n".join([head, *([""] if lines else []), *lines])


def _t(*rows: Results) -> float:
    """97.5 % point of t for the fewest papers: 04's intervals allow for few papers, too."""
    return float(stats.t.isf(0.025, max(1, min(row.get("n_papers") or 2 for row in rows) - 1)))


def _table(judged: Path) -> pd.DataFrame | None:
    if not judged.exists():
        return None
    frame = pd.DataFrame(files.read_jsonl(judged))
    index = ["paper_id", "stratum", "question_id"]
    if not {*index, "condition", "passed"} <= set(frame.columns):
        return None  # made before these fields travelled with a verdict
    if frame.duplicated(["question_id", "condition"]).any():
        return None  # several judges: their votes are not the verdict
    frame["passed"] = frame["passed"].astype("boolean").astype("Float64")
    return frame.pivot(index=index, columns="condition", values="passed").astype(float)


def _agrees(table: pd.DataFrame, found: Results) -> bool:
    """Whether the verdicts give the number of passes that ``results.json`` holds."""
    new = table[table.index.get_level_values("stratum").isin(POST_STRATA)]
    return all(
        name in new and int(new[name].sum()) == held.get("passed")
        for name, held in found["conditions"].items()
    )


def _contributions(row: Results, table: pd.DataFrame | None) -> "pd.Series[float] | None":
    """What every paper adds to the contrast's error: the sum over its questions of value - mean.

    The contrast is b minus a, of single conditions or of differences ``x - y``.
    """
    if table is None:
        return None
    signs: dict[str, int] = {}
    for side, sign in ((row["b"], 1), (row["a"], -1)):
        for name, inner in zip(str(side).split(" - "), (1, -1), strict=False):
            signs[name] = signs.get(name, 0) + sign * inner
    if not set(signs) <= set(table.columns):
        return None
    strata = POST_STRATA if row["stratum"] == "all_post" else (row["stratum"],)
    here = table[table.index.get_level_values("stratum").isin(strata)]
    values = sum((sign * here[name] for name, sign in signs.items()), start=0.0 * here.iloc[:, 0])
    values = values.dropna()
    return (values - values.mean()).groupby(level="paper_id").sum()
