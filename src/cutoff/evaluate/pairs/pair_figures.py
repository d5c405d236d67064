"""Figures of answers side by side, of ratings, and of weights with fewer bits."""

import pandas as pd
from matplotlib.figure import Figure

from cutoff.report import figures
from cutoff.report.claims import is_effect
from cutoff.report.figures import COLOURS, GAIN, INK, LINE, LOSS, QUIET
from cutoff.report.wording import label, points


def side_by_side(table: pd.DataFrame, rated: pd.DataFrame) -> Figure:
    """``ratings`` where more than two conditions were compared, else ``wins``."""
    return wins(table) if rated.empty else ratings(rated)


def wins(table: pd.DataFrame, stratum: str = "all_post") -> Figure:
    """Share of questions that either side wins, and the win rate with its interval below.

    ``table``: of ``preferences.table``.
    """
    rows = table[table["stratum"] == stratum].to_dict("records")
    figure, (panel,) = figures.canvas(1.2 + 1.15 * len(rows))
    for i, row in enumerate(reversed(rows)):
        y, n = 2.0 * i, max(row["n"], 1)
        counts = (row["a_wins"], row["ties"], row["b_wins"])
        colours = (COLOURS.get(row["a"], QUIET), LINE, COLOURS.get(row["b"], GAIN))
        start = 0.0
        for count, colour in zip(counts, colours, strict=True):
            panel.barh(y + 0.5, 100 * count / n, 0.5, left=start, color=colour, edgecolor="white")
            start += 100 * count / n
        told = f"{counts[0]} wins · {counts[1]} ties · {counts[2]} wins (n = {row['n']:,})"
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        panel.text(50, y + 0.97, told, ha="center", va="center", fontsize=9, bbox=white)
        panel.text(0, y + 1.28, label(row["a"]), ha="left", va="center", fontsize=10)
        panel.text(100, y + 1.28, label(row["b"]), ha="right", va="center", fontsize=10)
        colour = INK if is_effect(row) else QUIET
        panel.plot([100 * row["win_low"], 100 * row["win_high"]], [y, y], color=colour, lw=2.5)
        face = colour if is_effect(row) else "white"
        panel.plot(100 * row["win_rate"], y, "o", color=colour, mfc=face, mew=2, ms=8)
    panel.axvline(50, color=INK, lw=1, zorder=0.5)
    panel.set_xlim(0, 100)
    panel.set_ylim(-0.5, 2.0 * len(rows) - 0.4)
    panel.set_yticks([])
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("questions, %; dot: win rate of the right side (filled: established)")
    return figure


def ratings(frame: pd.DataFrame) -> Figure:
    """Elo ratings with their intervals, best on top; ``frame``: of ``bradley_terry.ratings``."""
    rows = frame.iloc[::-1].to_dict("records")
    figure, (panel,) = figures.canvas(1.0 + 0.42 * len(rows))
    for y, row in enumerate(rows):
        colour = COLOURS.get(row["condition"], INK)
        panel.plot([row["rating_low"], row["rating_high"]], [y, y], color=colour, lw=2.5)
        panel.plot(row["rating"], y, "o", color=colour, ms=8)
    panel.set_yticks(range(len(rows)), [label(row["condition"]) for row in rows], color=INK)
    panel.set_ylim(-0.6, len(rows) - 0.4)
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("Elo rating (100 points: odds of 1.8 to 1)")
    panel.set_title(f"{frame['n'].max():,} comparisons of each, {frame['n_papers'].max():,} papers")
    return figure


def bits(table: pd.DataFrame) -> Figure:
    """What fewer bits change, in points, a panel per quantisation that is compared.

    ``table``: of ``bits.effects``. Filled where a planned difference is established.
    """
    compared = list(dict.fromkeys(zip(table["a"], table["b"], strict=True)))
    per_panel = len(table) / max(1, len(compared))
    figure, panels = figures.canvas(0.8 + len(compared) * (0.5 + 0.3 * per_panel), len(compared))
    reach = 105 * max(0.02, table[["ci_low", "ci_high"]].abs().max(axis=None))
    for panel, (a, b) in zip(panels, compared, strict=True):
        rows = table[(table["a"] == a) & (table["b"] == b)].iloc[::-1].to_dict("records")
        names = []
        for y, row in enumerate(rows):
            effect = is_effect(row)
            colour = (GAIN if row["difference"] > 0 else LOSS) if effect else QUIET
            panel.plot([100 * row["ci_low"], 100 * row["ci_high"]], [y, y], color=colour, lw=2.5)
            face = colour if effect else "white"
            panel.plot(100 * row["difference"], y, "o", ms=7, color=colour, mfc=face, mew=2)
            panel.text(1.02 * reach, y, points(row["difference"]), va="center", fontsize=9)
            names.append(f"{label(row['condition'])}: {label(row['stratum'])} ({row['n']})")
        panel.axvline(0, color=INK, lw=1)
        panel.set_yticks(range(len(rows)), names, color=INK, fontsize=8.5)
        panel.set_ylim(-0.6, len(rows) - 0.4)
        panel.set_xlim(-reach, reach)
        panel.grid(axis="y", visible=False)
        panel.set_title(f"{b} instead of {a}", loc="left")
    panels[-1].set_xlabel("change, points\n(filled: established)")
    return figure
