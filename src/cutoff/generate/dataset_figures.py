"""Figures of notebook 01, in the common theme of ``cutoff.figures``."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cutoff.errors import CutoffError
from cutoff.report.figures import COLOURS, INK, QUIET, WIDTH_INCHES, canvas

if TYPE_CHECKING:
    import pandas as pd

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
    known = [fact["attribute"] for fact in facts if "task" not in fact]
    attributes = dict.fromkeys(known)
    tasks = list(dict.fromkeys(fact["task"] for fact in facts if "task" in fact))
    counts: Counter[tuple[str, str]] = Counter()
    for fact in facts:
        name = fact["attribute"]
        if "task" in fact:  # many of a kind per paper: a row for the first, the second, ...
            counts[fact["paper_id"], name] += 1
            name = f"{name} {counts[fact['paper_id'], name]}"
        of_paper.setdefault(fact["paper_id"], {})[name] = fact
        attributes.setdefault(name)
    groups: dict[str, list[str]] = {"trained on": [], "index only": [], "before the cutoff": []}
    for paper in papers:
        own = of_paper.get(paper["paper_id"], {}).values()
        trained = any(fact["trained"] for fact in own)
        name = "trained on" if trained else "index only"
        name = "before the cutoff" if paper["period"] == "control" else name
        groups[name].append(paper["paper_id"])
    if tasks:
        order = {f"{task} {n}": None for task in tasks for n in range(1, max(counts.values()) + 1)}
        attributes = {name: None for name in order if name in attributes}
    figure, (panel,) = canvas(max(3.5, 1.2 + 0.26 * len(attributes)))
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
    rows = [n + 0.5 for n in range(len(attributes))]
    panel.set_yticks(rows, list(attributes), color=INK, fontsize=10)
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


def ratings(frame: "pd.DataFrame", least: float) -> Figure:
    """How facts were rated: a row of dots per rating, as large as the facts are many."""
    figure, (panel,) = canvas(0.9 + 0.5 * len(frame.columns))
    for place, name in enumerate(frame.columns[::-1]):
        counts = frame[name].dropna().round(2).value_counts()
        sizes = 12 + 480 * counts / max(1, len(frame))
        panel.scatter(counts.index, [place] * len(counts), s=sizes, color=COLOURS["rag_ft_rag"])
    panel.axvline(least, color=COLOURS["instruct_ft_rag"], lw=2)
    panel.text(least, 1.02, "least ", transform=panel.get_xaxis_transform(), ha="right")
    panel.set_yticks(range(len(frame.columns)), list(frame.columns[::-1]), color=INK, fontsize=10)
    panel.set_xlim(-0.05, 1.05)
    panel.set_ylim(-0.6, len(frame.columns) - 0.4)
    panel.set_xlabel("rating (area: share of facts)")
    return figure


def funnel(rows: Sequence[Record]) -> Figure:
    """What is left after every step: rows ``{step, kept, dropped, reason}``, first to last."""
    figure, (panel,) = canvas(0.9 + 0.34 * len(rows))
    kept = [row["kept"] for row in rows][::-1]
    dropped = [row["dropped"] for row in rows][::-1]
    places = range(len(rows))
    panel.barh(places, kept, color=COLOURS["rag_ft_rag"], height=0.7, label="kept")
    panel.barh(
        places, dropped, left=kept, color=COLOURS["instruct_ft"], height=0.7, label="dropped"
    )
    for place, (left, gone) in enumerate(zip(kept, dropped, strict=True)):
        text = f" {left:,}" + (f" (−{gone:,})" if gone else "")
        panel.text(left + gone, place, text, va="center", fontsize=9.5, color=INK)
    panel.set_yticks(
        places, [row["reason"] or row["step"] for row in rows][::-1], color=INK, fontsize=10
    )
    panel.set_xlim(0, 1.22 * max([1, *(a + b for a, b in zip(kept, dropped, strict=True))]))
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper right", ncols=2, fontsize=9.5, handlelength=1)
    return figure
