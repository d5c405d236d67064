"""Declining: recognised in many words, and never confused with an answer."""

import pandas as pd
import pytest

from cutoff.evaluate.diagnostics import refusals


@pytest.mark.parametrize(
    "text",
    [
        "I don't know.",
        "I’m sorry, but I cannot answer that.",
        "I do not have access to that paper.",
        "As an AI language model, I cannot browse.",
        "The passages do not mention the accuracy of Zebra Quorn. [1]",
        "The provided context doesn't say.",
        "This is not stated in the passages.",
        "There is no information about it.",
        "It is not possible to determine this.",
        "Unable to answer.",
        "",
        "[2]",
    ],
)
def test_declining_is_recognised(text: str) -> None:
    assert refusals.declines(text)


@pytest.mark.parametrize(
    "text",
    [
        "The accuracy of Zebra Quorn is 84 percent. [1]",
        "It does not use attention.",
        "The paper does not use dropout.",
        "The text does not fit the window.",
        "The method cannot handle long texts.",
        "Not RMSProp but Adam.",
        "The paper shows that dropout is unnecessary.",
    ],
)
def test_an_answer_with_a_negation_is_not_declining(text: str) -> None:
    assert not refusals.declines(text)


def scores(stratum: str, texts: list[str], verdicts: tuple[str, ...] | None = None) -> pd.DataFrame:
    """``refusals.scores`` of these answers under two conditions; nothing is judged without
    ``verdicts``."""
    given = verdicts or ("judge_failed",) * len(texts)
    rows = [
        {"question_id": f"{stratum}{i}", "paper_id": f"{stratum}-p{i // 2}", "stratum": stratum}
        | {"reference": "Glide", "condition": c, "response": text, "verdict": verdict}
        for c in ("base", "base_rag")
        for i, (text, verdict) in enumerate(zip(texts, given, strict=True))
    ]
    return refusals.scores(pd.DataFrame(rows))


def test_needed_and_needless_refusals_stand_side_by_side() -> None:
    declined = scores("unanswerable", ["I don't know."] * 6 + ["Adam", "Glide"])
    table = refusals.by_condition(declined, scores("seen", ["Unknown to me: Glide"] * 8), 200)
    rows = table.set_index(["stratum", "condition", "measure"])["estimate"]
    assert rows["unanswerable", "base", "declined"] == 6 / 8
    assert rows["unanswerable", "base", "guessed"] == 1 / 8
    assert rows["all_post", "base_rag", "declined"] == 0
    text = refusals.reading(table)
    assert "declined: Base 75.0" in text
    assert "needlessly: Base 0.0" in text


def test_an_answer_that_hedges_and_still_gives_the_reference_has_not_declined() -> None:
    frame = scores("seen", ["I am not sure, but it is Glide.", "I am not sure, but it is Adam."])
    assert list(frame["declined"][:2]) == [False, True]


def test_what_the_judge_says_is_beside_it_and_missing_stays_missing() -> None:
    verdicts = ("not_attempted", "incorrect", "judge_failed")
    frame = scores("unanswerable", ["No idea.", "Adam", "Adam"], verdicts)
    assert list(frame["not_attempted"][:2]) == [True, False]
    assert frame["not_attempted"].isna().sum() == 2
    assert scores("seen", ["Adam"])["not_attempted"].isna().all()


def test_without_unanswerable_questions_the_reading_says_how_to_get_them() -> None:
    ordinary = scores("seen", ["Adam"] * 4)
    text = refusals.reading(refusals.by_condition(ordinary[:0], ordinary, 100))
    assert "was not measured" in text and "n_eval_unanswerable" in text
