"""Recall by number of wordings: counted from the training data, a curve only where it varies."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cutoff.evaluate.diagnostics import diagnostic_figures, exposure
from cutoff.report import figures

Record = dict[str, Any]


def world(
    wordings: tuple[int, ...], gain: float, per_count: int = 60
) -> tuple[pd.DataFrame, list[Record], list[Record]]:
    """Trained facts told in these numbers of wordings, and facts that were never told."""
    rng = np.random.default_rng(2)
    rows, questions, examples = [], [], []
    for told in (0, *wordings):
        stratum = "seen" if told else "unseen_fact"
        for i in range(per_count):
            name = f"{told}-{i}"
            questions.append({"question_id": f"q{name}", "fact_id": f"f{name}"})
            for variant in ("instruct_ft", "rag_ft"):
                examples += [{"variant": variant, "fact_id": f"f{name}"}] * told
            for condition in ("base", "instruct_ft", "instruct_ft_rag", "rag_ft"):
                # RAG-style training recalls nothing, whatever it was told
                rate = 0.2 + gain * told if condition == "instruct_ft" and told else 0.2
                passed = bool(rng.random() < rate)
                rows.append((f"q{name}", f"p{i // 2}", stratum, condition, passed))
    names = ["question_id", "paper_id", "stratum", "condition", "passed"]
    frame = pd.DataFrame(rows, columns=names).astype({"passed": "boolean"})
    return frame, questions, examples


def test_exposure_is_what_the_variant_was_told_and_zero_for_other_facts() -> None:
    verdicts, questions, examples = world((1, 3), 0.2)
    examples = [e for e in examples if (e["variant"], e["fact_id"]) != ("rag_ft", "f3-0")]
    found = exposure.answers(verdicts, questions, examples)
    assert set(found["condition"]) == {"instruct_ft", "rag_ft"}
    told = found.set_index(["question_id", "condition"])["wordings"]
    assert told["q3-0", "instruct_ft"] == 3
    assert told["q3-0", "rag_ft"] == 0
    assert told["q1-5", "rag_ft"] == 1
    assert told["q0-5", "instruct_ft"] == 0


def test_recall_is_counted_by_training_and_number_of_wordings() -> None:
    verdicts, questions, examples = world((1, 3), 0.2)
    shares = exposure.table(exposure.answers(verdicts, questions, examples))
    assert list(shares["wordings"]) == [0, 1, 3] * 2
    assert list(shares["condition"]) == ["instruct_ft"] * 3 + ["rag_ft"] * 3
    assert (shares["n"] == 60).all()
    part = verdicts[verdicts["condition"].eq("instruct_ft")]
    three = part[part["question_id"].str.startswith("q3-")]["passed"]
    assert shares.loc[2, "pass_rate"] == pytest.approx(three.astype(float).mean())


def test_one_number_of_wordings_is_no_curve() -> None:
    found = exposure.answers(*world((3,), 0.2))
    assert not exposure.varies(found)
    text = exposure.reading(found, 200)
    assert "not measured: every trained fact was told in 3." in text
    assert "established" not in text and "better" not in text
    assert exposure.varies(exposure.answers(*world((2, 3), 0.2)))


def test_recall_without_any_variation_is_not_told() -> None:
    verdicts, questions, examples = world((1, 2), 0.0)
    verdicts["passed"] = verdicts["condition"].eq("instruct_ft").astype("boolean")
    text = exposure.reading(exposure.answers(verdicts, questions, examples), 200)
    assert "QA-tuned too little varies to tell" in text


def test_where_no_trained_fact_is_asked_about_it_is_said() -> None:
    verdicts, questions, _ = world((3,), 0.2)
    nothing = exposure.answers(verdicts, questions, [])
    assert exposure.reading(nothing) == exposure.MISSING


def test_the_curve_does_not_lead_to_facts_that_were_never_told() -> None:
    shares = exposure.table(exposure.answers(*world((1, 2, 4), 0.1)))
    figure = diagnostic_figures.recall(shares)
    (panel,) = figure.axes
    curves = [line for line in panel.lines if line.get_linestyle() != "None"]
    assert [len(line.get_xdata()) for line in curves] == [3, 3]
    alone = [line for line in panel.lines if line.get_linestyle() == "None"]
    assert [abs(line.get_xdata()[0]) < 0.1 for line in alone] == [True, True]
    assert figures.png(figure).startswith(b"\x89PNG")
