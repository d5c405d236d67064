"""Figures of notebook 01, in the common theme of ``cutoff.report.figures``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cutoff.errors import CutoffError
from cutoff.records import Fact, Paper
from cutoff.report.figures import COLOURS, INK, QUIET, WIDTH_INCHES, canvas, stacked

# What a fact is used for, and its colour in the map: blue was trained, orange was not.
USES = {
    "no question": "#e6e9ed",
    "trained, not asked about": COLOURS["rag_ft"],
    "trained, asked about in other words": COLOURS["rag_ft_rag"],
    "asked about, not trained": COLOURS["instruct_ft_rag"],
}
GROUPS = ("trained on", "index only", "before the cutoff")
SCALE = 2.2  # pixels per point of the page: sharp at twice its shown size
WHITE = 250  # grey value above which a row of the page counts as empty


def printed_page(path: Path) -> Figure:
    """The first page of a PDF file as it is printed, without the empty part of the sheet."""
    import pypdfium2 as pdfium

    try:
        with pdfium.PdfDocument(path) as document:
            pixels = document[0].render(scale=SCALE).to_numpy()[:, :, :3].copy()
    except (pdfium.PdfiumError, FileNotFoundError) as error:
        raise CutoffError(f"Cannot read {path} as a PDF file: {error}") from None
    inked = (pixels.min(axis=(1, 2)) < WHITE).nonzero()[0]
    if len(inked) > 1:
        gaps = inked[1:] - inked[:-1]  # a page number stands far below the text
        last = inked[gaps.argmax()] if gaps.max() > len(pixels) / 4 else inked[-1]
        pixels = pixels[max(0, inked[0] - 40) : last + 40]
    figure = Figure(figsize=(WIDTH_INCHES, WIDTH_INCHES * pixels.shape[0] / pixels.shape[1]))
    panel = figure.add_axes((0.005, 0.005, 0.99, 0.99), xticks=[], yticks=[])
    panel.imshow(pixels[:, :, ::-1], interpolation="antialiased")  # PDFium gives blue first
    panel.grid(visible=False)
    panel.spines[:].set(visible=True, color=QUIET, linewidth=0.8)
    return figure


def fact_map(facts: Sequence[Fact], papers: Sequence[Paper]) -> Figure:
    """Every fact as a cell: a column per paper, grouped by what training saw of it.

    Of generated facts many of a kind come from one paper: they are called "qa 1", "qa 2", ...
    """
    frame = pd.DataFrame(facts)
    if "task" in frame:
        number = frame.groupby(["paper_id", "attribute"]).cumcount() + 1
        frame = frame.sort_values("attribute", key=lambda a: a + number.astype(str).str.zfill(3))
        frame["attribute"] += " " + number.astype(str)
    trained, asked = frame["trained"], frame["asked"]
    frame["use"] = np.select([trained & asked, trained, asked], [2, 1, 3], 0)
    uses = frame.pivot(index="attribute", columns="paper_id", values="use")
    uses = uses.reindex(index=frame["attribute"].unique(), columns=[q["paper_id"] for q in papers])
    control = np.array([paper["period"] == "control" for paper in papers])
    group = np.where(control, 2, np.where(uses.isin([1, 2]).any(), 0, 1))

    figure, (panel,) = canvas(max(3.5, 1.2 + 0.26 * len(uses)))
    columns: list[str] = []
    for number, name in enumerate(GROUPS):
        if own := list(uses.columns[group == number]):
            columns += ["", ""] if columns else []  # no paper: a gap
            middle = len(columns) + len(own) / 2
            panel.text(middle, -0.25, f"{name} ({len(own)})", ha="center", fontsize=9.5)
            columns += own
    panel.pcolormesh(
        uses.fillna(0).reindex(columns=columns).to_numpy(float),
        cmap=ListedColormap(list(USES.values())),
        vmin=-0.5,
        vmax=3.5,
        edgecolors="white",
        linewidth=0.4,
    )
    panel.set_yticks(np.arange(len(uses)) + 0.5, list(uses.index), color=INK, fontsize=10)
    panel.set_xticks([])
    panel.invert_yaxis()
    panel.grid(visible=False)
    panel.tick_params(axis="y", length=0)
    panel.spines[:].set_visible(False)
    handles = [Patch(color=colour, label=use) for use, colour in USES.items()]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=9.5, handlelength=1)
    return figure


def funnel(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """What is left after every step: rows ``{kept, dropped, reason}``, first to last.

    A row without a ``reason`` is called by its ``step``.
    """
    frame = pd.DataFrame(rows)
    dropped = frame["dropped"].map(lambda n: f" (−{n:,})" if n else "")
    frame["note"] = frame["kept"].map("{:,}".format) + dropped
    frame["row"] = frame["reason"].where(frame["reason"] != "", frame.get("step"))
    long = frame.melt(["row", "note"], ["kept", "dropped"], "series", "value")
    colours = {"kept": COLOURS["rag_ft_rag"], "dropped": COLOURS["instruct_ft"]}
    return stacked(long.assign(colour=long["series"].map(colours)), "number left")
