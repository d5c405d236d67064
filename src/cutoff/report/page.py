"""What notebooks display: observations, tables, examples, and the claims of 04.

Text that a model or a paper wrote is escaped before it is displayed.
"""

import html
from collections.abc import Callable
from typing import Any

import pandas as pd

from cutoff.report.claims import claims as claims
from cutoff.report.claims import validity as validity
from cutoff.report.wording import interval, label, millions, p_value, percent, points

LONGEST_EXAMPLE = 600  # characters of a response that are shown

# --- what notebooks display ------------------------------------------------------------


def say(markdown: str) -> None:
    """Display an observation that was computed from the data."""
    from IPython.display import Markdown, display

    display(Markdown(markdown))  # type: ignore[no-untyped-call]


def table(frame: pd.DataFrame, caption: str) -> None:
    """Display ``frame`` for people: known columns get their heading, unit and rounding.

    ``ci_low`` and ``ci_high`` become one column. The first column names the rows.
    """
    from IPython.display import HTML, display

    display(HTML(table_html(frame, caption)))  # type: ignore[no-untyped-call]


def examples(frame: pd.DataFrame, caption: str) -> None:
    """Display answers: columns question, reference, condition, response, passed."""
    from IPython.display import HTML, display

    display(HTML(examples_html(frame, caption)))  # type: ignore[no-untyped-call]


def _count(value: Any) -> str:
    return "–" if pd.isna(value) else f"{int(value):,}"


COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "name": ("Contrast", label),
    "condition": ("Condition", label),
    "stratum": ("Questions", label),
    "a": ("From", label),
    "b": ("To", label),
    "n": ("n", _count),
    "judge_failed": ("Judge failed", _count),
    "n_parameters": ("Parameters", millions),
    "n_missing": ("Left out", _count),
    "n_papers": ("Papers", _count),
    "passed": ("Passed", _count),
    "pass_rate": ("Pass rate", percent),
    "rate_a": ("From", percent),
    "rate_b": ("To", percent),
    "gained": ("Gained", _count),
    "lost": ("Lost", _count),
    "difference": ("Difference (points)", points),
    "interval": ("95 % interval (points)", str),
    "test": ("Test", str),
    "p": ("p", p_value),
    "p_by_paper": ("p by paper", p_value),
    "p_holm": ("p (Holm)", p_value),
    "effect_size": ("Cohen’s h", lambda h: "–" if pd.isna(h) else f"{h:.2f}".replace("-", "−")),
    "standard_error": ("Standard error (points)", lambda e: points(e, sign=False)),
    "n_for_5_points": ("Questions for 5 points", _count),
    "mde": ("Detectable (points)", lambda d: points(d, sign=False)),
    "mrr": ("MRR", lambda rank: f"{rank:.2f}"),
    **{f"recall@{k}": (f"Recall@{k}", percent) for k in range(1, 51)},
}


def table_html(frame: pd.DataFrame, caption: str) -> str:
    """The HTML of ``table``; everything that is not a number is escaped."""
    shown = frame.copy()
    if {"ci_low", "ci_high"} <= set(shown.columns):
        place = list(shown.columns).index("ci_low")
        both = zip(shown["ci_low"], shown["ci_high"], strict=True)
        shown.insert(place, "interval", [interval(low, high) for low, high in both])
        shown = shown.drop(columns=["ci_low", "ci_high"])
    heads, columns = [], []
    for name in shown.columns:
        heading, write = COLUMNS.get(str(name), (_heading(str(name)), _general))
        left = "" if pd.api.types.is_numeric_dtype(shown[name]) or name == "interval" else _LEFT
        heads.append(f'<th scope="col"{left}>{html.escape(heading)}</th>')
        columns.append([(html.escape(write(value)), left) for value in shown[name]])
    rows = []
    for first, *rest in zip(*columns, strict=True):
        cells = [f'<th scope="row"{_LEFT}>{first[0]}</th>']
        cells += [f"<td{left}>{text}</td>" for text, left in rest]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f"<table><caption>{html.escape(caption)}</caption>"
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


_LEFT = ' style="text-align: left"'


def _heading(name: str) -> str:
    if not name.isidentifier():  # words already
        return name
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _general(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)


def rates_grid(rates: pd.DataFrame) -> pd.DataFrame:
    """Pass rates for reading: a row per condition, a column per stratum, intervals in brackets."""
    cells = rates.assign(
        text=[
            f"{percent(row.pass_rate)}\u00a0({interval(row.ci_low, row.ci_high)})"
            for row in rates.itertuples()
        ],
        column=[
            f"{label(row.stratum)}, n\u00a0=\u00a0{row.n + row.judge_failed}"
            for row in rates.itertuples()
        ],
    )
    grid = cells.pivot(index="condition", columns="column", values="text")
    order = list(dict.fromkeys(cells["column"])), list(dict.fromkeys(cells["condition"]))
    return grid.loc[order[1], order[0]].reset_index().rename_axis(columns=None)


def examples_html(frame: pd.DataFrame, caption: str) -> str:
    """The HTML of ``examples``: one small table per question, all text escaped."""
    parts = [f"<p><strong>{html.escape(caption)}</strong></p>"]
    for (question, reference), group in frame.groupby(["question", "reference"], sort=False):
        rows = [
            f'<tr><th scope="row"{_LEFT}>{html.escape(label(row["condition"]))}</th>'
            f"<td{_LEFT}>{html.escape(_shortened(str(row['response'])))}</td>"
            f"<td>{_verdict(row['passed'])}</td></tr>"
            for row in group.to_dict("records")
        ]
        parts.append(
            f"<table><caption>{html.escape(str(question))} "
            f"<strong>Expected: {html.escape(str(reference))}</strong></caption>"
            f'<thead><tr><th scope="col"{_LEFT}>Condition</th><th scope="col"{_LEFT}>Answer</th>'
            f'<th scope="col">Verdict</th></tr></thead><tbody>{"".join(rows)}</tbody></table>'
        )
    return "".join(parts)


def _verdict(passed: Any) -> str:
    return "no verdict" if pd.isna(passed) else ("pass" if passed else "fail")


def _shortened(text: str) -> str:
    more = len(text) - LONGEST_EXAMPLE
    return text if more <= 0 else f"{text[:LONGEST_EXAMPLE]} … ({more:,} more characters)"
