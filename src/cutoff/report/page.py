"""What notebooks display: observations, tables and examples.

Text that a model or a paper wrote is escaped before it is displayed.
"""

import html
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from cutoff.report.wording import interval, label, millions, p_value, percent, points

LONGEST_EXAMPLE = 600  # characters of a response that are shown


def say(markdown: str) -> None:
    """Display an observation that was computed from the data."""
    from IPython.display import Markdown, display

    display(Markdown(markdown))  # type: ignore[no-untyped-call]


def table(frame: pd.DataFrame, caption: str) -> None:
    """Display ``frame`` for people: known columns get their heading, unit and rounding.

    ``ci_low`` and ``ci_high`` become one column; ``x_low`` and ``x_high`` beside a column ``x``
    go into its cells. The first column names the rows.
    """
    _display(table_html(frame, caption))


def examples(frame: pd.DataFrame, caption: str) -> None:
    """Display answers: columns question, reference, condition, response, passed."""
    _display(examples_html(frame, caption))


def _display(text: str) -> None:
    from IPython.display import HTML, display

    display(HTML(text))  # type: ignore[no-untyped-call]


def _count(value: Any) -> str:
    return "–" if pd.isna(value) else f"{int(value):,}"


def _fixed(value: Any, digits: int) -> str:
    if isinstance(value, str):  # written already
        return value
    return "–" if pd.isna(value) else f"{value:.{digits}f}".replace("-", "−")


