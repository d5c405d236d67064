"""One palette, one theme and three shapes for every figure.

A condition keeps its colour everywhere: grey is the untouched model, orange was trained on
questions and answers, blue on passages with citations; the dark shade has retrieval. The
three hues stay apart for colour-blind readers and the two shades in greyscale. Figures are
narrow, with large type, because half of the readers hold a phone. Every interval drawn is a
95 % interval.

The shapes are ``dots`` (estimates with intervals, a row each), ``curves`` (the same over an x
axis) and ``stacked`` (bars of parts). Each takes a tidy frame: one drawn thing a row, with the
columns that its docstring names.
"""

import itertools
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from cutoff.report.claims import established
from cutoff.report.wording import interval, label, percent, points

COLOURS = {
    "base": "#a8adb4",
    "base_rag": "#4a5058",
    "instruct_ft": "#f2a65a",
    "instruct_ft_rag": "#b3560f",
    "rag_ft": "#79b4e3",
    "rag_ft_rag": "#0b5394",
}
INK, QUIET, LINE = "#1c2430", "#5b6675", "#dde2e8"
GAIN, LOSS = "#0b5394", "#b3560f"
WIDTH_INCHES = 5.6
SHOWN_PIXELS = 620
ON_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # no line crosses such a text
STYLES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"), ("v", "-"))  # marker, line
SCALE = {"percent": 100.0, "points": 100.0, "number": 1.0}

matplotlib.rcParams.update(
    {
        "font.size": 11,
        "font.family": "DejaVu Sans",
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": QUIET,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "legend.frameon": False,
    }
)


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


def canvas(height_inches: float, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of the common width with ``rows`` panels that share their x axis."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)
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
    frame = _completed(frame, unit)
    groups = [(str(name), part) for name, part in frame.groupby("panel", sort=False)]
    n_series = frame["series"].nunique()
    above = _are_long(frame["row"])
    heights = [
        part["row"].nunique() * max(1.0 + 0.5 * above, 0.55 * n_series) for _, part in groups
    ]
    height = 0.75 + 0.3 * len(groups) + 0.34 * sum(heights) + 0.2 * (n_series > 1)
    figure = Figure(figsize=(WIDTH_INCHES, max(1.6, height)), layout="constrained")
    grid = figure.subplots(
        len(groups), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights or [1]}
    )
    panels = list(grid[:, 0])
    for panel, (name, part) in zip(panels, groups, strict=True):
        _dots_of(panel, part, list(dict.fromkeys(frame["series"])), unit, above)
        panel.set_title(name)
    _estimate_axis(panels[-1], frame, unit)
    panels[-1].set_xlabel(xlabel)
    if n_series > 1:
        _legend(figure, frame)
    return figure


def curves(frame: pd.DataFrame, xlabel: str, ylabel: str, unit: str = "percent") -> Figure:
    """Estimates over an x axis: a line per ``series``, a panel per ``panel``.

    ``frame``: x, value, and optionally series, panel, colour, ci_low, ci_high, marker, line
    (matplotlib styles, "" for none) and filled. Numbers as x keep their distances; texts stand
    side by side. The caller may go on with the figure's axes (scale, ticks, marks).
    """
    frame = _completed(frame.assign(row=""), unit)
    groups = [(str(name), part) for name, part in frame.groupby("panel", sort=False)]
    figure, panels = canvas(1.1 + 2.6 * max(1, len(groups)), max(1, len(groups)))
    places = None
    if not pd.api.types.is_numeric_dtype(frame["x"]):
        places = {x: float(i) for i, x in enumerate(dict.fromkeys(frame["x"]))}
    every = list(dict.fromkeys(frame["series"]))
    for panel, (name, part) in zip(panels, groups, strict=False):
        for series, rows in part.groupby("series", sort=False):
            x = rows["x"].map(places) if places else rows["x"].astype(float)
            if places and len(every) > 1:  # side by side, so that no interval hides another
                x = x + 0.09 * (every.index(series) - (len(every) - 1) / 2)
            _curve(panel, x.to_numpy(), rows, SCALE[unit])
        panel.set_title(name)
        panel.set_ylabel(ylabel)
        if unit == "percent":
            panel.set_ylim(-2, 102)
        elif unit == "points":
            panel.axhline(0, color=INK, lw=1)
        if places:
            panel.set_xticks(list(places.values()), [str(x) for x in places], color=INK)
            panel.set_xlim(-0.4, len(places) - 0.6)
    panels[-1].set_xlabel(xlabel)
    if len(every) > 1:
        _legend(figure, frame)
    return figure


