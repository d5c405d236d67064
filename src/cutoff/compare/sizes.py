"""Finished runs side by side: what retrieval and training buy at each model size.

Reads every ``results.json`` below the outputs folder. Runs whose data set, prompts, judge
or scoring differ were asked or marked differently: they are named and left out.
"""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from cutoff import run
from cutoff.errors import CutoffError
from cutoff.wording import interval, label, percent, points

IDENTITY = {
    "dataset_id": "data set",
    "prompts_sha256": "prompts",
    "judge": "judge",
    "scoring": "scoring",
}
# What the earlier experiment reported for Qwen 2.5 0.5B. It gave no intervals.
PUBLISHED_RATES = {"base": 0.042, "base_rag": 0.228, "rag_ft_rag": 0.241}
PUBLISHED: dict[str, Any] = {"size": "0.5b", "n_parameters": 494_000_000}
CONDITIONS = tuple(PUBLISHED_RATES)
QUANTITIES = {
    "base": "Base, pass rate",
    "base_rag": "Base + RAG, pass rate",
    "rag_ft_rag": "RAG-tuned + RAG, pass rate",
    "rag_benefit": "RAG benefit, × base",
    "ft_benefit": "FT benefit under RAG, points",
    "synergy": "FT+RAG synergy, points",
    "ft_alone": "FT alone minus RAG alone, trained facts, points",
}
# Contrast and stratum of results.json behind each difference.
DIFFERENCES = {
    "ft_benefit": ("ft_under_rag_rag", "all_post"),
    "synergy": ("interaction_rag", "all_post"),
    "ft_alone": ("ft_instead_of_rag", "seen"),
}
Run = dict[str, Any]


def read_runs(outputs: Path, size: str) -> tuple[list[Run], list[str]]:
    """The finished runs that may stand beside that of ``size``, smallest model first, and a
    sentence for each that may not.

    Raises ``CutoffError`` when ``size`` itself has no finished run.
    """
    runs = {}
    for path in sorted(outputs.glob("*/results.json")):
        found = run.read_json(path)
        lacking = [name for name in ("size", "n_parameters", *IDENTITY) if name not in found]
        if lacking:
            raise CutoffError(
                f"{path} lacks {', '.join(lacking)}; make it again with "
                f"`make size={path.parent.name} stage=04_evaluate all`."
            )
        runs[found["size"]] = found
    if size not in runs:
        finished = f" (finished: {', '.join(runs)})" if runs else ""
        raise CutoffError(
            f"There is no finished run of size {size} in {outputs}{finished}; "
            f"run `make size={size} all` first."
        )
    anchor = runs[size]
    refused = {name: why_apart(anchor, found) for name, found in runs.items()}
    kept = [found for name, found in runs.items() if not refused[name]]
    apart = [
        f"`{name}` cannot stand beside `{size}`: {reason}."
        for name, reason in refused.items()
        if reason
    ]
    return sorted(kept, key=lambda found: (found["n_parameters"], found["size"])), apart


def why_apart(one: Run, other: Run) -> str:
    """What differs between two runs so that they may not be compared; empty if nothing."""
    return "; ".join(
        f"the {meaning} differs ({str(other[key])[:16]} against {str(one[key])[:16]})"
        for key, meaning in IDENTITY.items()
        if one[key] != other[key]
    )


def comparison(runs: list[Run]) -> pd.DataFrame:
    """One row per size and quantity: size, source, n_parameters, n, quantity, value,
    ci_low, ci_high. Rates and differences are proportions, the RAG benefit is a multiple of
    the base rate. The published run comes first, without intervals; unknown is missing."""
    rows = [_row(PUBLISHED, "published", q, *_published(q)) for q in QUANTITIES]
    for found in runs:
        rows += [_row(found, "this repository", q, *_observed(found, q)) for q in QUANTITIES]
    return pd.DataFrame(rows)


