"""Declining: recognised in many words, and never confused with an answer."""

from typing import Any

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


def question(i: int, stratum: str) -> dict[str, Any]:
    return {
        "question_id": f"{stratum}{i}",
        "paper_id": f"{stratum}-p{i // 2}",
        "stratum": stratum,
        "reference": "Glide",
    }


def answers(questions: list[dict[str, Any]], texts: list[str]) -> list[dict[str, Any]]:
    return [
        {"condition": c, "question_id": q["question_id"], "response": text}
        for c in ("base", "base_rag")
        for q, text in zip(questions, texts, strict=True)
    ]


def test_needed_and_needless_refusals_stand_side_by_side() -> None:
    must = [question(i, "unanswerable") for i in range(8)]
    need_not = [question(i, "seen") for i in range(8)]
    declined = refusals.scores(must, answers(must, ["I don't know."] * 6 + ["Adam", "Glide"]))
    ordinary = refusals.scores(need_not, answers(need_not, ["Unknown to me: Glide"] * 8))
    table = refusals.by_condition(declined, ordinary, 200)
    rows = table.set_index(["stratum", "condition", "measure"])["estimate"]
    assert rows["unanswerable", "base", "declined"] == 6 / 8
    assert rows["unanswerable", "base", "guessed"] == 1 / 8
    assert rows["all_post", "base_rag", "declined"] == 0
    text = refusals.reading(table)
    assert "Of 8 questions that nothing in the corpus answers, declined: Base 75.0" in text
    assert "declined needlessly: none, under any condition" in text


def test_an_answer_that_hedges_and_still_gives_the_reference_has_not_declined() -> None:
    q = question(0, "seen")
    texts = ["I am not sure, but it is Glide.", "I am not sure, but it is Adam."]
    frame = refusals.scores([q], [{**a, "question_id": "seen0"} for t in texts
                                  for a in answers([q], [t])[:1]])  # fmt: skip
    assert list(frame["declined"]) == [False, True]


def test_what_the_judge_says_is_beside_it_and_missing_stays_missing() -> None:
    must = [question(i, "unanswerable") for i in range(3)]
    given = answers(must, ["No idea.", "Adam", "Adam"])
    verdicts = ("not_attempted", "incorrect", "judge_failed")
    judged = [
        {"condition": a["condition"], "question_id": a["question_id"], "verdict": v}
        for a, v in zip(given, verdicts * 2, strict=True)
    ]
    frame = refusals.scores(must, given, judged)
    assert list(frame["not_attempted"][:2]) == [True, False]
    assert frame["not_attempted"].isna().sum() == 2
    assert refusals.scores(must, given)["not_attempted"].isna().all()


def test_without_unanswerable_questions_the_reading_says_how_to_get_them() -> None:
    need_not = [question(i, "seen") for i in range(4)]
    ordinary = refusals.scores(need_not, answers(need_not, ["Adam"] * 4))
    text = refusals.reading(refusals.by_condition(refusals.scores([], []), ordinary, 100))
    assert "was not measured" in text and "n_eval_unanswerable" in text
