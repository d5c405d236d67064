"""The table of the scaling guide: what retrieval and training buy at each model size.

A column per finished run, and beside them what an earlier experiment published for Qwen 2.5
0.5B, marked as such and without intervals, because it gave none.
"""

import math
from typing import Any

import pandas as pd

from cutoff.compare.runs import Results
from cutoff.report.wording import interval, percent, points

# What the earlier experiment reported for Qwen 2.5 0.5B. It gave no intervals.
PUBLISHED_RATES = {"base": 0.042, "base_rag": 0.228, "rag_ft_rag": 0.241}
PUBLISHED: dict[str, Any] = {"size": "0.5b", "n_parameters": 494_000_000, "source": "published"}
PUBLISHED_WORDS = {"synergy": "about 0, no figure given"}
OURS = "this repository"
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
MISSING = {"value": math.nan, "ci_low": math.nan, "ci_high": math.nan, "n": math.nan}


def comparison(runs: list[Results]) -> pd.DataFrame:
    """One row per size and quantity: size, source, n_parameters, n, quantity, value,
    ci_low, ci_high. Rates and differences are proportions, the RAG benefit is a multiple of
    the base rate. The published run comes first, without intervals; unknown is missing."""
    rates = PUBLISHED_RATES
    # As published: the gain as a multiple of the base rate (4.4), not the ratio (5.4).
    published = rates | {
        "rag_benefit": rates["base_rag"] / rates["base"] - 1,
        "ft_benefit": rates["rag_ft_rag"] - rates["base_rag"],
    }
    rows = [
        PUBLISHED | MISSING | {"quantity": name, "value": published.get(name, math.nan)}
        for name in QUANTITIES
    ]
    for found in runs:
        of = {"size": found["size"], "source": OURS, "n_parameters": found["n_parameters"]}
        rows += [of | {"quantity": name} | _observed(found, name) for name in QUANTITIES]
    names = "size source n_parameters n quantity value ci_low ci_high".split()
    numbers = dict.fromkeys(["n", "value", "ci_low", "ci_high"], float)
    return pd.DataFrame(rows, columns=names).astype(numbers)


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """``comparison`` for reading: a row per quantity, a column per run, written out."""
    wide: dict[str, list[str]] = {"quantity": list(QUANTITIES.values())}
    for (size, source), rows in table.groupby(["size", "source"], sort=False):
        ours = source == OURS
        told = f"n = {rows['n'].iloc[0]:.0f}" if ours else "no intervals"
        head = f"{size} ({source}, {told})"
        words = {} if ours else PUBLISHED_WORDS
        by_quantity = rows.set_index("quantity").to_dict("index")
        wide[head] = [words.get(q) or written(q, by_quantity[q]) for q in QUANTITIES]
    return pd.DataFrame(wide)


def effects(runs: list[Results]) -> pd.DataFrame:
    """Every contrast in every stratum at every size, and what was published of them.

    Columns: name, stratum, planned, size, source, n_parameters, n, difference, ci_low,
    ci_high; proportions.
    """
    base, rag, both = PUBLISHED_RATES.values()
    known = {"rag": rag - base, "ft_under_rag_rag": both - rag}
    published = [
        {"name": name, "stratum": "all_post", "planned": True, "difference": value}
        for name, value in known.items()
    ]
    return _of_every_run(runs, "contrasts", "name stratum planned n difference", published)


def all_rates(runs: list[Results]) -> pd.DataFrame:
    """Pass rate of every condition in every stratum at every size, and the published ones.

    Columns: stratum, condition, n, pass_rate, ci_low, ci_high, size, source, n_parameters.
    """
    published = [
        {"stratum": "all_post", "condition": name, "pass_rate": rate}
        for name, rate in PUBLISHED_RATES.items()
    ]
    return _of_every_run(runs, "pass_rates", "stratum condition n pass_rate", published)


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


def written(quantity: str, row: dict[str, Any]) -> str:
    """A value of ``comparison`` with its unit, and its interval where there is one."""
    value, low, high = row["value"], row["ci_low"], row["ci_high"]
    if quantity == "rag_benefit":
        text = "–" if pd.isna(value) else f"{value:.1f}×"
        ends = f"{low:.1f} to {'∞' if pd.isna(high) else f'{high:.1f}'}"
    else:
        text = percent(value) if quantity in PUBLISHED_RATES else points(value)
        ends = interval(low, high)
    return text if pd.isna(low) else f"{text} ({ends})"


def _of_every_run(
    runs: list[Results], part: str, names: str, published: list[dict[str, Any]]
) -> pd.DataFrame:
    """Rows of one ``part`` of every results.json, and the published ones after them."""
    columns = [*names.split(), "ci_low", "ci_high"]
    rows = [
        {name: row.get(name) for name in columns}
        | {"size": found["size"], "n_parameters": found["n_parameters"], "source": OURS}
        for found in runs
        for row in found[part]
    ]
    rows += [row | PUBLISHED for row in published]
    frame = pd.DataFrame(rows).reindex(columns=[*columns, "size", "source", "n_parameters"])
    texts = {"name", "stratum", "condition", "planned", "size", "source"}
    return frame.astype({name: float for name in frame.columns if name not in texts})


def _observed(found: Results, quantity: str) -> dict[str, Any]:
    """value, ci_low, ci_high and n of a quantity; missing where the run did not measure it."""
    if quantity in DIFFERENCES:
        for row in found["contrasts"]:
            if (row["name"], row["stratum"]) == DIFFERENCES[quantity]:
                return {name: row.get(name) for name in MISSING} | {"value": row["difference"]}
        return MISSING
    if quantity == "rag_benefit":
        base, rag = _observed(found, "base"), _observed(found, "base_rag")
        (p, q) = ((r["value"], r["ci_low"], r["ci_high"]) for r in (rag, base))
        low, high = ratio_interval(p, q)
        value = p[0] / q[0] - 1 if q[0] else math.nan
        return {"value": value, "ci_low": low - 1, "ci_high": high - 1, "n": base["n"]}
    rate = found["conditions"].get(quantity)
    if rate is None:
        return MISSING
    low, high = (math.nan if end is None else end for end in rate["ci95"])
    value = math.nan if rate["pass_rate"] is None else rate["pass_rate"]
    return {"value": value, "ci_low": low, "ci_high": high, "n": rate["n"]}


def _markdown_table(frame: pd.DataFrame) -> str:
    head = [str(name).replace("_", " ") for name in frame.columns]
    lines = [head, ["---"] * len(head), *frame.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
