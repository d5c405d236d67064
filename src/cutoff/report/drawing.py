"""What the shapes of ``cutoff.report.figures`` draw on a panel."""

from typing import Any

import matplotlib
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from cutoff.report.palette import COLOURS, INK, ON_WHITE, SCALE

DEFAULTS: dict[str, Any] = {
    "panel": "", "series": "", "colour": COLOURS["base_rag"], "filled": True, "note": "",
    "text": "", "hatch": "", "marker": "o", "line": "-", "ci_low": float("nan"),
    "ci_high": float("nan"),
}  # fmt: skip


def completed(frame: pd.DataFrame, unit: str) -> pd.DataFrame:
    """``frame`` with every optional column of the shapes, its numbers as they are drawn."""
    if unit not in SCALE:
        raise ValueError(f"unknown unit {unit!r}; one of {', '.join(SCALE)}")
    frame = frame.copy()
    for name, value in DEFAULTS.items():
        frame[name] = frame[name].where(frame[name].notna(), value) if name in frame else value
    numbers = ["value", "ci_low", "ci_high"]
    frame[numbers] = SCALE[unit] * frame[numbers].astype(float)
    return frame.assign(face=frame["colour"].where(frame["filled"].astype(bool), "white"))


def dots_of(panel: Axes, part: pd.DataFrame, every: list[Any], above: bool) -> None:
    names = list(dict.fromkeys(part["row"]))
    step, size = 0.8 / len(every), 8 if len(every) == 1 else 5.5
    for row in part.to_dict("records"):
        y = step * ((len(every) - 1) / 2 - every.index(row["series"])) - names.index(row["row"])
        colour, face = row["colour"], row["face"]
        panel.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour, lw=2.5)
        panel.plot(row["value"], y, "o", ms=size, color=colour, mfc=face, mew=2, clip_on=False)
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


def are_long(names: "pd.Series[str]") -> bool:
    """Whether names of lines would leave too little room: then they stand above their line."""
    return max((len(line) for name in names for line in str(name).split("\n")), default=0) > 28


def _written(panel: Axes, x: float, y: float, text: str, to_the_left: bool) -> None:
    """``text`` at ``x`` of the panel's width, on white so that no line crosses it."""
    written = panel.text(
        x, y, text, transform=panel.get_yaxis_transform(), va="center", fontsize=9.5, color=INK,
        ha="right" if to_the_left else "left", bbox=ON_WHITE,
    )  # fmt: skip
    written.set_in_layout(x > 1)  # what stands inside the panel takes no room beside it


def estimate_axis(panels: list[Axes], frame: pd.DataFrame, unit: str) -> None:
    """The x axis of estimates: 0 to 100, or both ways from a line at no difference."""
    if unit == "percent":
        panels[-1].set_xlim(0, 100)
    elif unit == "points":
        reach = 1.05 * frame[["value", "ci_low", "ci_high"]].abs().max().fillna(0).max()
        panels[-1].set_xlim(-max(2.1, reach), max(2.1, reach))
        panels[-1].xaxis.set_major_formatter(lambda x, _: f"{x:g}".replace("-", "−"))
        for panel in panels:
            panel.axvline(0, color=INK, lw=1, zorder=0.5)


def curve_of(panel: Axes, x: Any, rows: pd.DataFrame) -> None:
    first = rows.iloc[0]
    panel.vlines(x, rows["ci_low"], rows["ci_high"], first["colour"], lw=2)
    panel.plot(
        x, rows["value"], color=first["colour"], marker=first["marker"] or None,
        ls=first["line"] or "none", ms=6.5, lw=1.6, mew=1.6, mfc=first["face"],
    )  # fmt: skip


def bars_of(panel: Axes, part: pd.DataFrame) -> None:
    names = list(dict.fromkeys(part["row"]))
    for y, (_, rows) in enumerate(part.groupby("row", sort=False)):
        left = 0.0
        for row in rows.to_dict("records"):
            width = row["value"]
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


def finish(figure: Figure, frame: pd.DataFrame, xlabel: str, bars: bool = False) -> None:
    """Title the panels, name the x axis and, of several series, say what stands for each."""
    for panel, title in zip(figure.axes, frame["panel"].unique(), strict=False):
        panel.set_title(str(title))
    figure.axes[-1].set_xlabel(xlabel)
    if frame["series"].nunique() < 2:
        return
    handles: list[Artist] = []
    for row in frame[frame["series"] != ""].drop_duplicates("series").to_dict("records"):
        colour, face, name = row["colour"], row["face"], row["series"]
        marker, line = row["marker"] or None, row["line"] or "none"
        handles.append(
            Patch(fc=colour, hatch=row["hatch"], ec="white", label=name)
            if bars
            else Line2D([], [], color=colour, marker=marker, mfc=face, ls=line, label=name)
        )
    figure.legend(
        handles=handles,
        loc="outside lower left" if bars else "outside upper left",
        ncols=3 if frame["series"].str.len().max() < 18 else 2,
        fontsize=9.5,
        columnspacing=1.0,
    )
