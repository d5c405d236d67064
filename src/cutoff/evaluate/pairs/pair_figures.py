"""Figures of answers side by side, of ratings, and of weights with fewer bits."""

import pandas as pd
from matplotlib.figure import Figure

from cutoff.report import figures
from cutoff.report.claims import established
from cutoff.report.wording import label


def side_by_side(table: pd.DataFrame, rated: pd.DataFrame) -> Figure:
    """Ratings where more than two conditions were compared, else win rates of the second side;
    arguments of ``preferences.table`` and ``bradley_terry.ratings``."""
    if not rated.empty:
        ends = {"rating": "value", "rating_low": "ci_low", "rating_high": "ci_high"}
        frame = rated.rename(columns=ends).assign(
            row=rated["condition"].map(label),
            colour=rated["condition"].map(figures.COLOURS),
            note=rated["rating"].map("{:.0f}".format),
        )
        return figures.dots(frame, "Elo rating (100 points: odds of 1.8 to 1)", "number")
    rows = table[table["stratum"] == "all_post"]
    counts = zip(rows["b_wins"], rows["ties"], rows["a_wins"], strict=True)
    frame = rows.assign(
        row=rows["b"].map(label) + " against " + rows["a"].map(label),
        value=rows["win_rate"],
        ci_low=rows["win_rate_low"],
        ci_high=rows["win_rate_high"],
        filled=established(rows),
        note=[f"{won:,} wins, {ties:,} ties, {lost:,} losses" for won, ties, lost in counts],
    )
    figure = figures.dots(frame, "win rate, %; a tie is half a win (filled: established)")
    figure.axes[0].axvline(50, color=figures.INK, lw=1, zorder=0.5)
    return figure


def bits(table: pd.DataFrame) -> Figure:
    """What fewer bits change, in points, a panel per quantisation that is compared.

    ``table``: of ``precision_loss.effects``. Filled where a planned difference is established.
    """
    rows = table.assign(
        row=table["condition"].map(label)
        + ": "
        + table["stratum"].map(label)
        + table["n"].map(" ({:,})".format),
        panel=table["b"] + " instead of " + table["a"],
    )
    return figures.effects(rows, "change, points")
