"""The table of the scaling guide: what retrieval and training buy at each model size.

A column per finished run, and beside them what an earlier experiment published for Qwen 2.5
0.5B, marked as such and without intervals, because it gave none.
"""

import math
from typing import Any

import pandas as pd

from cutoff.compare.runs import Run
from cutoff.report.wording import interval, percent, points

# What the earlier experiment reported for Qwen 2.5 0.5B. It gave no intervals.
PUBLISHED_RATES = {"base": 0.042, "base_rag": 0.228, "rag_ft_rag": 0.241}
PUBLISHED: dict[str, Any] = {"size": "0.5b", "n_parameters": 494_000_000}
PUBLISHED_WORDS = {"synergy": "about 0, no figure given"}
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


def comparison(runs: list[Run]) -> pd.DataFrame:
    """One row per size and quantity: size, source, n_parameters, n, quantity, value,
    ci_low, ci_high. Rates and differences are proportions, the RAG benefit is a multiple of
    the base rate. The published run comes first, without intervals; unknown is missing."""
    rows = [_row(PUBLISHED, "published", q, *_published(q)) for q in QUANTITIES]
    for found in runs:
        rows += [_row(found, "this repository", q, *_observed(found, q)) for q in QUANTITIES]
    return pd.DataFrame(rows)


def reading(table: pd.DataFrame) -> str:
    """What the table says at each size about retrieval and about training on top of it."""
    sentences = []
    for (size, source), rows in table.groupby(["size", "source"], sort=False):
        by_quantity = rows.set_index("quantity").to_dict("index")
        benefit, added = (written(q, by_quantity[q]) for q in ("rag_benefit", "ft_benefit"))
        published = source == "published"
        where = f"Published for {size}" if published else f"**At `{size}`**"
        low, high = (by_quantity["ft_benefit"][end] for end in ("ci_low", "ci_high"))
        open_ = "" if published or not low <= 0 <= high else "; zero is inside, so none is shown"
        sentences.append(
            f"* {where}: retrieval adds {benefit} the base pass rate; the gain of RAG-style "
            f"training on top of it is {added} points{open_}."
        )
    return "\n".join(sentences)


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """``comparison`` for reading: a row per quantity, a column per run, written out."""
    wide: dict[str, list[str]] = {"quantity": list(QUANTITIES.values())}
    for (size, source), rows in table.groupby(["size", "source"], sort=False):
        head, words = f"{size} ({source}, n = {rows['n'].iloc[0]:.0f})", {}
        if source == "published":
            head = f"{size} (published, no intervals)"
            words = PUBLISHED_WORDS
        by_quantity = rows.set_index("quantity").to_dict("index")
        wide[head] = [words.get(q) or written(q, by_quantity[q]) for q in QUANTITIES]
    return pd.DataFrame(wide)


def effects(runs: list[Run]) -> pd.DataFrame:
    """Every contrast in every stratum at every size, and what was published of them.

    Columns: name, stratum, planned, size, source, n_parameters, n, difference, ci_low,
    ci_high; proportions.
    """
    names = "name stratum planned n difference ci_low ci_high".split()
    rows = [
        {name: row.get(name) for name in names}
        | {"size": found["size"], "n_parameters": found["n_parameters"]}
        | {"source": "this repository"}
        for found in runs
        for row in found["contrasts"]
    ]
    known = {"rag": PUBLISHED_RATES["base_rag"] - PUBLISHED_RATES["base"]}
    known["ft_under_rag_rag"] = PUBLISHED_RATES["rag_ft_rag"] - PUBLISHED_RATES["base_rag"]
    rows += [
        {"name": name, "stratum": "all_post", "planned": True, "difference": value}
        | PUBLISHED
        | {"source": "published"}
        for name, value in known.items()
    ]
    order = "name stratum planned size source n_parameters n difference ci_low ci_high".split()
    frame = pd.DataFrame(rows).reindex(columns=order)
    numbers = ["n_parameters", "n", "difference", "ci_low", "ci_high"]
    return frame.astype(dict.fromkeys(numbers, float))


def all_rates(runs: list[Run]) -> pd.DataFrame:
    """Pass rate of every condition in every stratum at every size, and the published ones.

    Columns: stratum, condition, n, pass_rate, ci_low, ci_high, size, source, n_parameters.
    """
    names = "stratum condition n pass_rate ci_low ci_high".split()
    rows = [
        {name: row.get(name) for name in names}
        | {"size": found["size"], "n_parameters": found["n_parameters"]}
        | {"source": "this repository"}
        for found in runs
        for row in found["pass_rates"]
    ]
    rows += [
        {"stratum": "all_post", "condition": name, "pass_rate": rate, "source": "published"}
        | PUBLISHED
        for name, rate in PUBLISHED_RATES.items()
    ]
    order = [*names, "size", "source", "n_parameters"]
    numbers = ["n", "pass_rate", "ci_low", "ci_high", "n_parameters"]
    return pd.DataFrame(rows).reindex(columns=order).astype(dict.fromkeys(numbers, float))


def markdown(parts: list[tuple[str, pd.DataFrame | str]]) -> str:
    """``comparison.md``: (heading, table or text) one after the other."""
    lines = ["# Retrieval and fine-tuning across sizes"]
    for heading, content in parts:
        body = content if isinstance(content, str) else _markdown_table(content)
        lines += [f"## {heading}", body]
    return "\n\n".join(lines) + "\n"


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
    return {
        "size": found["size"],
        "source": source,
        "n_parameters": found["n_parameters"],
        "n": _n(found, quantity),
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


def _n(found: Run, quantity: str) -> float:
    """Questions behind a quantity; those of the base condition behind the ratio."""
    if quantity in DIFFERENCES:
        for row in found.get("contrasts", []):
            if (row["name"], row["stratum"]) == DIFFERENCES[quantity]:
                return _number(row.get("n"))
    condition = quantity if quantity in CONDITIONS else "base"
    return _number(found.get("conditions", {}).get(condition, {}).get("n"))


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
