"""Curves over model size: pass rates and contrasts, with intervals, on a logarithmic axis."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cutoff.compare.trend import Line
from cutoff.report import figures
from cutoff.report.figures import COLOURS, INK, QUIET
from cutoff.report.wording import label, percent, points

# Kind of question -> colour and marker, told apart by shape as well.
STRATA = {
    "all_post": (INK, "o"),
    "seen": (COLOURS["instruct_ft_rag"], "s"),
    "unseen_fact": (COLOURS["rag_ft_rag"], "^"),
    "unseen_paper": (COLOURS["instruct_ft"], "v"),
    "control": (COLOURS["rag_ft"], "D"),
}
# What is asked -> the contrasts that a figure of its own shows.
GROUPS = {
    "Retrieval, and what it adds with training": ("rag", "interaction_rag", "interaction_instruct"),
    "Training on top of retrieval": (
        "ft_under_rag_rag",
        "ft_under_rag_instruct",
        "transfer_to_rag",
    ),
    "Training without retrieval": (
        "ft_closed_book_instruct",
        "ft_closed_book_rag",
        "transfer_to_closed_book",
        "ft_instead_of_rag",
    ),
}


def contrasts(
    effects: pd.DataFrame,
    names: Sequence[str],
    lines: Mapping[tuple[str, str], tuple[Line, list[str]]] | None = None,
) -> Figure:
    """A panel per contrast: its difference in points against model size, a marker per stratum.

    ``effects`` is ``sizes.effects``; planned strata are filled. A cross was published, without
    an interval. ``lines`` (``trend.lines``) draws the fitted line with its 95 % band, over the
    sizes it rests on and no further, where that are three or more.
    """
    shown = _near(effects[effects["name"].isin(names)])
    names = [name for name in names if name in set(shown["name"])]
    figure, panels = figures.canvas(1.5 + 2.35 * len(names), len(names))
    used = [stratum for stratum in STRATA if stratum in set(shown["stratum"])]
    for panel, name in zip(panels, names, strict=True):
        rows = shown[shown["name"] == name]
        for i, stratum in enumerate(used):
            shift = 1.1 ** (i - (len(used) - 1) / 2)  # side by side, so that none hides another
            _draw(panel, rows[rows["stratum"] == stratum], stratum, shift)
            fitted = (lines or {}).get((name, stratum))
            if fitted and len(fitted[1]) > 2:
                _band(panel, fitted[0], rows[rows["size"].isin(fitted[1])], stratum)
        panel.axhline(0, color=INK, lw=1)
        panel.set_title(label(name))
        panel.set_ylabel("points")
    _size_axis(panels[-1], shown)
    handles = [
        panels[0].plot([], [], marker, color=colour, label=f"{label(s)}, n = {_n(shown, s)}")[0]
        for s, (colour, marker) in STRATA.items()
        if s in used
    ]
    if (shown["source"] == "published").any():
        handles += panels[0].plot([], [], "x", color=QUIET, mew=2.5, label="published")
    figure.legend(handles=handles, loc="outside upper left", ncols=2, fontsize=9)
    return figure


def contrasts_alt(effects: pd.DataFrame, names: Sequence[str]) -> str:
    """The planned points of ``contrasts``, in words."""
    rows = _near(effects[effects["name"].isin(names) & effects["planned"].astype(bool)])
    parts = [
        f"{label(row['name'])} ({label(row['stratum']).lower()}) {points(row['difference'])} "
        f"at {row['size']} ({row['source']})"
        for row in rows.to_dict("records")
    ]
    return f"Contrasts in points against model size, 95 % intervals: {'; '.join(parts)}."


def pass_rates(rates: pd.DataFrame) -> Figure:
    """Pass rate of the six conditions against model size, a panel per kind of question.

    ``rates``: stratum, condition, size, n_parameters, source, n, pass_rate, ci_low, ci_high.
    """
    rates = _near(rates)
    strata = [name for name in STRATA if name in set(rates["stratum"])]
    conditions = list(dict.fromkeys(rates["condition"]))
    figure, panels = figures.canvas(1.6 + 2.35 * len(strata), len(strata))
    for panel, stratum in zip(panels, strata, strict=True):
        here = rates[rates["stratum"] == stratum]
        for i, condition in enumerate(conditions):
            rows = here[here["condition"] == condition].sort_values("n_parameters")
            x = rows["n_parameters"] * 1.08 ** (i - (len(conditions) - 1) / 2)
            ours = rows["source"] != "published"
            colour = COLOURS.get(condition, INK)
            panel.vlines(
                x[ours], 100 * rows["ci_low"][ours], 100 * rows["ci_high"][ours], colour, lw=2
            )
            panel.plot(x[ours], 100 * rows["pass_rate"][ours], "o-", color=colour, ms=6, lw=1.2,
                       label=label(condition))  # fmt: skip
            panel.plot(x[~ours], 100 * rows["pass_rate"][~ours], "x", color=colour, mew=2.5, ms=8)
        panel.set_ylim(-2, 102)
        panel.set_title(f"{label(stratum)} (n = {_n(rates, stratum)})")
        panel.set_ylabel("passed, %")
    _size_axis(panels[-1], rates)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=3, fontsize=9)
    return figure


def pass_rates_alt(rates: pd.DataFrame) -> str:
    """The pooled points of ``pass_rates``, in words."""
    rows = _near(rates[rates["stratum"] == "all_post"])
    parts = [
        f"{label(row['condition'])} {percent(row['pass_rate'])} at {row['size']} ({row['source']})"
        for row in rows.to_dict("records")
    ]
    return f"Pass rate against model size, 95 % intervals, new papers: {'; '.join(parts)}."


def _near(rows: pd.DataFrame) -> pd.DataFrame:
    """``rows`` without published ones that are more than tenfold larger than every run: two
    phantoms would share one end of an axis that is empty otherwise."""
    published = rows["source"] == "published"
    largest = rows.loc[~published, "n_parameters"].max()
    return rows[~published | (rows["n_parameters"] <= 10 * largest)]


def _draw(panel: Axes, rows: pd.DataFrame, stratum: str, shift: float) -> None:
    colour, marker = STRATA[stratum]
    ours = rows[rows["source"] != "published"].sort_values("n_parameters")
    theirs = rows[rows["source"] == "published"]
    x = ours["n_parameters"] * shift
    face = colour if ours["planned"].astype(bool).any() else "white"
    panel.vlines(x, 100 * ours["ci_low"], 100 * ours["ci_high"], colour, lw=2)
    panel.plot(x, 100 * ours["difference"], marker, color=colour, mfc=face, ms=6.5, mew=1.6)
    panel.plot(theirs["n_parameters"], 100 * theirs["difference"], "x", color=QUIET, mew=2.5)


def _band(panel: Axes, line: Line, rows: pd.DataFrame, stratum: str) -> None:
    ends = rows["n_parameters"].min(), rows["n_parameters"].max()
    x = np.linspace(np.log10(ends[0]), np.log10(ends[1]), 25)
    middle, low, high = 100 * np.array([line.height(value) for value in x]).T
    panel.fill_between(10**x, low, high, color=STRATA[stratum][0], alpha=0.12, lw=0)
    panel.plot(10**x, middle, color=STRATA[stratum][0], lw=1)


def _size_axis(panel: Axes, rows: pd.DataFrame) -> None:
    sizes = rows.drop_duplicates(["size", "source"]).sort_values("n_parameters")
    ticks: dict[float, str] = {}
    for row in sizes.to_dict("records"):
        name = row["size"] + ("\n(published)" if row["source"] == "published" else "")
        last = max(ticks, default=0.0)
        if row["n_parameters"] < 1.1 * last:  # 7b and llama-8b share a label, not an ink blot
            ticks[last] += f",\n{name}"
        else:
            ticks[row["n_parameters"]] = name
    panel.set_xscale("log")
    panel.set_xticks(list(ticks), list(ticks.values()), color=INK)
    panel.minorticks_off()
    low, high = sizes["n_parameters"].min(), sizes["n_parameters"].max()
    margin = max(1.6, (high / low) ** 0.15)
    panel.set_xlim(low / margin, high * margin)
    panel.set_xlabel("model size (parameters, logarithmic)")


def _n(rows: pd.DataFrame, stratum: str) -> str:
    n = rows.loc[(rows["stratum"] == stratum) & (rows["source"] != "published"), "n"].dropna()
    ends = sorted({int(n.min()), int(n.max())}) if len(n) else []
    return " to ".join(f"{end:,}" for end in ends) or "–"
