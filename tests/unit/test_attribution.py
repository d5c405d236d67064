"""Every answer with retrieval gets exactly one name, and the names mean what they say."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cutoff.evaluate.diagnostics import attribution, diagnostic_figures
from cutoff.evaluate.stats import effect_table
from cutoff.experiment import CONDITIONS, RAG_CONDITIONS
from cutoff.report import figures

PASSAGES = ["The optimizer of Blue Lake is Hopper.", "The optimizer of Red Lake is Bishop."]
STRATA = ("seen", "unseen_fact", "unseen_paper", "control")
ASKED = {"question": "What is the optimizer of Blue Lake?", "context": PASSAGES}


def answer(condition: str, passed: bool | None, hit: bool, text: str = "") -> dict[str, Any]:
    verdict = {True: "correct", False: "incorrect", None: "judge_failed"}[passed]
    row = {"question_id": "q", "paper_id": "p", "stratum": "seen", **ASKED}
    row |= {"condition": condition, "response": text, "verdict": verdict, "passed": passed}
    return row | {"retrieval_hit": hit if condition.endswith("_rag") else None}


def frame_of_answers(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows).astype({"passed": "boolean", "retrieval_hit": "boolean"})


def kind_of(
    hit: bool,
    known: bool | None,
    right: bool | None,
    text: str = "The optimizer of Blue Lake is Bishop. [2]",
    closed_book: str = "The optimizer of Blue Lake is Kepler.",
    verdict: str | None = None,
) -> str:
    """Kind of one answer of base_rag; the other models answer nothing right."""
    rows = [answer(name, False, hit) for name, c in CONDITIONS.items() if c.model != "base"]
    own = answer("base_rag", right, hit, text)
    own["verdict"] = verdict or own["verdict"]
    found = attribution.kinds(
        frame_of_answers([answer("base", known, hit, closed_book), own, *rows])
    )
    return str(found.set_index("condition").loc["base_rag", "kind"])


@pytest.mark.parametrize(
    "hit, known, right, kind",
    [
        (True, False, True, "recovered"),
        (True, True, True, "kept"),
        (False, True, True, "held"),
        (False, False, True, "lucky"),
        (False, False, False, "missed"),
        (True, False, False, "misread"),
        (True, True, False, "destroyed"),
        (False, True, False, "distracted"),
    ],
)
def test_evidence_knowledge_and_verdict_decide_the_kind(
    hit: bool, known: bool, right: bool, kind: str
) -> None:
    assert kind_of(hit, known, right) == kind


def test_a_missing_verdict_of_either_answer_is_no_verdict() -> None:
    for hit, other in product((True, False), repeat=2):
        assert kind_of(hit, None, other) == "no_verdict"
        assert kind_of(hit, other, None) == "no_verdict"


@pytest.mark.parametrize(
    "text, kind",
    [
        ("The optimizer of Blue Lake is Bishop. [2]", "misread"),
        ("Bishop", "misread"),
        ("The optimizer of Blue Lake is Kepler. [1]", "ignored"),  # as without passages
        ("The optimizer of Blue Lake is Glide.", "ignored"),  # from neither
        ("It is Glide or Turbo, perhaps Bishop.", "ignored"),  # one new word of four
        ("", "ignored"),
    ],
)
def test_a_wrong_answer_misread_what_it_took_from_the_passages(text: str, kind: str) -> None:
    assert kind_of(True, False, False, text) == kind


def test_what_was_said_without_passages_too_is_not_taken_from_them() -> None:
    same = "The optimizer of Blue Lake is Bishop."
    assert kind_of(True, False, False, same + " [2]", closed_book=same) == "ignored"


def test_an_answer_that_declines_ignored_the_evidence_whatever_it_quotes() -> None:
    assert kind_of(True, False, False, "Bishop?", verdict="not_attempted") == "ignored"
    assert kind_of(True, False, False, "Bishop?") == "misread"


@pytest.fixture(scope="module")
def run() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(240):
        hit = bool(rng.random() < 0.7)
        for condition in CONDITIONS:
            passed = [True, False, None][rng.choice(3, p=[0.45, 0.5, 0.05])]
            text = str(rng.choice(["Bishop", "Kepler", "", "I do not know Bishop"]))
            row = answer(condition, passed, hit, text) | {"stratum": STRATA[i % 4]}
            rows.append(row | {"question_id": f"q{i}", "paper_id": f"p{i % 4}-{i // 12}"})
    return frame_of_answers(rows)


def test_the_kinds_are_a_partition_that_agrees_with_the_verdicts(run: pd.DataFrame) -> None:
    found = attribution.kinds(run)
    assert len(found) == 240 * 3
    assert set(found["kind"]) == set(attribution.KINDS)
    names = ["question_id", "condition", "passed", "retrieval_hit"]
    placed = found[found["kind"] != "no_verdict"].merge(run[names])
    assert placed["kind"].isin(attribution.RIGHT).eq(placed["passed"].astype(bool)).all()
    there = ("recovered", "kept", "ignored", "misread", "destroyed")
    assert placed["kind"].isin(there).eq(placed["retrieval_hit"].astype(bool)).all()
    twins = run.set_index(["question_id", "condition"])["passed"]
    known = [twins[r.question_id, CONDITIONS[r.condition].model] for r in placed.itertuples()]
    expected = placed["kind"].isin(["kept", "held", "destroyed", "distracted"])
    assert list(expected) == known


def test_answers_and_shares_of_a_condition_add_up_in_every_stratum(run: pd.DataFrame) -> None:
    shares = attribution.table(attribution.kinds(run))
    assert set(shares["stratum"]) == {"all_post", *STRATA}
    for (stratum, _), part in shares.groupby(["stratum", "condition"]):
        assert part["answers"].sum() == part["n"].iloc[0] == (180 if stratum == "all_post" else 60)
        assert part["share"].sum() == pytest.approx(1)
        assert (part["ci_low"] <= part["share"]).all() and (part["share"] <= part["ci_high"]).all()


def frame_of(counts: dict[str, int], stratum: str = "seen") -> pd.DataFrame:
    """Answers of the given kinds, one paper each, the same for the three conditions."""
    names = [kind for kind, n in counts.items() for _ in range(n)]
    rows = [
        (f"q{i}", f"p{i}", stratum, condition, kind)
        for condition in RAG_CONDITIONS
        for i, kind in enumerate(names)
    ]
    return pd.DataFrame(rows, columns="question_id paper_id stratum condition kind".split())


def test_the_reading_counts_known_answers_that_passages_cost() -> None:
    control = frame_of({"kept": 30, "destroyed": 10}, "control")
    text = attribution.reading(pd.concat([frame_of({"recovered": 5, "no_verdict": 1}), control]))
    assert "Base + RAG 10 of 40" in text
    assert "not measured" in attribution.reading(control)


def test_the_figure_shows_every_kind_that_occurs_and_the_rate_of_the_verdicts(
    run: pd.DataFrame,
) -> None:
    judged = run.assign(passed=run["passed"].fillna(False))
    figure = diagnostic_figures.outcomes(attribution.kinds(judged))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [attribution.NAMES[k] for k in attribution.KINDS if k != "no_verdict"]
    upper = figure.axes[0]
    assert "n = 180" in upper.get_title(loc="left") + upper.get_title()
    rates = effect_table.pass_rates(judged).set_index(["stratum", "condition"])["pass_rate"]
    drawn = [line.get_xdata()[0] for line in upper.lines if line.get_marker() == "o"]
    assert drawn == pytest.approx([100 * rates["all_post", c] for c in RAG_CONDITIONS])
    assert figures.png(figure).startswith(b"\x89PNG")