def stacked(frame: pd.DataFrame, xlabel: str, unit: str = "number") -> Figure:
    """Bars of parts: a bar per ``row``, a part per ``series``, a panel per ``panel``.

    ``frame``: row, value, and optionally series, panel, colour, hatch, text (inside the part),
    note (behind the bar). ``percent`` takes proportions and draws them on 0 to 100.
    """
    frame = _completed(frame.assign(ci_low=None, ci_high=None), unit)
    groups = [(str(name), part) for name, part in frame.groupby("panel", sort=False)]
    n_bars = sum(part["row"].nunique() for _, part in groups)
    n_series = frame["series"].nunique()
    figure, panels = canvas(
        0.8 + 0.42 * n_bars + 0.35 * len(groups) + 0.14 * n_series, max(1, len(groups))
    )
    for panel, (name, part) in zip(panels, groups, strict=False):
        _bars_of(panel, part, SCALE[unit])
        panel.set_title(name)
    ends = frame.groupby(["panel", "row"], sort=False)["value"].sum() * SCALE[unit]
    room = 1.22 if frame["note"].astype(bool).any() else 1.02
    panels[-1].set_xlim(0, 100 if unit == "percent" else room * max(1e-9, ends.max()))
    panels[-1].set_xlabel(xlabel)
    if n_series > 1:
        _legend(figure, frame, bars=True)
    return figure


# --- figures of several pages -------------------------------------------------------------


