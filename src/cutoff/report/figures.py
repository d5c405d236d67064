"""Three shapes for every figure, and the figures that several pages show.

Figures are narrow, with large type, because half of the readers hold a phone. Every interval
drawn is a 95 % interval. Colours come from ``cutoff.report.palette``.

The shapes are ``dots`` (estimates with intervals, a row each), ``curves`` (the same over an x
axis) and ``stacked`` (bars of parts). Each takes a tidy frame: one drawn thing a row, with the
columns that its docstring names.
"""

import itertools
from collections.abc import Mapping, Sequence
from io import BytesIO

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cutoff.report import drawing
from cutoff.report.claims import established
from cutoff.report.palette import COLOURS as COLOURS
from cutoff.report.palette import GAIN, LOSS, SHOWN_PIXELS
from cutoff.report.palette import INK as INK
from cutoff.report.palette import QUIET as QUIET
from cutoff.report.palette import STYLES as STYLES
from cutoff.report.palette import WIDTH_INCHES as WIDTH_INCHES
from cutoff.report.wording import interval, label, percent, points


def show(figure: Figure, alt: str) -> None:
    """Display ``figure`` as a picture; ``alt`` tells its message to who cannot see it."""
    from IPython.display import Image, display

    image = Image(data=png(figure), format="png", width=SHOWN_PIXELS, alt=alt)  # type: ignore
    display(image)  # type: ignore[no-untyped-call]


def png(figure: Figure) -> bytes:
    """The figure as a PNG file: equal bytes for equal figures."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def canvas(height_inches: float, ratios: Sequence[float] = (1,)) -> tuple[Figure, list[Axes]]:
    """A figure of the common width with a panel for each of ``ratios`` (of their heights), which
    share their x axis."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.subplots(
        len(ratios), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": list(ratios)}
    )
    return figure, list(axes[:, 0])


# --- the shapes ------------------------------------------------------------------------


def dots(frame: pd.DataFrame, xlabel: str, unit: str = "percent") -> Figure:
    """Estimates with their intervals: a line per ``row``, a panel per ``panel``.

    ``frame``: row (what the line is called), value, ci_low, ci_high, in the order of reading.
    Optional: panel (its title), series (several dots on a line, told apart in a legend), colour,
    filled (False: a hollow dot), note (text at the right edge; the value without it).
    ``unit``: ``percent`` draws proportions on 0 to 100, ``points`` differences of proportions
    around zero, ``number`` anything else. A missing interval is not drawn.
    """
    frame = drawing.completed(frame, unit)
    every = list(dict.fromkeys(frame["series"]))
    above = drawing.are_long(frame["row"])
    line = max(1.0 + 0.5 * above, 0.55 * len(every))
    heights = [line * n for n in frame.groupby("panel", sort=False)["row"].nunique()]
    height = 0.75 + 0.3 * len(heights) + 0.34 * sum(heights) + 0.2 * (len(every) > 1)
    figure, panels = canvas(max(1.6, height), heights or [1])
    for panel, (_, part) in zip(panels, frame.groupby("panel", sort=False), strict=False):
        drawing.dots_of(panel, part, every, above)
    drawing.estimate_axis(panels, frame, unit)
    drawing.finish(figure, frame, xlabel)
    return figure


def curves(frame: pd.DataFrame, xlabel: str, ylabel: str, unit: str = "percent") -> Figure:
    """Estimates over an x axis: a line per ``series``, a panel per ``panel``.

    ``frame``: x, value, and optionally series, panel, colour, ci_low, ci_high, marker, line
    (matplotlib styles, "" for none) and filled. Numbers as x keep their distances; texts stand
    side by side. The caller may go on with the figure's axes (scale, ticks, marks).
    """
    frame = drawing.completed(frame, unit)
    n_panels = max(1, frame["panel"].nunique())
    figure, panels = canvas(1.1 + 2.6 * n_panels, [1] * n_panels)
    every = list(dict.fromkeys(frame["series"]))
    texts = [] if pd.api.types.is_numeric_dtype(frame["x"]) else list(dict.fromkeys(frame["x"]))
    for panel, (_, part) in zip(panels, frame.groupby("panel", sort=False), strict=False):
        for series, rows in part.groupby("series", sort=False):
            x = rows["x"].map(texts.index if texts else float).astype(float)
            if texts and len(every) > 1:  # side by side, so that no interval hides another
                x = x + 0.09 * (every.index(series) - (len(every) - 1) / 2)
            drawing.curve_of(panel, x, rows)
        panel.set_ylabel(ylabel)
        if unit == "percent":
            panel.set_ylim(-2, 102)
        elif unit == "points":
            panel.axhline(0, color=INK, lw=1)
        if texts:
            panel.set_xticks(range(len(texts)), [str(x) for x in texts], color=INK)
            panel.set_xlim(-0.4, len(texts) - 0.6)
    drawing.finish(figure, frame, xlabel)
    return figure


def stacked(frame: pd.DataFrame, xlabel: str, unit: str = "number") -> Figure:
    """Bars of parts: a bar per ``row``, a part per ``series``, a panel per ``panel``.

    ``frame``: row, value, and optionally series, panel, colour, hatch, text (inside the part),
    note (behind the bar). ``percent`` takes proportions and draws them on 0 to 100.
    """
    frame = drawing.completed(frame, unit)
    ends = frame.groupby(["panel", "row"], sort=False)["value"].sum()
    n_panels = max(1, frame["panel"].nunique())
    height = 0.8 + 0.42 * len(ends) + 0.35 * n_panels + 0.14 * frame["series"].nunique()
    figure, panels = canvas(height, [1] * n_panels)
    for panel, (_, part) in zip(panels, frame.groupby("panel", sort=False), strict=False):
        drawing.bars_of(panel, part)
    room = 1.22 if frame["note"].astype(bool).any() else 1.02
    panels[-1].set_xlim(0, 100 if unit == "percent" else room * max(1e-9, ends.max()))
    drawing.finish(figure, frame, xlabel, bars=True)
    return figure