def pass_rates(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``comparison`` that ``figures.across_sizes`` draws."""
    rows = table[table["quantity"].isin(CONDITIONS) & table["value"].notna()]
    return rows.rename(columns={"quantity": "condition", "value": "pass_rate"})


def overview(runs: list[Run]) -> pd.DataFrame:
    """What each run is: the first thing to check before reading a difference."""
    names = ["size", "base_model", "n_parameters", "n_questions", "dataset_id", "judge"]
    return pd.DataFrame([{name: found.get(name) for name in names} for found in runs])


def reading(table: pd.DataFrame) -> str:
    """What the table says at each size about retrieval and about training on top of it."""
    sentences = []
    for (size, source), rows in table.groupby(["size", "source"], sort=False):
        by_quantity = rows.set_index("quantity").to_dict("index")
        benefit, added = (written(q, by_quantity[q]) for q in ("rag_benefit", "ft_benefit"))
        where = f"Published for {size}" if source == "published" else f"At `{size}`"
        sentences.append(
            f"{where}: retrieval adds {benefit} the base pass rate, and RAG-style training "
            f"changes the pass rate with retrieval by {added} points."
        )
    return " ".join(sentences)


def alt_text(rates: pd.DataFrame) -> str:
    """The figure of pass rates against size, in words."""
    parts = [
        f"{label(row['condition'])} {percent(row['pass_rate'])} at {row['size']} ({row['source']})"
        for row in rates.to_dict("records")
    ]
    return f"Pass rate against model size: {'; '.join(parts)}."


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """``comparison`` for reading: a row per quantity, a column per run, written out."""
    wide: dict[str, list[str]] = {"quantity": list(QUANTITIES.values())}
    for (size, source), rows in table.groupby(["size", "source"], sort=False):
        head = f"{size} ({source}, n = {rows['n'].iloc[0]:.0f})"
        if source == "published":
            head = f"{size} (published, no intervals)"
        by_quantity = rows.set_index("quantity").to_dict("index")
        wide[head] = [written(quantity, by_quantity[quantity]) for quantity in QUANTITIES]
    return pd.DataFrame(wide)


def what_next(runs: list[Run]) -> str:
    """What these runs can say about size, and what one more would add."""
    sizes = [found["size"] for found in runs]
    if len(runs) == 1:
        return (
            f"Only `{sizes[0]}` has been run. One size shows what retrieval and training buy "
            "there; it cannot show whether that changes with size. A second size (one more file "
            "in `params/`, then `make size=NAME all`) would add a difference between sizes, "
            "a third a direction. The published column came from other questions and another "
            "judge: it is a landmark, not a second point."
        )
    return (
        f"{len(runs)} sizes have been run on the same questions: {', '.join(sizes)}. "
        "Where two intervals do not overlap, the sizes differ; where they do, this page cannot "
        "tell."
    )


def markdown(table: pd.DataFrame, expected: pd.DataFrame, next_step: str) -> str:
    """``comparison.md``: the two tables and the sentence that belongs to them."""
    parts = ["# Retrieval and fine-tuning across sizes", _markdown_table(side_by_side(table))]
    parts += [next_step, "## Expected and observed", _markdown_table(expected)]
    return "\n\n".join(parts) + "\n"


def ratio_interval(
    p: tuple[float, float, float], q: tuple[float, float, float]
) -> tuple[float, float]:
    """Interval of p / q from (value, low, high) of each, by variance recovery.

    Takes the two as independent, which is cautious for paired rates. The upper end is
    missing where q may be zero.

    Donner A, Zou GY (2012). Closed-form confidence intervals for functions of the normal mean
    and standard deviation. Statistical Methods in Medical Research 21, 347-359.
    """
    (p0, p_low, p_high), (q0, q_low, q_high) = p, q
    below, above = q_low * (2 * q0 - q_low), q_high * (2 * q0 - q_high)
    low_root = (p0 * q0) ** 2 - p_low * (2 * p0 - p_low) * above
    high_root = (p0 * q0) ** 2 - p_high * (2 * p0 - p_high) * below
    low = (p0 * q0 - max(low_root, 0.0) ** 0.5) / above if above else math.nan
    high = (p0 * q0 + max(high_root, 0.0) ** 0.5) / below if below > 0 else math.nan
    return low, high


def _row(
    found: Run, source: str, quantity: str, value: float, low: float, high: float
) -> dict[str, Any]:
    n = found.get("conditions", {}).get("base", {}).get("n", math.nan)
    return {
        "size": found["size"],
        "source": source,
        "n_parameters": found["n_parameters"],
        "n": n,
        "quantity": quantity,
        "value": value,
        "ci_low": low,
        "ci_high": high,
    }


def _published(quantity: str) -> tuple[float, float, float]:
    rates = PUBLISHED_RATES
    known = dict(rates)
    # As published: the gain as a multiple of the base rate (4.4), not the ratio (5.4).
    known["rag_benefit"] = rates["base_rag"] / rates["base"] - 1
    known["ft_benefit"] = rates["rag_ft_rag"] - rates["base_rag"]
    return known.get(quantity, math.nan), math.nan, math.nan


def _observed(found: Run, quantity: str) -> tuple[float, float, float]:
    if quantity in DIFFERENCES:
        for row in found["contrasts"]:
            if (row["name"], row["stratum"]) == DIFFERENCES[quantity]:
                return _number(row["difference"]), _number(row["ci_low"]), _number(row["ci_high"])
        return math.nan, math.nan, math.nan
    if quantity == "rag_benefit":
        base, rag = _observed(found, "base"), _observed(found, "base_rag")
        low, high = ratio_interval(rag, base)
        return (rag[0] / base[0] - 1 if base[0] else math.nan), low - 1, high - 1
    rate = found["conditions"].get(quantity)
    if rate is None:
        return math.nan, math.nan, math.nan
    return _number(rate["pass_rate"]), _number(rate["ci95"][0]), _number(rate["ci95"][1])


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def written(quantity: str, row: dict[str, Any]) -> str:
    """A value of ``comparison`` with its unit, and its interval where there is one."""
    value, low, high = row["value"], row["ci_low"], row["ci_high"]
    if quantity == "rag_benefit":
        text = "–" if pd.isna(value) else f"{value:.1f}×"
        ends = f" ({low:.1f} to {'∞' if pd.isna(high) else f'{high:.1f}'})"
        return text if pd.isna(low) else text + ends
    text = percent(value) if quantity in CONDITIONS else points(value)
    return text if pd.isna(low) else f"{text} ({interval(low, high)})"


def _markdown_table(frame: pd.DataFrame) -> str:
    head = [str(name).replace("_", " ") for name in frame.columns]
    lines = [head, ["---"] * len(head), *frame.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
