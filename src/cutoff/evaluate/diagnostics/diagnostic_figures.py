"""Figures of the diagnostics: the shapes of ``report.figures`` with what each has to show."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cutoff import bootstrap
from cutoff.evaluate.diagnostics.attribution import KINDS, NAMES, RIGHT, table
from cutoff.evaluate.diagnostics.break_even import RETRIEVAL
from cutoff.evaluate.diagnostics.contamination import years_of
from cutoff.evaluate.stats.averages import by_stratum
from cutoff.report import figures
from cutoff.report.figures import COLOURS, INK, STYLES
from cutoff.report.wording import label

# Right answers are blue, wrong ones orange to brown: where evidence was absent, hatched.
FILL = {
    "recovered": ("#0b5394", ""),
    "kept": ("#79b4e3", ""),
    "held": ("#79b4e3", "///"),
    "lucky": ("#cfe2f3", "///"),
    "missed": ("#f8d3ad", "///"),
    "ignored": ("#f2a65a", ""),
    "misread": ("#d9822b", ""),
    "destroyed": ("#8a3f08", ""),
    "distracted": ("#b3560f", "///"),
    "no_verdict": ("#ffffff", "..."),
}
SMALLEST_NUMBER = 0.06  # share of a bar that has room for its number
CONTEXTS = ("none", "distractor", "retrieved", "oracle")
PERIODS = {"control": "before the cutoff", "post": "after the cutoff"}


def outcomes(of_answers: pd.DataFrame) -> Figure:
    """Every answer with retrieval in one of the kinds: a stacked bar per condition.

    ``of_answers`` is what ``attribution.kinds`` returns; new papers above, control papers
    below where there are any. Right answers stand left; the line at their end is the 95 %
    interval of their share. Hatched: the evidence was not among the passages.
    """
    panels = dict(by_stratum(of_answers, ("all_post", "control")))
    shares = table(of_answers)
    shown = [kind for kind in KINDS if shares.loc[shares["kind"] == kind, "answers"].any()]
    shares = shares[shares["stratum"].isin(panels) & shares["kind"].isin(shown)]
    frame = shares.assign(
        row=shares["condition"].map(label),
        value=shares["share"],
        series=shares["kind"].map(NAMES),
        colour=shares["kind"].map(lambda kind: FILL[kind][0]),
        hatch=shares["kind"].map(lambda kind: FILL[kind][1]),
        panel=[f"{label(r.stratum)} (n = {r.n:,})" for r in shares.itertuples()],
        text=[f"{100 * s:.0f}" if s >= SMALLEST_NUMBER else "" for s in shares["share"]],
    )
    figure = figures.stacked(frame, "answers, % (line: right ones, 95 % interval)", "percent")
    for panel, part in zip(figure.axes, panels.values(), strict=True):
        for y, (_, own) in enumerate(part.groupby("condition", sort=False)):
            right = bootstrap.share(own["kind"].isin(RIGHT).to_numpy(float), own["paper_id"])
            ends = [100 * right["ci_low"], 100 * right["ci_high"]]
            panel.plot(ends, [-y - 0.38] * 2, color=INK, lw=2)
            panel.plot(100 * right["share"], -y - 0.38, "o", color=INK, ms=4, clip_on=False)
    return figure


def by_measure(table: pd.DataFrame, measures: Sequence[str], stratum: str = "all_post") -> Figure:
    """Means with their intervals: a line per measure, a dot per condition.

    ``table``: ``averages.by_condition`` of measures that lie between 0 and 1.
    """
    rows = table[(table["stratum"] == stratum) & table["measure"].isin(list(measures))]
    rows = rows.sort_values("measure", key=lambda m: m.map(list(measures).index), kind="stable")
    counts = {
        name: f"{least:,}" if least == most else f"{least:,} to {most:,}"
        for name, least, most in rows.groupby("measure")["n"].agg(["min", "max"]).itertuples()
    }
    frame = rows.assign(
        row=[f"{label(name)}\n(n = {counts[name]})" for name in rows["measure"]],
        value=rows["estimate"],
        series=rows["condition"].map(label),
        colour=rows["condition"].map(COLOURS).fillna(INK),
    )
    return figures.dots(frame, f"{label(stratum)}: mean, % (95 % interval)")


def by_context(rates: pd.DataFrame) -> Figure:
    """Pass rate with no, useless, retrieved and perfect passages, a line per model.

    ``rates``: ``contexts.pass_rates``.
    """
    rows = rates.sort_values("context", key=lambda c: c.map(CONTEXTS.index), kind="stable")
    styles = dict(zip(dict.fromkeys(rates["model"]), STYLES, strict=False))
    frame = rows.assign(
        x=rows["context"].map(lambda name: label(name).replace(" ", "\n")),
        value=rows["pass_rate"],
        series=rows["model"].map(label),
        colour=(rows["model"] + "_rag").map(COLOURS).fillna(INK),
        marker=rows["model"].map(lambda model: styles[model][0]),
        line=":",
    )
    title = f"new papers (n = {rates['n'].max():,})"
    return figures.curves(frame, title, "answered correctly, %")


def by_month(months: pd.DataFrame) -> Figure:
    """The untouched model's closed-book answers by month; ``months`` is ``contamination.table``.

    Papers without a date are not drawn; a line stands at the cutoff.
    """
    dated = months.dropna(subset=["month", "pass_rate"])
    sizes = dated.groupby("period")["n"].sum()
    frame = dated.assign(
        x=years_of(dated["month"]),
        value=dated["pass_rate"],
        series=[f"{PERIODS[side]} (n = {sizes[side]:,})" for side in dated["period"]],
        colour=dated["period"].map({"control": COLOURS["base_rag"], "post": COLOURS["rag_ft_rag"]}),
        marker=dated["period"].map({"control": "s", "post": "o"}),
        line="",
    )
    figure = figures.curves(frame, "first version of the paper", "answered correctly, %")
    (panel,) = figure.axes
    old, new = (frame.loc[frame["period"] == side, "x"] for side in ("control", "post"))
    if len(old) and len(new) and old.max() < new.min():
        panel.axvline(new.min() - 1 / 24, color=INK, lw=1)
    chosen = sorted(set(dated["month"]))
    places = np.linspace(0, len(chosen) - 1, min(5, len(chosen))).round().astype(int)
    ticks = pd.Series([chosen[place] for place in places], dtype=str)
    panel.set_xticks(years_of(ticks), ticks, color=INK)
    return figure


def recall(shares: pd.DataFrame) -> Figure:
    """Recall by number of wordings; ``shares`` is ``exposure.table``.

    Facts that were never told stand apart at zero: they are other facts, so no line leads there.
    """
    told = shares["wordings"] > 0
    second = shares["condition"] != shares["condition"].iloc[0]
    names = shares["condition"].map(label)
    frame = shares.assign(
        x=shares["wordings"] + 0.08 * second,
        value=shares["pass_rate"],
        series=names.where(told, names + ", never told"),
        colour=(shares["condition"] + "_rag").map(COLOURS).fillna(INK),
        marker=second.map({False: "o", True: "s"}),
        line=second.map({False: "-", True: "--"}).where(told, ""),
        filled=told,
    )
    xlabel = "wordings of the fact in training (0: never told)"
    figure = figures.curves(frame, xlabel, "recalled closed book, %")
    counts = shares.groupby("wordings")["n"].max()
    (panel,) = figure.axes
    panel.set_xticks(counts.index, [f"{w}\nn = {n:,}" for w, n in counts.items()], color=INK)
    return figure


def spending(costs: pd.DataFrame) -> Figure:
    """Tokens spent by number of questions: retrieval from the start, or training first.

    ``costs``: ``break_even.table``; a thick line is the 95 % interval of the break-even.
    """
    rows = costs[costs["unit"] == "tokens"]
    last = 1.4 * (rows["questions"].max() if rows["questions"].notna().any() else 1000.0)
    lines = [(f"{label(RETRIEVAL)}, no training", RETRIEVAL, 0.0, rows["retrieval"].iloc[0])]
    lines += [
        (f"{label(r.condition)}, closed book", f"{r.condition}_rag", r.training, r.closed_book)
        for r in rows.itertuples()
    ]
    points = [
        {"series": name, "colour": COLOURS[condition], "line": style[1], "marker": "", "x": x,
         "value": once + each * x}
        for (name, condition, once, each), style in zip(lines, STYLES, strict=False)
        for x in (0.0, last)
    ]  # fmt: skip
    xlabel = f"questions asked (cost of one: n = {rows['n'].iloc[0]:,})"
    figure = figures.curves(pd.DataFrame(points), xlabel, "tokens, training included", "number")
    (panel,) = figure.axes
    for row in rows.dropna(subset=["questions"]).itertuples():
        height, colour = row.retrieval * row.questions, COLOURS[f"{row.condition}_rag"]
        ends = [row.questions_low, np.fmin(row.questions_high, last)]
        panel.plot(ends, [height, height], color=colour, lw=5, alpha=0.4)
        panel.plot(row.questions, height, "o", color=colour, ms=8)
        panel.annotate(f"{row.questions:,.0f} questions", (row.questions, height), (9, -14),
                       textcoords="offset points", color=INK)  # fmt: skip
    panel.set_xlim(0, last)
    panel.set_ylim(bottom=0)
    panel.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    return figure