# --- figures of several pages -------------------------------------------------------------


def pass_rates(rates: pd.DataFrame, meaning: str = "questions answered correctly, %") -> Figure:
    """Rate of every condition with its interval, one panel per kind of question.

    ``rates``: columns stratum, condition, n, pass_rate, ci_low, ci_high; ``meaning`` says under
    the axis what the rate is.
    """
    frame = rates.assign(
        row=rates["condition"].map(label),
        panel=_titles(rates["stratum"], rates["n"]),
        value=rates["pass_rate"],
        colour=rates["condition"].map(COLOURS).fillna(INK),
        note=rates["pass_rate"].map(percent),
    )
    return dots(frame, meaning)


def effects(rows: pd.DataFrame, xlabel: str = "difference, points") -> Figure:
    """Differences in points around zero, filled and coloured where they are established.

    ``rows``: difference, ci_low, ci_high, p_holm, and what ``dots`` takes: row, panel, note.
    """
    filled = established(rows)
    colour = rows["difference"].gt(0).map({True: GAIN, False: LOSS}).where(filled, QUIET)
    frame = rows.assign(value=rows["difference"], filled=filled, colour=colour)
    if "note" not in frame:
        ends = zip(frame["difference"], frame["ci_low"], frame["ci_high"], strict=True)
        frame["note"] = [f"{points(d)} ({interval(low, high)})" for d, low, high in ends]
    return dots(frame, f"{xlabel} (filled: established)", "points")


def forest(contrasts: pd.DataFrame) -> Figure:
    """Planned contrasts in percentage points; filled where an effect is established."""
    planned = contrasts[contrasts["planned"].astype(bool)]
    planned = planned.sort_values("stratum", kind="stable")  # a panel's rows stand together
    titles = _titles(planned["stratum"], planned["n"] + planned["n_missing"])
    rows = planned.assign(row=planned["name"].map(label), panel=titles)
    return effects(rows, "difference in pass rate, points")


def _titles(strata: "pd.Series[str]", n: "pd.Series[int]") -> "pd.Series[str]":
    """The title of every row's panel: its kind of question and how many were asked."""
    return strata.map(label) + n.groupby(strata).transform("max").map(" (n = {:,})".format)


def losses(
    training: Mapping[str, pd.DataFrame], held_out: Mapping[str, pd.DataFrame] | None = None
) -> Figure:
    """Training loss by step, and below it the loss on questions that are not trained.

    ``training`` maps an adapter to columns ``step`` and ``loss``; ``held_out`` to ``step`` and a
    column per stratum. Adapters of further seeds share their variant's colour and line.
    """
    parts = [
        curve.assign(panel="training loss", value=curve["loss"], variant=name, marker="", what="")
        for name, curve in training.items()
    ]
    for name, curve in (held_out or {}).items():
        rows = curve.melt("step", var_name="stratum")
        style = dict(zip(rows["stratum"].unique(), STYLES, strict=False))
        marker, line = (rows["stratum"].map(style).str[i] for i in (0, 1))
        of = {"panel": "loss on questions that are not trained", "variant": name}
        what = ": " + rows["stratum"].map(label)
        parts.append(rows.assign(**of, marker=marker, line=line, what=what))
    frame = pd.concat(parts)
    variant = frame["variant"].str.partition(".")[0]
    frame["colour"] = (variant + "_rag").map(COLOURS).fillna(INK)
    frame["series"] = frame["variant"].map(label) + frame.pop("what")
    figure = curves(
        frame.rename(columns={"step": "x"}), "optimiser step", "nats per token", "number"
    )
    for panel in figure.axes:
        panel.set_ylim(bottom=0)
    return figure


def recall_at_k(recall: pd.DataFrame, used_k: int) -> Figure:
    """Share of questions whose evidence is among the first k passages.

    ``recall``: columns stratum, k, recall (0..1); ``used_k``: passages put before the model.
    """
    strata = list(recall["stratum"].unique())
    style = recall["stratum"].map(dict(zip(strata, itertools.cycle(STYLES), strict=False)))
    colours = dict(zip(strata, itertools.cycle(list(COLOURS.values())[1::2]), strict=False))
    frame = recall.assign(
        x=recall["k"],
        value=recall["recall"],
        series=recall["stratum"].map(label),
        colour=recall["stratum"].map(colours),
        marker=style.str[0],
        line=style.str[1],
    )
    figure = curves(frame, "passages retrieved (k)", "evidence retrieved, % of questions")
    (panel,) = figure.axes
    panel.axvline(used_k, color=QUIET, lw=1)
    panel.text(used_k, 2, f" used: {used_k}", color=QUIET, fontsize=10)
    return figure


def size_bars(sizes: pd.DataFrame) -> Figure:
    """File sizes in MB; ``sizes``: columns label and bytes, in the order to draw."""
    megabytes = sizes["bytes"] / 1e6
    notes = megabytes.map("{:,.1f}".format)
    frame = pd.DataFrame({"row": sizes["label"], "value": megabytes, "note": notes})
    return stacked(frame, "file size, MB")
