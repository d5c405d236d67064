"""After how many questions a training has repaid what retrieval costs at every one of them.

    questions = training / (per question with retrieval - per question closed book)

``training`` is paid once, the prompt's passages at every question. Three units: tokens that
pass through the model (a token trained on counts like a token read), floating-point operations
(2 per weight and token for answering, Kaplan et al. 2020, section 2.1), and seconds of the machine,
which a question keeps busy for its latency / ``parallel`` (Little's law). Not counted: making the
training data, building and searching the index. Intervals cover the choice of papers only.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cutoff import bootstrap, files
from cutoff.experiment import CONDITIONS, VARIANTS
from cutoff.report.wording import label
from cutoff.run import folders

RETRIEVAL = "base_rag"
CLOSED_BOOK = {c.model: name for name, c in CONDITIONS.items() if c.context == "none"}
MISSING = (
    "**After how many questions training repays retrieval is not measured:** the adapters "
    "have no `training.json` of `02_finetune`."
)


def trainings(stage: folders.Run) -> dict[str, dict[str, Any]]:
    """Variant -> what its training of the first seed took (``training.json``), where known."""
    paths = {name: stage.folder / "adapters" / name / "training.json" for name in VARIANTS}
    return {name: files.read_json(path) for name, path in paths.items() if path.is_file()}


def table(
    trained: Mapping[str, Mapping[str, Any]],
    answers: pd.DataFrame,
    parallel: int,
    replicates: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """A row per training and unit; empty where nothing was trained.

    ``trained`` is what ``trainings`` returns, ``answers`` has a row per condition and question.
    Columns: condition (the closed-book one), unit, training (cost, once), closed_book and
    retrieval (cost per question), n, saved (per question), ci_low, ci_high (95 % of ``saved``,
    papers resampled), questions (break-even), questions_low, questions_high, and repaid_after,
    the last three in words. ``questions`` is missing where nothing is saved, and
    ``questions_high`` where the interval of ``saved`` reaches down to nothing.
    """
    rows = []
    for variant, training in trained.items():
        once = {
            "tokens": training["n_examples"] * training["mean_tokens"]
            * training["settings"]["epochs"],
            "GFLOP": training["training_flops"] / 1e9,
            "seconds": training["train_seconds"],
        }  # fmt: skip
        name, giga = CLOSED_BOOK[variant], 2 * training["base_parameters"] / 1e9
        closed_book, retrieval = (_costs(answers, n, giga, parallel) for n in (name, RETRIEVAL))
        saved = retrieval - closed_book
        papers = saved.index.get_level_values("paper_id").to_numpy()
        found = bootstrap.means(saved.to_numpy(float), papers, replicates, seed)
        for i, unit in enumerate(once):
            ends = found.estimate[i], found.low[i], found.high[i]
            row = {"condition": name, "unit": unit, "training": once[unit]}
            row |= {"closed_book": closed_book[unit].mean(), "retrieval": retrieval[unit].mean()}
            row |= {"n": len(saved)} | dict(zip(("saved", "ci_low", "ci_high"), ends, strict=True))
            least, most = (once[unit] / end if end > 0 else np.nan for end in (ends[2], ends[1]))
            middle = once[unit] / ends[0] if ends[0] > 0 else np.nan
            row |= {"questions": middle, "questions_low": least, "questions_high": most}
            rows.append(row | {"repaid_after": _repaid(row)})
    return pd.DataFrame(rows)


def reading(costs: pd.DataFrame) -> str:
    """After how many questions the trainings are repaid."""
    if costs.empty:
        return MISSING
    parts = []
    for condition, rows in costs.groupby("condition", sort=False):
        counted = [f"{row.repaid_after} counted in {row.unit}" for row in rows.itertuples()]
        parts.append(f"{label(condition)} after {', '.join(counted)}")
    return f"**The training is repaid, in questions (95\u00a0% interval): {'; '.join(parts)}.**"


def _costs(answers: pd.DataFrame, condition: str, giga: float, parallel: int) -> pd.DataFrame:
    """What every question costs under ``condition``: paper_id and question_id x units."""
    own = answers[answers["condition"] == condition].set_index(["paper_id", "question_id"])
    tokens = own["prompt_tokens"] + own["completion_tokens"]
    seconds = own["latency_seconds"] / parallel
    return pd.DataFrame({"tokens": tokens, "GFLOP": tokens * giga, "seconds": seconds})


def _repaid(row: Mapping[str, Any]) -> str:
    """Break-even and its interval, or that there is none."""
    if np.isnan(row["questions"]):
        return "no number that can be told" if row["ci_high"] > 0 else "never"
    if np.isnan(row["ci_low"]):
        return f"{row['questions']:,.0f} (no interval)"
    end = "any number" if np.isnan(row["questions_high"]) else f"{row['questions_high']:,.0f}"
    return f"{row['questions']:,.0f} ({row['questions_low']:,.0f} to {end})"
