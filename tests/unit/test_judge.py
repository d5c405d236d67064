"""Judging: blind, kept, and with diagnostics only where there was a context."""

from pathlib import Path
from typing import Any

import pytest

from cutoff import files, params
from cutoff.evaluate.diagnostics import grounding
from cutoff.evaluate.judging import golden, judge, opinions, reference, rubric
from cutoff.experiment import CONDITIONS
from cutoff.run import folders

QUESTION = {
    "question_id": "p/task?4",
    "question": "What is Linen Garden for?",
    "reference": "planning",
    "gold_passage_ids": ["p#2", "p#5"],
    "context_passage_ids": ["p#1", "p#2", "q#7"],
}


def respond(condition: str, text: str) -> dict[str, Any]:
    name = QUESTION["question_id"]
    key = f"{condition}|{name}"
    return {"key": key, "condition": condition, "question_id": name, "response": text}


@pytest.fixture
def stage(tmp_path: Path) -> folders.Run:
    return folders.open_stage("04_evaluate", params.load("tiny", {"output_dir": str(tmp_path)}))


def test_a_judge_sees_question_reference_and_answer_and_what_is_alike_once(
    stage: folders.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden.results(stage.params, stage.folder)  # by the real rules
    seen: list[tuple[str, ...]] = []

    def decide(*arguments: str) -> tuple[str, str]:
        seen.append(arguments)
        return ("correct", "seen") if "planning" in arguments[2] else ("incorrect", "seen")

    monkeypatch.setattr(opinions.reference, "decide", decide)
    texts = ["planning [1]", "planning", "parsing", "planning [2]", "parsing[9]", "planning"]
    responses = [respond(c, text) for c, text in zip(CONDITIONS, texts, strict=True)]
    records = judge.judge(stage, [{**QUESTION, "stratum": "seen"}], responses)
    assert [r["passed"] for r in records] == [True, True, False, True, False, True]
    asked = QUESTION["question"], QUESTION["reference"]
    assert seen == [(*asked, "planning"), (*asked, "parsing")]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("It is planning. [2]", True),
        ("It is planning. [1]", False),
        ("It is planning. [1][2]", False),  # one of them is no evidence
        ("It is planning. [4]", False),  # there is no passage 4
        ("It is planning. [0]", False),
        ("It is planning.", None),
    ],
)
def test_a_citation_is_right_if_all_it_names_is_evidence(text: str, right: bool | None) -> None:
    found = grounding.citations(QUESTION, respond("base_rag", text))
    assert found["citation_right"] is right and found["citation_present"] is (right is not None)
    assert found["retrieval_hit"] is True
    # citations are diagnostics, not part of the verdict
    assert reference.decide(*judge.shown(QUESTION, text))[0] == "correct"
    other = {**QUESTION, "gold_passage_ids": ["p#9"]}
    without = grounding.citations(other, respond("base_rag", text))
    assert not without["retrieval_hit"] and not without["citation_right"]
    assert set(grounding.citations(QUESTION, respond("rag_ft", text)).values()) == {None}


def test_numbers_in_markers_are_read_and_other_brackets_are_not() -> None:
    assert grounding.cited("a [2] b [1, 3] c [2]") == [2, 1, 3]
    assert grounding.cited("[1-3]") == [1, 2, 3]
    assert grounding.cited("[passage 2] [x] [2a] (3) [note]") == [2]
    assert len(grounding.cited("[1-99999999999]")) <= 10_000  # hostile: no memory is taken
    assert rubric.without_citations("It is planning [2], see [1, 3].") == "It is planning , see ."


def test_judgements_are_kept_and_a_changed_response_is_judged_again(stage: folders.Run) -> None:
    responses = [respond(condition, "It is planning.") for condition in CONDITIONS]
    first = judge.judge(stage, [QUESTION], responses)
    path = stage.folder / "judgements.jsonl"
    written = path.read_bytes()
    assert [record["key"] for record in first] == [f"reference|{r['key']}" for r in responses]
    assert judge.judge(stage, [QUESTION], responses) == first
    assert path.read_bytes() == written
    judge.judge(stage, [QUESTION], [respond("base", "It is parsing.")], label="F16")
    assert path.read_bytes() == written  # other answers have files of their own
    [record] = files.read_jsonl(stage.folder / "judgements.F16.jsonl")
    assert record["passed"] is False
    responses[0]["response"] = "It is parsing."
    again = judge.judge(stage, [QUESTION], responses)
    assert [record["passed"] for record in again] == [False] + [True] * 5
    other = judge.judge(stage, [{**QUESTION, "reference": "parsing"}], responses)
    assert [record["passed"] for record in other] == [True] + [False] * 5


def test_a_torn_judgement_is_made_again_and_the_others_are_kept(stage: folders.Run) -> None:
    responses = [respond(c, f"planning {n}") for n, c in enumerate(CONDITIONS)]
    whole = judge.judge(stage, [QUESTION], responses)
    path = stage.folder / "judges/reference.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    changed = lines[0].replace(b'"detail": ""', b'"detail": "kept"')
    path.write_bytes(b"".join([changed, *lines[1:]])[:-20])
    again = judge.judge(stage, [QUESTION], responses)
    assert [r["detail"] for r in again] == ["kept", *[""] * 5]
    assert [r["verdict"] for r in again] == [r["verdict"] for r in whole]
