"""Figures of notebook 01, in the common theme of ``cutoff.report.figures``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cutoff.errors import CutoffError
from cutoff.records import Fact, Paper, Passage
from cutoff.report.figures import COLOURS, INK, QUIET, WIDTH_INCHES, canvas, stacked

# What a fact is used for, and its colour in the map: blue was trained, orange was not.
USES = (
    ("no question", "#e6e9ed"),
    ("trained, not asked about", COLOURS["rag_ft"]),
    ("trained, asked about in other words", COLOURS["rag_ft_rag"]),
    ("asked about, not trained", COLOURS["instruct_ft_rag"]),
)
GAP = 2  # empty columns between the groups of papers
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
        gaps = inked[1:] - inked[:-1]
        last = inked[gaps.argmax()] if gaps.max() > len(pixels) / 4 else inked[-1]
        pixels = pixels[max(0, inked[0] - 40) : last + 40]
    figure = Figure(figsize=(WIDTH_INCHES, WIDTH_INCHES * pixels.shape[0] / pixels.shape[1]))
    panel = figure.add_axes((0.005, 0.005, 0.99, 0.99))
    panel.imshow(pixels[:, :, ::-1], interpolation="antialiased")  # PDFium gives blue first
    panel.set_xticks([])
    panel.set_yticks([])
    panel.grid(visible=False)
    for spine in panel.spines.values():
        spine.set(visible=True, color=QUIET, linewidth=0.8)
    return figure


def passage_lengths(passages: Sequence[Passage], limit: int) -> Figure:
    """How long passages are, in tokens of the embedding model, and where the limit lies."""
    figure, (panel,) = canvas(2.9)
    panel.hist(
        [passage["n_tokens"] for passage in passages],
        bins=[n - 0.5 for n in range(0, limit + 2, max(1, limit // 32))],
        color=COLOURS["rag_ft_rag"],
    )
    panel.axvline(limit, color=COLOURS["instruct_ft_rag"], lw=2)
    panel.text(limit, 0.97, "limit ", transform=panel.get_xaxis_transform(), ha="right", va="top")
    panel.set_xlim(0, limit * 1.03)
    panel.set_xlabel("tokens of a passage")
    panel.set_ylabel("passages")
    return figure


def fact_map(facts: Sequence[Fact], papers: Sequence[Paper]) -> Figure:
    """Every fact as a cell: a column per paper, grouped by what training saw of it."""
    cells = _cells(facts)
    attributes = list(dict.fromkeys(name for own in cells.values() for name in own))
    if any("task" in fact for fact in facts):
        tasks = list(dict.fromkeys(fact["attribute"] for fact in facts))
        places = {name: name.rpartition(" ") for name in attributes}
        attributes.sort(key=lambda name: (tasks.index(places[name][0]), int(places[name][2])))
    figure, (panel,) = canvas(max(3.5, 1.2 + 0.26 * len(attributes)))
    columns: list[str | None] = []
    for name, group in _groups(papers, cells).items():
        if group:
            columns += [None] * GAP * bool(columns)
            middle = len(columns) + len(group) / 2
            panel.text(middle, -0.25, f"{name} ({len(group)})", ha="center", fontsize=9.5)
            columns += group
    panel.pcolormesh(
        np.array(
            [
                [_use(cells.get(paper, {}).get(name)) if paper else np.nan for paper in columns]
                for name in attributes
            ]
        ),
        cmap=ListedColormap([colour for _, colour in USES]),
        vmin=-0.5,
        vmax=len(USES) - 0.5,
        edgecolors="white",
        linewidth=0.4,
    )
    rows = [n + 0.5 for n in range(len(attributes))]
    panel.set_yticks(rows, attributes, color=INK, fontsize=10)
    panel.set_xticks([])
    panel.invert_yaxis()
    panel.grid(visible=False)
    panel.tick_params(axis="y", length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
    figure.legend(
        handles=[Patch(color=colour, label=use) for use, colour in USES],
        loc="outside lower left",
        ncols=2,
        fontsize=9.5,
        handlelength=1,
    )
    return figure


def _cells(facts: Sequence[Fact]) -> dict[str, dict[str, Fact]]:
    """Paper -> what a fact is about -> the fact. Of generated facts many of a kind come from one
    paper: they are called "qa 1", "qa 2", ..."""
    cells: dict[str, dict[str, Fact]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for fact in facts:
        name = fact["attribute"]
        if "task" in fact:
            counts[fact["paper_id"], name] += 1
            name = f"{name} {counts[fact['paper_id'], name]}"
        cells.setdefault(fact["paper_id"], {})[name] = fact
    return cells


def _groups(
    papers: Sequence[Paper], cells: Mapping[str, Mapping[str, Fact]]
) -> dict[str, list[str]]:
    """Ids of the papers by what training saw of them."""
    groups: dict[str, list[str]] = {"trained on": [], "index only": [], "before the cutoff": []}
    for paper in papers:
        trained = any(fact["trained"] for fact in cells.get(paper["paper_id"], {}).values())
        name = "trained on" if trained else "index only"
        name = "before the cutoff" if paper["period"] == "control" else name
        groups[name].append(paper["paper_id"])
    return groups


def _use(fact: Fact | None) -> int:
    """Position in ``USES``."""
    if fact is None or not (fact["trained"] or fact["asked"]):
        return 0
    return (2 if fact["asked"] else 1) if fact["trained"] else 3


def ratings(frame: pd.DataFrame, least: float) -> Figure:
    """How facts were rated: per rating the shares below ``least``, above it, and high above it.

    ``frame``: a column per rating (0..1, missing where there is none), a row per fact.
    """
    high = (1 + least) / 2
    bands = {
        "not rated": frame.isna(),
        f"below {least:g}": frame < least,
        f"{least:g} to {high:.2g}": (frame >= least) & (frame < high),
        f"{high:.2g} or more": frame >= high,
    }
    colours = (QUIET, COLOURS["instruct_ft"], COLOURS["rag_ft"], COLOURS["rag_ft_rag"])
    rows = [
        {"row": name, "series": band, "value": inside[name].mean(), "colour": colour}
        for name in frame.columns
        for (band, inside), colour in zip(bands.items(), colours, strict=True)
    ]
    return stacked(pd.DataFrame(rows), "share of facts, %", "percent")


def funnel(rows: Sequence[dict[str, Any]]) -> Figure:
    """What is left after every step: rows ``{step, kept, dropped, reason}``, first to last."""
    parts = []
    for row in rows:
        note = f"{row['kept']:,}" + (f" (−{row['dropped']:,})" if row["dropped"] else "")
        for series, colour in (("kept", "rag_ft_rag"), ("dropped", "instruct_ft")):
            parts.append(
                {
                    "row": row["reason"] or row["step"],
                    "series": series,
                    "value": row[series],
                    "colour": COLOURS[colour],
                    "note": note,
                }
            )
    return stacked(pd.DataFrame(parts), "number left")