def _rounded(value: float) -> str:
    """A cost: whole from 100 on, else three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "name": ("Contrast", label),
    "condition": ("Condition", label),
    "stratum": ("Questions", label),
    "a": ("From", label),
    "b": ("To", label),
    "n": ("n", _count),
    "n_parameters": ("Parameters", millions),
    "n_missing": ("Left out", _count),
    "n_papers": ("Papers", _count),
    "pass_rate": ("Pass rate", percent),
    "share": ("Share", percent),
    "a_wins": ("First wins", _count),
    "b_wins": ("Second wins", _count),
    "win_rate": ("Second’s win rate", percent),
    "right": ("Marked right", percent),
    "sensitivity": ("Right answers passed", percent),
    "specificity": ("Wrong answers failed", percent),
    "agreement": ("Same verdict", percent),
    "corrected": ("Corrected (points)", points),
    "outcome": ("Conclusion", str),
    "recall": ("Recall", percent),
    "rate_a": ("Passes before", percent),
    "rate_b": ("Passes after", percent),
    "difference": ("Difference (points)", points),
    "p": ("p", p_value),
    "p_by_paper": ("p by paper", p_value),
    "p_holm": ("p (Holm)", p_value),
    "effect_size": ("Cohen’s h", lambda h: _fixed(h, 2)),
    "standard_error": ("Standard error (points)", lambda e: points(e, sign=False)),
    "n_for_5_points": ("Questions for 5 points", _count),
    "mde": ("Detectable (points)", lambda d: points(d, sign=False)),
    "retained": ("Right before, still right", percent),
    "changed": ("Other texts", percent),
    "seed_share": ("Due to training", percent),
    "measure": ("Measure", label),
    "auc": ("Passed scores higher (0.5: chance)", lambda auc: _fixed(auc, 3)),
    "same": ("Same decision", percent),
    "kappa": ("Cohen’s κ", lambda kappa: _fixed(kappa, 3)),
    "became": ("What became of the answer", str),
    "training": ("Training, once", _rounded),
    "retrieval": ("A question with retrieval", _rounded),
    "closed_book": ("A question closed book", _rounded),
    "repaid_after": ("Repaid after questions (95 % interval)", str),
    "tokens_per_second": ("Tokens per second", _count),
    "train_seconds": ("Seconds", lambda seconds: f"{seconds:,.1f}"),
    "peak_rss_mb": ("Peak memory (MB)", _count),
    "peak_gpu_mb": ("Peak GPU memory (MB)", _count),
    "gpu_hours": ("GPU hours", lambda hours: _fixed(hours, 2)),
    "mfu": ("MFU", percent),
    "mean_tokens": ("Mean tokens", lambda n: _fixed(n, 1)),
    "trained_tokens_per_example": ("Trained tokens", lambda n: _fixed(n, 1)),
    "padding_share": ("Padding", percent),
    "megabytes": ("MB", lambda size: f"{size:,.1f}"),
    "k": ("k", _count),
    "mrr": ("MRR", lambda rank: f"{rank:.2f}"),
    "ndcg": ("nDCG", lambda gain: f"{gain:.2f}"),
    **{f"recall@{k}": (f"Recall@{k}", percent) for k in range(1, 51)},
}


def table_html(frame: pd.DataFrame, caption: str) -> str:
    """The HTML of ``table``; everything that is not a number is escaped."""
    heads, columns = [], []
    for heading, left, cells in _columns(frame):
        heads.append(f'<th scope="col"{left}>{html.escape(heading)}</th>')
        columns.append([(html.escape(str(cell)), left) for cell in cells])
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


def _columns(frame: pd.DataFrame) -> Iterator[tuple[str, str, list[str]]]:
    """Heading, alignment and cells of every column, with ends of intervals folded in."""
    names = set(frame)
    folded = [name for name in names if {f"{name}_low", f"{name}_high"} <= names]
    ends = {f"{name}_{end}" for name in folded for end in ("low", "high")}
    for name in frame:
        low, high = f"{name}_low", f"{name}_high"
        heading, write = COLUMNS.get(str(name), (_heading(str(name)), _general))
        if name == "ci_low" and "ci_high" in names:
            spans = zip(frame["ci_low"], frame["ci_high"], strict=True)
            yield "95 % interval (points)", "", [interval(*span) for span in spans]
        elif name in folded:
            rows = zip(frame[name], frame[low], frame[high], strict=True)
            yield heading, "", [_beside(write, *row) for row in rows]
        elif name not in ends and not (name == "ci_high" and "ci_low" in names):
            left = "" if pd.api.types.is_numeric_dtype(frame[name]) else _LEFT
            yield heading, left, [write(value) for value in frame[name]]


def _beside(write: Callable[[Any], str], value: Any, low: Any, high: Any) -> str:
    """A value with its interval in brackets; the interval of a share is in points."""
    if pd.isna(value) or pd.isna(low) or pd.isna(high):
        return write(value)
    of_share = write in (percent, points)
    span = interval(low, high) if of_share else f"{write(low)} to {write(high)}"
    return f"{write(value)} ({span})"


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
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return f"{int(value):,}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)


def grid(frame: pd.DataFrame, rows: str, columns: str, value: str) -> pd.DataFrame:
    """A frame to be read across: a row per ``rows``, a column per ``columns``, and in each cell
    the share ``value`` with its interval (``ci_low``, ``ci_high``), in the order of ``frame``."""
    ends = zip(frame[value], frame["ci_low"], frame["ci_high"], strict=True)
    cells = [_beside(percent, *row).replace(" ", "\u00a0") for row in ends]
    wide = frame.assign(_cell=cells).pivot(index=rows, columns=columns, values="_cell")
    order = list(dict.fromkeys(frame[rows])), list(dict.fromkeys(frame[columns]))
    return wide.loc[order[0], order[1]].reset_index().rename_axis(columns=None)


def rates_grid(rates: pd.DataFrame) -> pd.DataFrame:
    """Pass rates for reading: a row per condition, a column per stratum, intervals in brackets."""
    asked = (rates["n"] + rates["judge_failed"]).map("{:,}".format)
    strata = rates["stratum"].map(label) + ", n\u00a0=\u00a0" + asked
    return grid(rates.assign(column=strata), "condition", "column", "pass_rate")


def examples_html(frame: pd.DataFrame, caption: str) -> str:
    """The HTML of ``examples``: one small table per question, all text escaped."""
    parts = [f"<p><strong>{html.escape(caption)}</strong></p>"]
    for (question, reference), group in frame.groupby(["question", "reference"], sort=False):
        answers = [_shortened(str(response)) for response in group["response"]]
        verdicts = [_verdict(passed) for passed in group["passed"]]
        rows = {"condition": group["condition"], "answer": answers, "verdict": verdicts}
        parts.append(table_html(pd.DataFrame(rows), f"{question} Expected: {reference}"))
    return "".join(parts)


def _verdict(passed: Any) -> str:
    return "no verdict" if pd.isna(passed) else ("pass" if passed else "fail")


def _shortened(text: str) -> str:
    more = len(text) - LONGEST_EXAMPLE
    return text if more <= 0 else f"{text[:LONGEST_EXAMPLE]} … ({more:,} more characters)"
