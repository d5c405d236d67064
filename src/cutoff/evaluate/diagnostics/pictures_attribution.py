"""Figures of what became of answers with retrieval."""

import pandas as pd
from matplotlib.figure import Figure

from cutoff import bootstrap
from cutoff.evaluate.diagnostics.attribution import KINDS, NAMES, RIGHT, table
from cutoff.report.figures import INK, canvas
from cutoff.report.wording import label

# Right answers are blue, wrong ones orange to brown: where evidence was absent, hatched.
FILL = {
    "recovered": ("#0b5394", ""),
    "kept": ("#79b4e3", ""),
    "held": ("#79b4e3", "///"),
    "lucky": ("#cfe2f3", "///"),
    "missed": ("#f8d3ad", "///"),
    "ignored": ("#f2a65a", ""),
    "misread": ("#d9822b", ""),
    "destroyed": ("#8a3f08", ""),
    "distracted": ("#b3560f", "///"),
    "no_verdict": ("#ffffff", "..."),
}
SMALLEST_NUMBER = 0.06  # share of a bar that has room for its number


def outcomes(of_answers: pd.DataFrame) -> Figure:
    """Every answer with retrieval in one of the kinds: a stacked bar per condition.

    ``of_answers`` is what ``attribution.kinds`` returns; new papers above, control papers
    below where there are any. Right answers stand left; the line at their end is the 95 %
    interval of their share. Hatched: the evidence was not among the passages.
    """
    shares = table(of_answers)
    strata = [name for name in ("all_post", "control") if name in set(shares["stratum"])]
    n_bars = shares["condition"].nunique()
    shown = [kind for kind in KINDS if shares.loc[shares["kind"] == kind, "answers"].any()]
    height = 0.9 + len(strata) * (0.45 + 0.5 * n_bars) + 0.24 * len(shown)
    figure, panels = canvas(height, len(strata))
    for panel, stratum in zip(panels, strata, strict=True):
        rows = shares[shares["stratum"] == stratum]
        conditions = list(dict.fromkeys(rows["condition"]))
        for y, condition in enumerate(reversed(conditions)):
            bar = rows[rows["condition"] == condition].set_index("kind")
            left = 0.0
            for kind in shown:
                share = bar.loc[kind, "share"]
                colour, hatch = FILL[kind]
                panel.barh(
                    y, share, left=left, height=0.62, color=colour, hatch=hatch,
                    edgecolor="white", lw=0.6, label=NAMES[kind] if y == 0 else None,
                )  # fmt: skip
                if share >= SMALLEST_NUMBER:
                    dark = kind in ("recovered", "destroyed", "distracted")
                    panel.text(
                        left + share / 2, y, f"{100 * share:.0f}", ha="center", va="center",
                        fontsize=10, color="white" if dark else INK,
                        bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8},
                    )  # fmt: skip
                left += share
            answers = of_answers[of_answers["condition"] == condition]
            if stratum == "control":
                answers = answers[answers["stratum"] == "control"]
            else:
                answers = answers[answers["stratum"] != "control"]
            right = bootstrap.share(
                answers["kind"].isin(RIGHT).to_numpy(dtype=float), answers["paper_id"].to_numpy()
            )
            panel.plot([right["ci_low"], right["ci_high"]], [y - 0.38] * 2, color=INK, lw=2)
            panel.plot(right["share"], y - 0.38, "o", color=INK, ms=4, clip_on=False)
        n = rows["n"].max()
        panel.set_yticks(range(len(conditions)), [label(c) for c in conditions[::-1]], color=INK)
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
        panel.set_title(f"{label(stratum)} (n = {n:,})")
    panels[-1].set_xlim(0, 1)
    panels[-1].set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
    panels[-1].set_xlabel("answers, % (line: right ones, 95 % interval)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", fontsize=9.5)
    return figure
