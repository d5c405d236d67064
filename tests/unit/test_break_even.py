"""Break-even follows its formula and is never where nothing is saved."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cutoff import params
from cutoff.evaluate.diagnostics import break_even, diagnostic_figures
from cutoff.report import figures
from cutoff.run import folders

TRAINING = {
    "n_examples": 100,
    "mean_tokens": 50.0,
    "settings": {"epochs": 2},
    "training_flops": 4.0e12,
    "train_seconds": 120.0,
    "base_parameters": 1_000_000,
}


def answers(rag_tokens: int = 200, scatter: int = 0, questions: int = 40) -> pd.DataFrame:
    """Closed book a prompt has about 40 tokens, with retrieval ``rag_tokens``, by paper up to
    ``scatter`` more or fewer."""
    rows = [
        {
            "condition": condition,
            "question_id": f"q{i}",
            "paper_id": f"p{i // 2}",
            "prompt_tokens": i % 5
            + (rag_tokens + (scatter if i // 2 % 2 else -scatter) if rag else 40),
            "completion_tokens": 10,
            "latency_seconds": 0.8 if rag else 0.2,
        }
        for condition, rag in (("base_rag", True), ("instruct_ft", False), ("rag_ft", False))
        for i in range(questions)
    ]
    return pd.DataFrame(rows)


def tokens(given: pd.DataFrame) -> pd.Series:
    costs = break_even.table({"instruct_ft": TRAINING}, given, parallel=4, replicates=300)
    return costs.set_index("unit").loc["tokens"]


def test_questions_are_the_cost_of_training_over_the_saving_of_one_question() -> None:
    costs = break_even.table({"instruct_ft": TRAINING}, answers(), 4, 300)
    rows = costs.set_index("unit")
    assert list(rows["condition"]) == ["instruct_ft"] * 3
    assert rows.loc["tokens", "questions"] == pytest.approx(100 * 50 * 2 / 160)
    assert rows.loc["GFLOP", "questions"] == pytest.approx(4000 / (160 * 2e6 / 1e9))
    assert rows.loc["seconds", "questions"] == pytest.approx(120 / (0.6 / 4))
    assert rows.loc["tokens", "retrieval"] == pytest.approx(212)
    assert "QA-tuned after 62 (" in break_even.reading(costs)


def test_the_interval_is_that_of_the_saving_turned_round() -> None:
    row = tokens(answers(scatter=9))
    assert row["ci_low"] < row["saved"] < row["ci_high"]
    assert row["questions_low"] == pytest.approx(row["training"] / row["ci_high"])
    assert row["questions_high"] == pytest.approx(row["training"] / row["ci_low"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (answers(rag_tokens=30, scatter=1), "never"),
        (answers(rag_tokens=41, scatter=30), "to any number"),
        (answers(rag_tokens=39, scatter=30), "no number that can be told"),
        (answers(questions=2), "62 (no interval)"),  # one paper
    ],
)
def test_what_may_be_no_saving_has_no_upper_end(given: pd.DataFrame, said: str) -> None:
    row = tokens(given)
    assert said in row["repaid_after"]
    assert pd.isna(row["questions_high"]) and pd.isna(row["questions"]) == (row["saved"] <= 0)


def test_without_training_json_it_says_what_is_missing(tmp_path: Path) -> None:
    stage = folders.locate("04_evaluate", params.load("tiny", {"output_dir": str(tmp_path)}))
    costs = break_even.table(break_even.trainings(stage), answers(), 4)
    assert costs.empty and break_even.reading(costs) == break_even.MISSING
    folder = stage.folder / "adapters" / "rag_ft"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps(TRAINING))
    assert break_even.trainings(stage) == {"rag_ft": TRAINING}


def test_the_lines_of_the_figure_cross_at_the_break_even() -> None:
    trained: dict[str, Any] = {"instruct_ft": TRAINING, "rag_ft": TRAINING}
    costs = break_even.table(trained, answers(scatter=5), 4, 300)
    figure = diagnostic_figures.spending(costs)
    (panel,) = figure.axes
    retrieval, trained_line = panel.lines[:2]
    share = costs["questions"].iloc[0] / retrieval.get_xdata()[1]
    heights = [
        line.get_ydata()[0] + (line.get_ydata()[1] - line.get_ydata()[0]) * share
        for line in (retrieval, trained_line)
    ]
    assert heights[0] == pytest.approx(heights[1])
    assert figures.png(figure).startswith(b"\x89PNG")
