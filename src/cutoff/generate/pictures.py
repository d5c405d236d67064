"""Figures of notebook 01, in the common theme of ``cutoff.figures``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cutoff.errors import CutoffError
from cutoff.figures import COLOURS, INK, QUIET, WIDTH_INCHES, canvas

Record = dict[str, Any]

# What a fact is used for, and its colour in the map: blue was trained, orange was not.
USES = (
    ("no question", "#e6e9ed"),
    ("trained, not asked about", COLOURS["rag_ft"]),
    ("trained, asked about in other words", COLOURS["rag_ft_rag"]),
    ("asked about, not trained", COLOURS["instruct_ft_rag"]),
)
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


def passage_lengths(passages: Sequence[Record], limit: int) -> Figure:
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


def fact_map(facts: Sequence[Record], papers: Sequence[Record]) -> Figure:
    """Every fact as a cell: a column per paper, grouped by what training saw of it."""
    of_paper: dict[str, dict[str, Record]] = {}
    for fact in facts:
        of_paper.setdefault(fact["paper_id"], {})[fact["attribute"]] = fact
    attributes = list(dict.fromkeys(fact["attribute"] for fact in facts))
    groups: dict[str, list[str]] = {"trained on": [], "index only": [], "before the cutoff": []}
    for paper in papers:
        own = of_paper.get(paper["paper_id"], {}).values()
        trained = any(fact["trained"] for fact in own)
        name = "trained on" if trained else "index only"
        name = "before the cutoff" if paper["period"] == "control" else name
        groups[name].append(paper["paper_id"])
    figure, (panel,) = canvas(3.5)
    gap = [""] * 2  # empty columns between the groups
    columns: list[str] = []
    for name, group in groups.items():
        if group:
            middle = len(columns) + len(group) / 2
            panel.text(middle, -0.25, f"{name} ({len(group)})", ha="center", fontsize=9.5)
            columns += [*group, *gap]
    cells = [
        [_use(of_paper.get(paper_id, {}).get(name)) if paper_id else np.nan for paper_id in columns]
        for name in attributes
    ]
    panel.pcolormesh(
        np.array(cells, dtype=float),
        cmap=ListedColormap([colour for _, colour in USES]),
        vmin=-0.5,
        vmax=len(USES) - 0.5,
        edgecolors="white",
        linewidth=0.4,
    )
    panel.set_xlim(0, len(columns) - len(gap))
    panel.set_yticks([n + 0.5 for n in range(len(attributes))], attributes, color=INK, fontsize=10)
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


def _use(fact: Record | None) -> int:
    """Position in ``USES``."""
    if fact is None or not (fact["trained"] or fact["asked"]):
        return 0
    return (2 if fact["asked"] else 1) if fact["trained"] else 3
