"""Figures of what the weights hold: knowledge by date, by exposure, and what training cost."""

import pandas as pd
from matplotlib.figure import Figure

from cutoff.evaluate.diagnostics.contamination import years_of
from cutoff.report.claims import is_effect
from cutoff.report.figures import COLOURS, GAIN, INK, LOSS, QUIET, canvas
from cutoff.report.wording import label, points

SIDES = {
    "control": ("before the cutoff", "s", COLOURS["base_rag"]),
    "post": ("after the cutoff", "o", COLOURS["instruct_ft_rag"]),
}


def forgetting(changes: pd.DataFrame) -> Figure:
    """Change on control questions by training; ``changes`` is ``forgetting.table``.

    Bars are 95 % intervals, filled dots established changes.
    """
    figure, (panel,) = canvas(1.0 + 0.62 * len(changes))
    for y, row in enumerate(changes.iloc[::-1].to_dict("records")):
        effect = is_effect(row)
        colour = (GAIN if row["difference"] > 0 else LOSS) if effect else QUIET
        panel.plot([100 * row["ci_low"], 100 * row["ci_high"]], [y, y], color=colour, lw=2.5)
        face = colour if effect else "white"
        panel.plot(100 * row["difference"], y, "o", ms=8, color=colour, mfc=face, mew=2)
        text = f"{points(row['difference'])} (n = {row['n']:,})"
        panel.text(
            100 * row["difference"], y + 0.25, text, ha="center", fontsize=10,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
    panel.axvline(0, color=INK, lw=1)
    names = [label(name) for name in changes["b"]][::-1]
    panel.set_yticks(range(len(names)), names, color=INK)
    panel.set_ylim(-0.5, len(names) - 0.35)
    ends = changes[["ci_low", "ci_high", "difference"]].abs().max(axis=None)
    reach = 100 * max(0.1, 0.0 if pd.isna(ends) else ends)
    panel.set_xlim(-1.25 * reach, 0.5 * reach)
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="y", length=0)
    panel.set_xlabel("change by training, points (filled: established)")
    return figure


def by_month(months: pd.DataFrame) -> Figure:
    """The untouched model's closed-book answers by month; ``months`` is ``contamination.table``.

    A larger dot stands for more questions; lines are 95 % intervals. Papers without a date
    are not drawn.
    """
    dated = months.dropna(subset=["month", "pass_rate"])
    figure, (panel,) = canvas(4.0)
    most = dated["n"].max() if len(dated) else 1
    for period, (name, marker, colour) in SIDES.items():
        rows = dated[dated["period"] == period]
        if rows.empty:
            continue
        x = years_of(rows["month"])
        panel.vlines(x, 100 * rows["ci_low"], 100 * rows["ci_high"], colour, lw=1.2, alpha=0.55)
        panel.scatter(
            x, 100 * rows["pass_rate"], s=20 + 90 * rows["n"] / most, marker=marker, color=colour,
            label=f"{name} (n = {rows['n'].sum():,})", zorder=3, clip_on=False,
        )  # fmt: skip
    post = dated.loc[dated["period"] == "post", "month"]
    old = dated.loc[dated["period"] == "control", "month"]
    if len(post) and len(old) and old.max() < post.min():
        panel.axvline(years_of(pd.Series([post.min()]))[0] - 1 / 24, color=INK, lw=1)
    ticks = _ticks(dated["month"])
    panel.set_xticks(years_of(pd.Series(ticks, dtype=str)), ticks, color=INK)
    panel.set_ylim(0, 100)
    panel.set_ylabel("answered correctly, %")
    panel.set_xlabel("first version of the paper")
    figure.legend(loc="outside upper left", ncols=2, handletextpad=0.3, columnspacing=1.2)
    return figure


def recall(shares: pd.DataFrame) -> Figure:
    """Recall by number of wordings; ``shares`` is ``exposure.table``.

    Facts that were never told stand apart at zero: they are other facts, so no line leads there.
    """
    figure, (panel,) = canvas(3.8)
    conditions = list(dict.fromkeys(shares["condition"]))
    for i, condition in enumerate(conditions):
        rows = shares[shares["condition"] == condition].dropna(subset=["pass_rate"])
        colour = COLOURS.get(f"{condition}_rag", INK)
        x = rows["wordings"].to_numpy(dtype=float) + 0.08 * (i - (len(conditions) - 1) / 2)
        panel.vlines(x, 100 * rows["ci_low"], 100 * rows["ci_high"], colour, lw=2.5)
        told = (rows["wordings"] > 0).to_numpy()
        marker, line = ("o", "-") if i % 2 == 0 else ("s", "--")
        panel.plot(
            x[told], 100 * rows["pass_rate"][told], marker + line, color=colour, ms=8,
            label=label(condition),
        )  # fmt: skip
        panel.plot(x[~told], 100 * rows["pass_rate"][~told], marker, color=colour, ms=8)
    counts = shares.groupby("wordings")["n"].max()
    panel.set_xticks(
        counts.index.to_numpy(dtype=float),
        [f"{wordings}\nn = {n:,}" for wordings, n in counts.items()],
        color=INK,
    )
    panel.set_ylim(0, 102)
    panel.set_xlabel("wordings of the fact in training (0: never told)")
    panel.set_ylabel("recalled closed book, %")
    figure.legend(loc="outside upper left", ncols=2, handletextpad=0.3, columnspacing=1.2)
    return figure


def _ticks(months: "pd.Series[str]") -> list[str]:
    """At most five months from the first to the last, at equal distances."""
    if months.empty:
        return []
    first, last = (12 * int(m[:4]) + int(m[5:7]) - 1 for m in (months.min(), months.max()))
    count = min(5, last - first + 1)
    chosen = sorted({round(first + (last - first) * i / max(1, count - 1)) for i in range(count)})
    return [f"{n // 12}-{n % 12 + 1:02d}" for n in chosen]
