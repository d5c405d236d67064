"""Figures of judge-free measures, of citations, and of other contexts."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from cutoff.report import figures
from cutoff.report.figures import COLOURS, INK, canvas
from cutoff.report.wording import label

CONTEXTS = ("none", "distractor", "retrieved", "oracle")
MARKERS = {"base": "o", "instruct_ft": "s", "rag_ft": "^"}


def by_measure(table: pd.DataFrame, measures: Sequence[str], stratum: str = "all_post") -> Figure:
    """Means with their intervals: a row per measure, a dot per condition.

    ``table``: ``means.by_condition`` of measures that lie between 0 and 1.
    """
    rows = table[(table["stratum"] == stratum) & table["measure"].isin(list(measures))]
    conditions = list(dict.fromkeys(rows["condition"]))
    order = [name for name in COLOURS if name in conditions]
    order += [name for name in conditions if name not in order]
    figure, (panel,) = canvas(1.5 + 0.16 * len(measures) * (len(order) + 1.5))
    for i, measure in enumerate(measures):
        own = rows[rows["measure"] == measure].set_index("condition")
        for k, condition in enumerate(order):
            if condition not in own.index:
                continue
            row, y = own.loc[condition], -i + (len(order) / 2 - k - 0.5) / (len(order) + 1.5)
            colour = COLOURS.get(condition, INK)
            panel.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour, lw=2)
            panel.plot(
                row["estimate"], y, "o", color=colour, ms=5.5, clip_on=False,
                label=label(condition) if i == 0 else None,
            )  # fmt: skip
        if i:
            panel.axhline(-i + 0.5, color=INK, lw=0.4)
    counts = rows.groupby("measure")["n"].agg(["min", "max"]).to_dict("index")
    names = [f"{label(name)}\n(n = {_counted(counts.get(name))})" for name in measures]
    panel.set_yticks([-i for i in range(len(measures))], names, color=INK)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="y", visible=False)
    panel.set_ylim(-len(measures) + 0.5, 0.5)
    panel.set_xlim(0, 1)
    panel.set_xlabel(f"{label(stratum)}: mean with 95 % interval")
    figure.legend(loc="outside upper left", ncols=3, handletextpad=0.1, columnspacing=0.8)
    return figure


def by_context(rates: pd.DataFrame) -> Figure:
    """Pass rate with no, useless, retrieved and perfect passages, a line per model.

    ``rates``: ``contexts.pass_rates``.
    """
    present = [name for name in CONTEXTS if name in set(rates["context"])]
    figure, (panel,) = canvas(3.9)
    models = list(dict.fromkeys(rates["model"]))
    for k, model in enumerate(models):
        rows = rates[rates["model"] == model].set_index("context")
        rows = rows.loc[[name for name in present if name in rows.index]]
        x = [present.index(name) + 0.09 * (k - (len(models) - 1) / 2) for name in rows.index]
        colour = COLOURS.get(f"{model}_rag", INK)
        panel.vlines(x, rows["ci_low"], rows["ci_high"], colour, lw=2.5)
        panel.plot(
            x, rows["estimate"], color=colour, marker=MARKERS.get(model, "o"), ls=":", ms=7,
            label=label(model), clip_on=False,
        )  # fmt: skip
    panel.set_xticks(range(len(present)), [label(n).replace(" ", "\n") for n in present], color=INK)
    panel.set_xlim(-0.4, len(present) - 0.6)
    panel.set_ylim(0, 1)
    panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f}"))
    panel.set_ylabel("answered correctly, %")
    panel.set_title(f"New papers (n = {rates['n'].max():,})")
    figure.legend(loc="outside lower left", ncols=3)
    return figure


def refusals(table: pd.DataFrame) -> Figure:
    """Share of answers that decline, with and without an answer to be found.

    ``table``: ``refusals.by_condition``.
    """
    rows = table[table["measure"] == "declined"].rename(columns={"estimate": "pass_rate"})
    return figures.pass_rates(rows, "answers that decline, % (95 % interval)")


def _counted(n: dict[str, int] | None) -> str:
    if not n:
        return "0"
    return f"{n['max']:,}" if n["min"] == n["max"] else f"{n['min']:,} to {n['max']:,}"
