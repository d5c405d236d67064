"""After how many questions a training has repaid what retrieval costs at every one of them.

    questions = training / (per question with retrieval - per question closed book)

``training`` is paid once, the prompt's passages at every question. Three units: tokens that
pass through the model (a token trained on counts like a token read), floating-point
operations (those of ``training.json``; 2 per weight and token for answering, Kaplan et al.
2020, section 2.1), and seconds of the machine. With ``parallel`` requests in flight a question
keeps the machine busy for its latency / ``parallel`` (Little's law).

Not counted: making the training data, building and searching the index. Intervals cover the
choice of papers, not the speed of the machines, which may differ between training and
answering. Cost alone decides nothing: what a closed-book answer is worth, the pass rates say.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cutoff import bootstrap, files
from cutoff.experiment import CONDITIONS, VARIANTS
from cutoff.report.figures import COLOURS, INK, QUIET, canvas
from cutoff.report.wording import label, percent
from cutoff.run import folders

Record = dict[str, Any]

RETRIEVAL = "base_rag"
UNITS = ("tokens", "GFLOP", "seconds")
MISSING = (
    "**After how many questions training repays retrieval is not measured:** the adapters "
    "have no `training.json` of `02_finetune`."
)


def trainings(stage: folders.Run) -> dict[str, Record]:
    """Variant -> what its training of the first seed took (``training.json``), where known."""
    paths = {name: stage.folder / "adapters" / name / "training.json" for name in VARIANTS}
    return {name: files.read_json(path) for name, path in paths.items() if path.is_file()}


def table(
    trained: Mapping[str, Record],
    questions: Sequence[Record],
    responses: Sequence[Record],
    parallel: int,
    replicates: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """A row per training and unit; empty where nothing was trained.

    ``trained`` is what ``trainings`` returns. Columns: condition (the closed-book one), unit,
    training (cost, once), closed_book and retrieval (cost per question), n, saved (per
    question), ci_low, ci_high (95 % of ``saved``, papers resampled), questions (break-even),
    questions_low, questions_high. ``questions`` is missing where nothing is saved, and
    ``questions_high`` where the interval of ``saved`` reaches down to nothing.
    """
    costs = pd.DataFrame(responses).set_index(["condition", "question_id"])
    tokens = costs["prompt_tokens"] + costs["completion_tokens"]
    names = [question["question_id"] for question in questions]
    papers = np.array([question["paper_id"] for question in questions])
    rows = []
    for variant, training in trained.items():
        closed = next(
            name for name, c in CONDITIONS.items() if c.model == variant and c.context == "none"
        )
        giga = 2 * training["base_parameters"] / 1e9
        epochs = training["settings"]["epochs"]
        once = {
            "tokens": training["n_examples"] * training["mean_tokens"] * epochs,
            "GFLOP": training["training_flops"] / 1e9,
            "seconds": training["train_seconds"],
        }
        each = {
            "tokens": tokens,
            "GFLOP": tokens * giga,
            "seconds": costs["latency_seconds"] / parallel,
        }
        for unit in UNITS:
            without = each[unit][closed].loc[names].to_numpy(dtype=float)
            with_passages = each[unit][RETRIEVAL].loc[names].to_numpy(dtype=float)
            saved = with_passages - without
            # the fallback for clusters without any spread is one for proportions
            scale = np.abs(saved).max() or 1.0
            _, low, high, _ = bootstrap.means(saved[:, None] / scale, papers, replicates, seed)
            mean, low_end, high_end = saved.mean(), low[0] * scale, high[0] * scale
            rows.append(
                {
                    "condition": closed,
                    "unit": unit,
                    "training": once[unit],
                    "closed_book": without.mean(),
                    "retrieval": with_passages.mean(),
                    "n": len(names),
                    "saved": mean,
                    "ci_low": low_end,
                    "ci_high": high_end,
                    "questions": once[unit] / mean if mean > 0 else np.nan,
                    "questions_low": once[unit] / high_end if high_end > 0 else np.nan,
                    "questions_high": once[unit] / low_end if low_end > 0 else np.nan,
                }
            )
    columns = (
        "condition unit training closed_book retrieval n saved ci_low ci_high questions "
        "questions_low questions_high"
    ).split()
    return pd.DataFrame(rows, columns=columns)


def written(costs: pd.DataFrame) -> pd.DataFrame:
    """``table`` for reading."""
    rows = costs.to_dict("records")
    return pd.DataFrame(
        {
            "condition": costs["condition"],
            "unit": costs["unit"],
            "training, once": [_number(row["training"]) for row in rows],
            "a question with retrieval": [_number(row["retrieval"]) for row in rows],
            "a question closed book": [_number(row["closed_book"]) for row in rows],
            "repaid after questions (95 % interval)": [_repaid(row) for row in rows],
        }
    )


def reading(costs: pd.DataFrame, rates: pd.DataFrame) -> str:
    """After how many questions, and what the cheaper answers are worth (``pass_rates``)."""
    if costs.empty:
        return MISSING
    known = rates.set_index(["stratum", "condition"])["pass_rate"]
    sentences = []
    for condition, rows in costs.groupby("condition", sort=False):
        by = {row["unit"]: row for row in rows.to_dict("records")}
        parts = ", ".join(f"{_repaid(by[unit])} counted in {unit}" for unit in UNITS)
        text = f"the training of {label(condition)} is repaid after: {parts}"
        worth = [
            f"{percent(known[stratum, condition])} against {percent(known[stratum, RETRIEVAL])} "
            f"on {label(stratum).lower()}"
            for stratum in ("seen", "unseen_fact", "unseen_paper")
            if (stratum, condition) in known
        ]
        if worth:
            text += f"; closed book it passes {', '.join(worth)}"
        sentences.append(text)
    joined = ". ".join(text[0].upper() + text[1:] for text in sentences)
    return (
        f"**Counted in questions (95\u00a0% interval), against retrieval with the untouched "
        f"model:** {joined}. Only a question that the trained model answers as well saves "
        "anything; a trained model that still retrieves saves nothing. Making the training data "
        "and searching the index are not counted."
    )


def picture(costs: pd.DataFrame) -> Figure:
    """Tokens spent by number of questions: retrieval from the start, or training first."""
    rows = costs[costs["unit"] == "tokens"].to_dict("records")
    reached = [row["questions"] for row in rows if not np.isnan(row["questions"])]
    last = 1.4 * max(reached, default=1000.0)
    figure, (panel,) = canvas(4.0)
    x = np.array([0.0, last])
    panel.plot(x, rows[0]["retrieval"] * x, "-", color=COLOURS[RETRIEVAL], lw=2.5,
               label=f"{label(RETRIEVAL)}, no training")  # fmt: skip
    for row, style in zip(rows, ("--", "-."), strict=False):
        colour = COLOURS.get(f"{row['condition']}_rag", INK)
        panel.plot(x, row["training"] + row["closed_book"] * x, style, color=colour, lw=2.5,
                   label=f"{label(row['condition'])}, closed book")  # fmt: skip
        if np.isnan(row["questions"]):
            continue
        height = row["retrieval"] * row["questions"]
        ends = [row["questions_low"], row["questions_high"]]
        ends[1] = last if np.isnan(ends[1]) else min(ends[1], last)
        panel.plot(ends, [height, height], color=colour, lw=5, alpha=0.4)
        panel.plot(row["questions"], height, "o", color=colour, ms=8)
        panel.annotate(f"{row['questions']:,.0f} questions", (row["questions"], height),
                       (9, -14), textcoords="offset points", color=INK)  # fmt: skip
    panel.set_xlim(0, last)
    panel.set_ylim(bottom=0)
    panel.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    panel.yaxis.get_offset_text().set_color(QUIET)
    panel.set_xlabel(f"questions asked (cost of one: n = {rows[0]['n']:,})")
    panel.set_ylabel("tokens, training included")
    panel.legend(loc="upper left")
    return figure


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _repaid(row: Record) -> str:
    """Break-even and its interval, or that there is none."""
    if np.isnan(row["questions"]):
        return "no number that can be told" if row["ci_high"] > 0 else "never"
    if np.isnan(row["ci_low"]):
        return f"{row['questions']:,.0f} (no interval)"
    end = "any number" if np.isnan(row["questions_high"]) else f"{row['questions_high']:,.0f}"
    return f"{row['questions']:,.0f} ({row['questions_low']:,.0f} to {end})"
