"""Every answer with retrieval gets exactly one name, and the names mean what they say."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cutoff.errors import CutoffError
from cutoff.evaluate.diagnostics import attribution, pictures_attribution
from cutoff.evaluate.stats import effect_table
from cutoff.experiment import CONDITIONS, RAG_CONDITIONS
from cutoff.report import figures

Record = dict[str, Any]

PASSAGES = ["The optimizer of Blue Lake is Hopper.", "The optimizer of Red Lake is Bishop."]
STRATA = ("seen", "unseen_fact", "unseen_paper", "control")


def question(name: str, stratum: str = "seen", paper: str = "p1") -> Record:
    return {
        "question_id": name,
        "paper_id": paper,
        "stratum": stratum,
        "question": "What is the optimizer of Blue Lake?",
        "reference": "Hopper",
        "context": PASSAGES,
    }


def row(
    asked: Record, condition: str, passed: bool | None, hit: bool, verdict: str | None = None
) -> Record:
    worth = {True: "correct", False: "incorrect", None: "judge_failed"}[passed]
    return {
        **{name: asked[name] for name in ("question_id", "paper_id", "stratum")},
        "condition": condition,
        "verdict": verdict or worth,
        "passed": passed,
        "retrieval_hit": hit if condition.endswith("_rag") else None,
    }


def kind_of(
    hit: bool,
    known: bool | None,
    right: bool | None,
    answer: str = "The optimizer of Blue Lake is Bishop. [2]",
    closed_book: str = "The optimizer of Blue Lake is Kepler.",
    verdict: str | None = None,
) -> str:
    """Kind of one answer of base_rag; the other models answer nothing right."""
    asked = question("q")
    rows, responses = [], []
    for condition, c in CONDITIONS.items():
        rag = c.context == "retrieved"
        passed = (right if rag else known) if c.model == "base" else False
        told = verdict if condition == "base_rag" else None
        rows.append(row(asked, condition, passed, hit, told))
        text = (answer if rag else closed_book) if c.model == "base" else ""
        responses.append({"condition": condition, "question_id": "q", "response": text})
    frame = pd.DataFrame(rows).astype({"passed": "boolean", "retrieval_hit": "boolean"})
    found = attribution.kinds([asked], responses, frame)
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
    "answer, kind",
    [
        ("The optimizer of Blue Lake is Bishop. [2]", "misread"),
        ("Bishop", "misread"),
        ("The optimizer of Blue Lake is Kepler. [1]", "ignored"),  # as without passages
        ("The optimizer of Blue Lake is Glide.", "ignored"),  # from neither
        ("It is Glide or Turbo, perhaps Bishop.", "ignored"),  # one new word of four
        ("", "ignored"),
    ],
)
def test_a_wrong_answer_misread_what_it_took_from_the_passages(answer: str, kind: str) -> None:
    assert kind_of(True, False, False, answer) == kind


def test_what_was_said_without_passages_too_is_not_taken_from_them() -> None:
    same = "The optimizer of Blue Lake is Bishop."
    assert kind_of(True, False, False, same + " [2]", closed_book=same) == "ignored"
    longer = "Its trained optimizer name: Bishop."
    assert kind_of(True, False, False, longer, "Its trained optimizer name: Glide.") == "misread"


def test_an_answer_that_declines_ignored_the_evidence_whatever_it_quotes() -> None:
    assert kind_of(True, False, False, "Bishop?", verdict="not_attempted") == "ignored"
    assert kind_of(True, False, False, "Bishop?") == "misread"


def random_run(seed: int) -> tuple[list[Record], list[Record], pd.DataFrame]:
    rng = np.random.default_rng(seed)
    questions = [question(f"q{i}", STRATA[i % 4], f"p{i % 4}-{i // 12}") for i in range(240)]
    rows, responses = [], []
    for asked in questions:
        hit = bool(rng.random() < 0.7)
        for condition in CONDITIONS:
            passed = [True, False, None][rng.choice(3, p=[0.45, 0.5, 0.05])]
            rows.append(row(asked, condition, passed, hit))
            text = rng.choice(["Bishop", "Kepler", "", "I do not know Bishop"])
            key = {"condition": condition, "question_id": asked["question_id"]}
            responses.append({**key, "response": str(text)})
    frame = pd.DataFrame(rows).astype({"passed": "boolean", "retrieval_hit": "boolean"})
    return questions, responses, frame


def test_the_kinds_are_a_partition_that_agrees_with_the_verdicts() -> None:
    questions, responses, verdicts = random_run(0)
    found = attribution.kinds(questions, responses, verdicts)
    assert len(found) == 240 * 3
    assert not found.duplicated(["question_id", "condition"]).any()
    assert set(found["kind"]) == set(attribution.KINDS)
    judged = found.merge(verdicts, on=["question_id", "condition"])
    placed = judged[judged["kind"] != "no_verdict"]
    assert placed["kind"].isin(attribution.RIGHT).eq(placed["passed"].astype(bool)).all()
    there = ("recovered", "kept", "ignored", "misread", "destroyed")
    assert placed["kind"].isin(there).eq(placed["retrieval_hit"].astype(bool)).all()
    twins = verdicts.set_index(["question_id", "condition"])["passed"]
    known = [
        twins[r.question_id, attribution.CLOSED_BOOK[r.condition]] for r in placed.itertuples()
    ]
    expected = placed["kind"].isin(["kept", "held", "destroyed", "distracted"])
    assert list(expected) == known


def test_answers_and_shares_of_a_condition_add_up_in_every_stratum() -> None:
    questions, responses, verdicts = random_run(1)
    shares = attribution.table(attribution.kinds(questions, responses, verdicts))
    assert set(shares["stratum"]) == {"all_post", *STRATA}
    for (stratum, _), part in shares.groupby(["stratum", "condition"]):
        assert part["answers"].sum() == part["n"].iloc[0] == (180 if stratum == "all_post" else 60)
        assert part["share"].sum() == pytest.approx(1)
        assert (part["ci_low"] <= part["share"]).all() and (part["share"] <= part["ci_high"]).all()


def test_closed_book_twins_have_the_same_weights() -> None:
    assert attribution.CLOSED_BOOK == {
        "base_rag": "base",
        "instruct_ft_rag": "instruct_ft",
        "rag_ft_rag": "rag_ft",
    }
    assert set(attribution.CLOSED_BOOK) == set(RAG_CONDITIONS)


def test_an_answer_without_a_twin_is_an_error_that_names_it() -> None:
    questions, responses, verdicts = random_run(2)
    gone = verdicts[~(verdicts["question_id"].eq("q7") & verdicts["condition"].eq("rag_ft"))]
    with pytest.raises(CutoffError, match="q7 has no judged answer under rag_ft;"):
        attribution.kinds(questions, responses, gone)


def frame_of(counts: dict[str, int], stratum: str = "seen") -> pd.DataFrame:
    """Answers of the given kinds, one paper each, the same for the three conditions."""
    names = [kind for kind, n in counts.items() for _ in range(n)]
    rows = [
        {"question_id": f"q{i}", "paper_id": f"p{i}", "stratum": stratum}
        | {"condition": condition, "kind": kind}
        for condition in RAG_CONDITIONS
        for i, kind in enumerate(names)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    "counts, said",
    [
        ({"recovered": 60, "missed": 30, "misread": 5}, "most are lost in retrieval"),
        ({"recovered": 60, "missed": 5, "misread": 20, "ignored": 10}, "most are lost in reading"),
        ({"recovered": 60, "missed": 9, "misread": 8}, "cannot be told"),
        ({"recovered": 60}, "gets 0 of 60 questions on new papers wrong."),
    ],
)
def test_the_reading_says_where_most_is_lost_only_where_half_is_excluded(
    counts: dict[str, int], said: str
) -> None:
    text = attribution.reading(frame_of(counts))
    assert said in text
    others = {"most are lost in retrieval", "most are lost in reading", "cannot be told"} - {said}
    assert not any(other in text for other in others)


def test_the_reading_counts_known_answers_that_passages_cost() -> None:
    answers = pd.concat(
        [
            frame_of({"recovered": 5, "no_verdict": 1}),
            frame_of({"kept": 30, "destroyed": 10}, "control"),
        ]
    )
    text = attribution.reading(answers)
    assert "Base + RAG 10 of 40 (25.0" in text
    assert "3 answers could not be placed" in text
    assert "not measured" in attribution.reading(answers[answers["stratum"] == "control"])


def test_the_figure_shows_every_kind_that_occurs_and_the_rate_of_the_verdicts() -> None:
    questions, responses, verdicts = random_run(3)
    verdicts["passed"] = verdicts["passed"].fillna(False)
    answers = attribution.kinds(questions, responses, verdicts)
    figure = pictures_attribution.outcomes(answers)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [attribution.NAMES[k] for k in attribution.KINDS if k != "no_verdict"]
    upper = figure.axes[0]
    assert "n = 180" in upper.get_title(loc="left") + upper.get_title()
    rates = effect_table.pass_rates(verdicts).set_index(["stratum", "condition"])["pass_rate"]
    drawn = [line.get_xdata()[0] for line in upper.lines if line.get_marker() == "o"]
    assert drawn == pytest.approx([rates["all_post", c] for c in RAG_CONDITIONS[::-1]])
    assert figures.png(figure).startswith(b"\x89PNG")
