"""Break-even follows its formula, is never where nothing is saved, and is read with its worth."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cutoff import params
from cutoff.evaluate.diagnostics import break_even
from cutoff.experiment import CONDITIONS
from cutoff.report import figures
from cutoff.run import folders

Record = dict[str, Any]

TRAINING = {
    "n_examples": 100,
    "mean_tokens": 50.0,
    "settings": {"epochs": 2},
    "training_flops": 4.0e12,
    "train_seconds": 120.0,
    "base_parameters": 1_000_000,
}
QUESTIONS = [{"question_id": f"q{i}", "paper_id": f"p{i // 2}"} for i in range(40)]


def responses(rag_tokens: int = 200, closed_tokens: int = 40) -> list[Record]:
    rows = []
    for condition, c in CONDITIONS.items():
        for i, question in enumerate(QUESTIONS):
            rag = c.context == "retrieved"
            rows.append(
                {
                    "condition": condition,
                    "question_id": question["question_id"],
                    "prompt_tokens": (rag_tokens if rag else closed_tokens) + i % 5,
                    "completion_tokens": 10,
                    "latency_seconds": 0.8 if rag else 0.2,
                }
            )
    return rows


def table(answers: list[Record], trained: dict[str, Record] | None = None) -> pd.DataFrame:
    trained = {"instruct_ft": TRAINING} if trained is None else trained
    return break_even.table(trained, QUESTIONS, answers, parallel=4, replicates=300)


def test_questions_are_the_cost_of_training_over_the_saving_of_one_question() -> None:
    rows = table(responses()).set_index("unit")
    assert list(rows["condition"]) == ["instruct_ft"] * 3
    assert rows.loc["tokens", "questions"] == pytest.approx(100 * 50 * 2 / 160)
    assert rows.loc["GFLOP", "questions"] == pytest.approx(4000 / (160 * 2e6 / 1e9))
    assert rows.loc["seconds", "questions"] == pytest.approx(120 / (0.6 / 4))
    assert rows.loc["tokens", "retrieval"] == pytest.approx(212)


def test_the_interval_is_that_of_the_saving_turned_round() -> None:
    answers = responses()
    for i, answer in enumerate(answers):
        if answer["condition"] == "base_rag":
            answer["prompt_tokens"] += 7 * (i % 9)
    row = table(answers).set_index("unit").loc["tokens"]
    assert row["ci_low"] < row["saved"] < row["ci_high"]
    assert row["questions_low"] == pytest.approx(row["training"] / row["ci_high"])
    assert row["questions_high"] == pytest.approx(row["training"] / row["ci_low"])


def test_where_nothing_is_saved_training_never_repays() -> None:
    costs = table(responses(rag_tokens=30, closed_tokens=40))
    row = costs.set_index("unit").loc["tokens"]
    assert row["saved"] < 0 and pd.isna(row["questions"]) and pd.isna(row["questions_high"])
    assert break_even.written(costs).iloc[0, -1] == "never"


def test_a_saving_that_may_be_none_has_no_upper_end() -> None:
    answers = responses(rag_tokens=41, closed_tokens=40)
    for i, answer in enumerate(answers):
        if answer["condition"] == "base_rag":
            answer["prompt_tokens"] += 30 if i // 2 % 2 else -30
    row = table(answers).set_index("unit").loc["tokens"]
    assert row["saved"] > 0 and pd.isna(row["questions_high"]) and row["questions_low"] > 0
    assert "to any number" in break_even.written(table(answers)).iloc[0, -1]


def test_a_loss_that_may_be_none_is_not_called_never() -> None:
    answers = responses(rag_tokens=39, closed_tokens=40)
    for i, answer in enumerate(answers):
        if answer["condition"] == "base_rag":
            answer["prompt_tokens"] += 30 if i // 2 % 2 else -30
    assert break_even.written(table(answers)).iloc[0, -1] == "no number that can be told"


def test_one_paper_gives_a_number_without_an_interval() -> None:
    costs = break_even.table({"rag_ft": TRAINING}, QUESTIONS[:2], responses(), 4, 100)
    assert break_even.written(costs).iloc[0, -1] == "62 (no interval)"


def test_the_reading_puts_the_pass_rates_beside_the_saving() -> None:
    rates = pd.DataFrame(
        [
            ("seen", "instruct_ft", 0.9),
            ("seen", "base_rag", 0.8),
            ("unseen_paper", "instruct_ft", 0.1),
            ("unseen_paper", "base_rag", 0.7),
        ],
        columns=["stratum", "condition", "pass_rate"],
    )
    text = break_even.reading(table(responses()), rates)
    assert "QA-tuned is repaid after: 62 (" in text
    assert "90.0\u00a0% against 80.0\u00a0% on trained facts" in text
    assert "10.0\u00a0% against 70.0\u00a0% on papers not trained on" in text


def test_without_training_json_it_says_what_is_missing(tmp_path: Path) -> None:
    p = params.load("tiny", {"output_dir": str(tmp_path)})
    stage = folders.locate("04_evaluate", p)
    assert break_even.trainings(stage) == {}
    costs = table(responses(), {})
    assert costs.empty
    assert break_even.reading(costs, pd.DataFrame()) == break_even.MISSING
    folder = stage.folder / "adapters" / "rag_ft"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps(TRAINING))
    assert break_even.trainings(stage) == {"rag_ft": TRAINING}


def test_the_lines_of_the_figure_cross_at_the_break_even() -> None:
    costs = table(responses())
    (panel,) = break_even.picture(costs).axes
    retrieval, trained = (line for line in panel.lines[:2])
    n = costs["questions"].iloc[0]
    last = retrieval.get_xdata()[1]
    heights = [
        line.get_ydata()[0] + (line.get_ydata()[1] - line.get_ydata()[0]) * n / last
        for line in (retrieval, trained)
    ]
    assert heights[0] == pytest.approx(heights[1])
    assert figures.png(break_even.picture(costs)).startswith(b"\x89PNG")
