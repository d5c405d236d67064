"""One palette and one theme for every figure.

A condition keeps its colour everywhere: grey is the untouched model, orange was trained on
questions and answers, blue on passages with citations; the dark shade has retrieval. The
three hues stay apart for colour-blind readers and the two shades in greyscale. Figures are
narrow, with large type, because half of the readers hold a phone. Every interval drawn is a
95 % interval.
"""

from collections.abc import Mapping
from io import BytesIO

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from cutoff.report.claims import is_effect
from cutoff.report.wording import label, percent, points

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


def pass_rates(rates: pd.DataFrame, meaning: str = "questions answered correctly, %") -> Figure:
    """Rate of every condition with its interval, one panel per kind of question.

    ``rates``: columns stratum, condition, n, pass_rate, ci_low, ci_high; ``meaning`` says under
    the axis what the rate is.
    """
    strata = list(dict.fromkeys(rates["stratum"]))
    figure, panels = canvas(0.55 + 1.72 * len(strata), len(strata))
    for panel, stratum in zip(panels, strata, strict=True):
        rows = rates[rates["stratum"] == stratum].iloc[::-1].reset_index(drop=True)
        for y, row in rows.iterrows():
            colour = COLOURS.get(row["condition"], INK)
            panel.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour, lw=2.5)
            panel.plot(row["pass_rate"], y, "o", color=colour, ms=8, clip_on=False)
            panel.text(1.03, float(y), percent(row["pass_rate"]), va="center", fontsize=10)  # type: ignore
        panel.set_yticks(range(len(rows)), [label(name) for name in rows["condition"]], color=INK)
        panel.set_ylim(-0.6, len(rows) - 0.4)
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
        panel.set_title(f"{label(stratum)} (n = {rows['n'].max():,})")
    panels[-1].set_xlim(0, 1)
    panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.0f}"))
    panels[-1].set_xlabel(meaning)
    return figure


def forest(contrasts: pd.DataFrame) -> Figure:
    """Planned contrasts in percentage points; filled where an effect is established."""
    planned = contrasts[contrasts["planned"].astype(bool)]
    strata = list(dict.fromkeys(planned["stratum"]))
    lines = len(planned) + len(strata)
    figure, (panel,) = canvas(0.9 + 0.5 * lines)
    ends = planned[["ci_low", "ci_high"]].abs().max(axis=None)
    reach = 100 * max(0.1, 0.0 if pd.isna(ends) else ends)
    y = float(lines)
    for stratum in strata:
        rows = planned[planned["stratum"] == stratum].to_dict("records")
        y -= 1
        head = f"{label(stratum)} (n = {rows[0]['n'] + rows[0]['n_missing']:,})"
        _note(panel, 0, y, head, weight="bold")
        for row in rows:
            y -= 1
            effect = is_effect(row)
            colour = (GAIN if row["difference"] > 0 else LOSS) if effect else QUIET
            panel.plot([100 * row["ci_low"], 100 * row["ci_high"]], [y, y], color=colour, lw=2.5)
            face = colour if effect else "white"
            panel.plot(100 * row["difference"], y, "o", ms=8, color=colour, mfc=face, mew=2)
            _note(panel, 0, y + 0.46, label(row["name"]))
            low, high = points(row["ci_low"], sign=False), points(row["ci_high"], sign=False)
            _note(panel, 1, y + 0.46, f"{points(row['difference'])} [{low}, {high}]")
    panel.axvline(0, color=INK, lw=1)
    panel.set_xlim(-1.05 * reach, 1.05 * reach)
    panel.set_ylim(-0.5, lines - 0.5)
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("difference in pass rate, points (filled: established)")
    return figure


def _note(panel: Axes, side: int, y: float, text: str, weight: str = "normal") -> None:
    """Text at the left (0) or right (1) edge of a panel, on white so that no line crosses it."""
    panel.text(
        side, y, text, transform=panel.get_yaxis_transform(), va="center", fontsize=10,
        ha="right" if side else "left", weight=weight,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
    )  # fmt: skip


def losses(
    curves: Mapping[str, pd.DataFrame], held_out: Mapping[str, pd.DataFrame] | None = None
) -> Figure:
    """Training loss by step, and below it the loss on questions that are not trained.

    ``curves`` maps an adapter to columns ``step`` and ``loss``; ``held_out`` to ``step`` and a
    column per stratum. Adapters of further seeds share their variant's colour.
    """
    shown = {name: curve for name, curve in (held_out or {}).items() if len(curve)}
    figure, panels = canvas(6.4 if shown else 3.4, 2 if shown else 1)
    for name, curve in curves.items():
        variant, _, further = name.partition(".")
        panels[0].plot(
            curve["step"], curve["loss"], color=COLOURS.get(f"{variant}_rag", INK),
            lw=1 if further else 2, label=None if further else label(variant),
        )  # fmt: skip
    for name, curve in shown.items():
        variant, _, further = name.partition(".")
        for stratum, style in zip(curve.columns.drop("step"), ("o-", "s--", "^:"), strict=False):
            panels[1].plot(
                curve["step"], curve[stratum], style, color=COLOURS.get(f"{variant}_rag", INK),
                ms=4, lw=1 if further else 2,
                label=None if further else f"{label(variant)}: {label(stratum).lower()}",
            )  # fmt: skip
        panels[1].set_ylabel("loss, not trained")
    panels[0].set_ylabel("training loss (nats per token)" if not shown else "training loss")
    panels[-1].set_xlabel("optimiser step" + ("; losses in nats per token" if shown else ""))
    for panel in panels:
        panel.set_ylim(bottom=0)
    panels[0].legend()
    if shown:  # below: the curves leave no corner free
        figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower left", fontsize=9)
    return figure


def recall_at_k(recall: pd.DataFrame, used_k: int) -> Figure:
    """Share of questions whose evidence is among the first k passages.

    ``recall``: columns stratum, k, recall (0..1); ``used_k``: passages put before the model.
    """
    figure, (panel,) = canvas(3.6)
    styles = zip(("o-", "s--", "^-.", "D:", "v-"), list(COLOURS.values())[1::2] * 2, strict=False)
    for (stratum, curve), (style, colour) in zip(
        recall.groupby("stratum", sort=False), styles, strict=False
    ):
        panel.plot(curve["k"], 100 * curve["recall"], style, color=colour, label=label(stratum))
    panel.axvline(used_k, color=QUIET, lw=1)
    panel.text(used_k, 2, f" used: {used_k}", color=QUIET, fontsize=10)
    panel.set_xlabel("passages retrieved (k)")
    panel.set_ylabel("evidence retrieved, % of questions")
    panel.set_ylim(0, 102)
    panel.legend(loc="lower right")
    return figure


def size_bars(sizes: pd.DataFrame) -> Figure:
    """File sizes in MB; ``sizes``: columns label and bytes, in the order to draw."""
    figure, (panel,) = canvas(0.8 + 0.42 * len(sizes))
    megabytes = sizes["bytes"].to_numpy()[::-1] / 1e6
    bars = panel.barh(range(len(sizes)), megabytes, color=COLOURS["base_rag"], height=0.6)
    panel.bar_label(bars, [f"{mb:,.1f}" for mb in megabytes], padding=4)
    panel.set_yticks(range(len(sizes)), list(sizes["label"])[::-1], color=INK)
    panel.set_xlim(0, 1.15 * megabytes.max())
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("file size, MB")
    return figure