def pass_rates(rates: pd.DataFrame, meaning: str = "questions answered correctly, %") -> Figure:
    """Rate of every condition with its interval, one panel per kind of question.

    ``rates``: columns stratum, condition, n, pass_rate, ci_low, ci_high; ``meaning`` says under
    the axis what the rate is.
    """
    most = rates.groupby("stratum")["n"].max()
    titles = {name: f"{label(name)} (n = {n:,})" for name, n in most.items()}
    frame = rates.assign(
        row=rates["condition"].map(label),
        panel=rates["stratum"].map(titles),
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
    most = (planned["n"] + planned["n_missing"]).groupby(planned["stratum"]).max()
    titles = {name: f"{label(name)} (n = {n:,})" for name, n in most.items()}
    rows = planned.assign(
        row=planned["name"].map(label), panel=planned["stratum"].map(titles)
    ).sort_values("panel", key=lambda panel: panel.map(list(titles.values()).index), kind="stable")
    return effects(rows, "difference in pass rate, points")


def losses(
    training: Mapping[str, pd.DataFrame], held_out: Mapping[str, pd.DataFrame] | None = None
) -> Figure:
    """Training loss by step, and below it the loss on questions that are not trained.

    ``training`` maps an adapter to columns ``step`` and ``loss``; ``held_out`` to ``step`` and a
    column per stratum. Adapters of further seeds share their variant's colour and line.
    """
    styles = (("o", "-"), ("s", "--"), ("^", ":"))
    parts = []
    for name, curve in training.items():
        of = {"panel": "training loss", "variant": name, "marker": "", "what": ""}
        parts.append(curve.rename(columns={"loss": "value"}).assign(**of))
    for name, curve in (held_out or {}).items():
        for stratum, (marker, line) in zip(
            curve.columns.drop("step", "ignore"), styles, strict=False
        ):
            rows = pd.DataFrame({"step": curve["step"], "value": curve[stratum]})
            of = {"panel": "loss on questions that are not trained", "variant": name}
            parts.append(rows.assign(**of, marker=marker, line=line, what=f": {label(stratum)}"))
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
    styles = dict(zip(recall["stratum"].unique(), itertools.cycle(STYLES), strict=False))
    colours = dict(zip(styles, itertools.cycle(list(COLOURS.values())[1::2]), strict=False))
    frame = recall.assign(
        x=recall["k"],
        value=recall["recall"],
        series=recall["stratum"].map(label),
        colour=recall["stratum"].map(colours),
        marker=recall["stratum"].map(lambda stratum: styles[stratum][0]),
        line=recall["stratum"].map(lambda stratum: styles[stratum][1]),
    )
    figure = curves(frame, "passages retrieved (k)", "evidence retrieved, % of questions")
    (panel,) = figure.axes
    panel.axvline(used_k, color=QUIET, lw=1)
    panel.text(used_k, 2, f" used: {used_k}", color=QUIET, fontsize=10)
    return figure


def size_bars(sizes: pd.DataFrame) -> Figure:
    """File sizes in MB; ``sizes``: columns label and bytes, in the order to draw."""
    megabytes = sizes["bytes"] / 1e6
    return stacked(
        pd.DataFrame(
            {"row": sizes["label"], "value": megabytes, "note": megabytes.map("{:,.1f}".format)}
        ),
        "file size, MB",
    )


# --- drawing ---------------------------------------------------------------------------


def _completed(frame: pd.DataFrame, unit: str) -> pd.DataFrame:
    """``frame`` with every optional column of the shapes."""
    defaults: dict[str, Any] = {
        "panel": "", "series": "", "colour": COLOURS["base_rag"], "filled": True, "note": "",
        "text": "", "hatch": "", "marker": "o", "line": "-", "ci_low": float("nan"),
        "ci_high": float("nan"),
    }  # fmt: skip
    if unit not in SCALE:
        raise ValueError(f"unknown unit {unit!r}; one of {', '.join(SCALE)}")
    frame = frame.copy()
    for name, value in defaults.items():
        frame[name] = frame[name].where(frame[name].notna(), value) if name in frame else value
    numbers = ["value", "ci_low", "ci_high"]
    frame[numbers] = frame[numbers].astype(float)
    return frame


def _dots_of(panel: Axes, part: pd.DataFrame, every: list[Any], unit: str, above: bool) -> None:
    names = list(dict.fromkeys(part["row"]))
    step = 0.8 / max(1, len(every))
    for row in part.to_dict("records"):
        y = -float(names.index(row["row"]))
        if len(every) > 1:
            y += step * ((len(every) - 1) / 2 - every.index(row["series"]))
        scale, colour = SCALE[unit], row["colour"]
        panel.plot([scale * row["ci_low"], scale * row["ci_high"]], [y, y], color=colour, lw=2.5)
        face = colour if row["filled"] else "white"
        size = 8 if len(every) == 1 else 5.5
        panel.plot(
            scale * row["value"], y, "o", ms=size, color=colour, mfc=face, mew=2, clip_on=False
        )
        if row["note"]:
            _written(panel, 1.0 if above else 1.03, y + 0.42 * above, str(row["note"]), above)
    if above:
        for i, name in enumerate(names):
            _written(panel, 0.0, 0.42 - i, name, False)
    panel.set_yticks([] if above else [-i for i in range(len(names))], [] if above else names)
    panel.tick_params(axis="y", length=0, labelcolor=INK)
    panel.set_ylim(-len(names) + 0.5, 0.7 if above else 0.6)
    panel.spines["left"].set_visible(not above)
    panel.grid(axis="y", visible=False)
    if unit == "points":
        panel.axvline(0, color=INK, lw=1, zorder=0.5)


def _are_long(names: "pd.Series[str]") -> bool:
    """Whether names of lines would leave too little room: then they stand above their line."""
    return max((len(line) for name in names for line in str(name).split("\n")), default=0) > 28


def _written(panel: Axes, x: float, y: float, text: str, to_the_left: bool) -> None:
    """``text`` at ``x`` of the panel's width, on white so that no line crosses it."""
    written = panel.text(
        x, y, text, transform=panel.get_yaxis_transform(), va="center", fontsize=9.5, color=INK,
        ha="right" if to_the_left else "left", bbox=ON_WHITE,
    )  # fmt: skip
    written.set_in_layout(x > 1)  # what stands inside the panel takes no room beside it


def _estimate_axis(panel: Axes, frame: pd.DataFrame, unit: str) -> None:
    if unit == "percent":
        panel.set_xlim(0, 100)
    elif unit == "points":
        ends = frame[["value", "ci_low", "ci_high"]].abs().max(axis=None)
        reach = 105 * max(0.02, 0.0 if pd.isna(ends) else float(ends))
        panel.set_xlim(-reach, reach)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", "−")))


def _curve(panel: Axes, x: Any, rows: pd.DataFrame, scale: float) -> None:
    first = rows.iloc[0]
    value = scale * rows["value"].to_numpy()
    low, high = scale * rows["ci_low"].to_numpy(), scale * rows["ci_high"].to_numpy()
    panel.vlines(x, low, high, first["colour"], lw=2)
    panel.plot(
        x, value, color=first["colour"], marker=first["marker"] or None,
        ls=first["line"] or "none", ms=6.5, lw=1.6, mew=1.6,
        mfc=first["colour"] if first["filled"] else "white",
    )  # fmt: skip


def _bars_of(panel: Axes, part: pd.DataFrame, scale: float) -> None:
    names = list(dict.fromkeys(part["row"]))
    for y, (_, rows) in enumerate(part.groupby("row", sort=False)):
        left = 0.0
        for row in rows.to_dict("records"):
            width = scale * row["value"]
            panel.barh(
                -y, width, left=left, height=0.66, color=row["colour"], hatch=row["hatch"],
                edgecolor="white", lw=0.6,
            )  # fmt: skip
            if row["text"]:
                box = {"facecolor": row["colour"], "edgecolor": "none", "pad": 0.8}
                panel.text(
                    left + width / 2, -y, str(row["text"]), ha="center", va="center", fontsize=10,
                    color=_readable_on(row["colour"]), bbox=box,
                )  # fmt: skip
            left += width
        notes = [str(note) for note in rows["note"] if note]
        if notes:
            panel.text(left, -y, f" {notes[-1]}", va="center", fontsize=9.5, color=INK)
    panel.set_yticks([-i for i in range(len(names))], names, color=INK)
    panel.set_ylim(-len(names) + 0.4, 0.6)
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="y", length=0)


def _readable_on(colour: str) -> str:
    """Ink or white, whichever stands out more (relative luminance of WCAG 2, rounded gamma)."""
    red, green, blue = (channel**2.2 for channel in matplotlib.colors.to_rgb(colour))
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.22 else "white"


def _legend(figure: Figure, frame: pd.DataFrame, bars: bool = False) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for row in frame.drop_duplicates("series").to_dict("records"):
        if not row["series"]:
            continue
        if bars:
            handles.append(
                Patch(fc=row["colour"], hatch=row["hatch"], ec="white", label=row["series"])
            )
        else:
            face = row["colour"] if row["filled"] else "white"
            handles.append(
                Line2D(
                    [],
                    [],
                    color=row["colour"],
                    marker=row["marker"] or None,
                    mfc=face,
                    ls=row["line"] or "none",
                    label=row["series"],
                )  # fmt: skip
            )
    columns = 3 if max((len(str(name)) for name in frame["series"]), default=0) < 18 else 2
    style: dict[str, Any] = {"ncols": columns, "fontsize": 9.5, "columnspacing": 1.0}
    style["loc"] = "outside lower left" if bars else "outside upper left"
    figure.legend(handles=handles, **style)
