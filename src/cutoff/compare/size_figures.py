"""Curves over model size: pass rates and contrasts, with intervals, on a logarithmic axis."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

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


def contrasts(effects: pd.DataFrame, names: Sequence[str]) -> Figure:
    """A panel per contrast: its difference in points against model size, a marker per stratum.

    ``effects`` is ``sizes.effects``; planned strata are filled. A cross was published, without
    an interval.
    """
    rows = _near(effects[effects["name"].isin(names)])
    frame = rows.assign(
        panel=rows["name"].map(label),
        series=rows["stratum"].map(lambda stratum: f"{label(stratum)}, n = {_n(rows, stratum)}"),
        colour=rows["stratum"].map(lambda stratum: STRATA[stratum][0]),
        marker=rows["stratum"].map(lambda stratum: STRATA[stratum][1]),
        value=rows["difference"],
        filled=rows["planned"].astype(bool),
        line="",
    )
    frame = frame.sort_values("name", key=lambda name: name.map(list(names).index), kind="stable")
    return _over_sizes(frame, list(STRATA), "points", "points")


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
    rows = _near(rates)
    frame = rows.assign(
        panel=rows["stratum"].map(lambda stratum: f"{label(stratum)} (n = {_n(rows, stratum)})"),
        series=rows["condition"].map(label),
        colour=rows["condition"].map(COLOURS).fillna(INK),
        value=rows["pass_rate"],
    )
    return _over_sizes(frame, list(COLOURS), "passed, %", "percent")


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


def _over_sizes(frame: pd.DataFrame, order: Sequence[str], ylabel: str, unit: str) -> Figure:
    """``figures.curves`` over the number of parameters, with the published values as crosses."""
    which = frame["stratum"] if "name" in frame else frame["condition"]
    place = which.map(list(order).index)
    # Side by side, so that none hides another.
    frame = frame.assign(x=frame["n_parameters"] * 1.06 ** (place - place.mean()), place=place)
    published = frame["source"] == "published"
    ours = frame[~published].sort_values(["place", "n_parameters"], kind="stable")
    figure = figures.curves(ours, "model size (parameters, logarithmic)", ylabel, unit)
    panels = {panel.get_title(loc="left"): panel for panel in figure.axes}
    for row in frame[published].to_dict("records"):
        if row["panel"] in panels:
            colour = QUIET if unit == "points" else row["colour"]
            height = 100 * row["value"]
            panels[row["panel"]].plot(row["n_parameters"], height, "x", color=colour, mew=2.5, ms=8)
    ticks: dict[float, str] = {}
    for row in (
        frame.drop_duplicates(["size", "source"]).sort_values("n_parameters").to_dict("records")
    ):
        name = row["size"] + ("\n(published)" if row["source"] == "published" else "")
        last = max(ticks, default=0.0)
        if row["n_parameters"] < 1.1 * last:  # 7b and llama-8b share a label, not an ink blot
            ticks[last] += f",\n{name}"
        else:
            ticks[row["n_parameters"]] = name
    panel = figure.axes[-1]
    panel.set_xscale("log")
    panel.set_xticks(list(ticks), list(ticks.values()), color=INK)
    panel.minorticks_off()
    margin = max(1.9, (max(ticks) / min(ticks)) ** 0.15)
    panel.set_xlim(min(ticks) / margin, max(ticks) * margin)
    return figure


def _n(rows: pd.DataFrame, stratum: str) -> str:
    n = rows.loc[(rows["stratum"] == stratum) & (rows["source"] != "published"), "n"].dropna()
    ends = sorted({int(n.min()), int(n.max())}) if len(n) else []
    return " to ".join(f"{end:,}" for end in ends) or "–"
