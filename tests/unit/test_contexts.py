"""Other contexts: the evidence alone, and passages that do not give the answer away."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cutoff import files, params
from cutoff.errors import CutoffError
from cutoff.evaluate import answering
from cutoff.evaluate.diagnostics import contexts, diagnostic_figures
from cutoff.run import folders

PASSAGES = {
    name: {"passage_id": name, "text": text, "n_tokens": 10}
    for name, text in {
        "p#1": "Linen Garden runs on printers.",
        "p#2": "The task of Linen Garden is planning.",
        "p#3": "Linen Garden is again for planning.",  # the answer once more, and no gold passage
        "p#4": "Linen Garden helps with planning, we hope.",
        "q#1": "Silk Harbour is for planning.",  # the answer, of somebody else
        "q#2": "Silk Harbour is small.",
    }.items()
}
RANKING = ["q#1", "p#4", "p#3", "p#2", "p#1", "q#2"]
QUESTION = {
    "question_id": "p/task?4",
    "paper_id": "p",
    "stratum": "seen",
    "subject": "Linen Garden",
    "question": "What is Linen Garden for?",
    "reference": "planning",
    "gold_passage_ids": ["p#2", "p#4"],
    "context_passage_ids": ["q#1", "q#2"],
    "context": ["Silk Harbour is for planning.", "Silk Harbour is small."],
}


@pytest.fixture
def stage(tmp_path: Path) -> folders.Run:
    return open_stage(tmp_path)


def open_stage(folder: Path, **overrides: Any) -> folders.Run:
    settings = {"output_dir": str(folder), "extra_contexts": "both", "top_k": 2, **overrides}
    opened = folders.open_stage("04_evaluate", params.load("tiny", settings))
    files.write_jsonl_atomic(opened.dataset_folder / "passages.jsonl", PASSAGES.values())
    rankings = [{"question_id": "p/task?4", "passage_ids": RANKING}]
    files.write_jsonl_atomic(opened.dataset_folder / "retrieval.jsonl", rankings)
    return opened


def test_the_oracle_holds_the_evidence_and_nothing_else(stage: folders.Run) -> None:
    (question,) = contexts.add(stage, [QUESTION])
    assert question["extra_contexts"]["oracle"] == {
        "context_passage_ids": ["p#4", "p#2"],  # as the retriever ranks them
        "context": [PASSAGES["p#4"]["text"], PASSAGES["p#2"]["text"]],
    }
    assert {k: v for k, v in question.items() if k != "extra_contexts"} == QUESTION


def test_a_distractor_never_gives_the_answer_away(stage: folders.Run) -> None:
    (question,) = contexts.add(stage, [QUESTION])
    assert question["extra_contexts"]["distractor"]["context_passage_ids"] == ["q#1", "p#1"]


def test_requests_under_extra_conditions_hold_their_own_passages(stage: folders.Run) -> None:
    (question,) = contexts.add(stage, [QUESTION])
    retrieved, oracle, distractor = (
        answering.request(name, question, 8).messages[1]["content"]
        for name in ("rag_ft_rag", "rag_ft_oracle", "rag_ft_distractor")
    )
    assert "[1] Linen Garden helps with planning, we hope.\n[2] The task of" in oracle
    assert "[2] Linen Garden runs on printers." in distractor and "[2] Silk Harbour" in retrieved


def test_contexts_are_whole_passages_within_the_room(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, context_tokens=32, top_k=6)
    (question,) = contexts.add(stage, [QUESTION])
    assert question["extra_contexts"]["distractor"]["context_passage_ids"] == ["q#1", "p#1", "q#2"]
    longer = [{**passage, "n_tokens": 15} for passage in PASSAGES.values()]
    files.write_jsonl_atomic(stage.dataset_folder / "passages.jsonl", longer)
    (question,) = contexts.add(stage, [QUESTION])
    assert question["extra_contexts"]["distractor"]["context_passage_ids"] == ["q#1", "p#1"]
    too_long = [{**passage, "n_tokens": 33} for passage in PASSAGES.values()]
    files.write_jsonl_atomic(stage.dataset_folder / "passages.jsonl", too_long)
    with pytest.raises(CutoffError, match=r"No oracle context for p/task\?4.*context_tokens = 32"):
        contexts.add(stage, [QUESTION])


def test_a_question_without_such_passages_is_named(stage: folders.Run) -> None:
    nothing = {**QUESTION, "gold_passage_ids": []}
    with pytest.raises(CutoffError, match=r"No oracle context for p/task\?4.*extra_contexts"):
        contexts.add(stage, [nothing])


def test_without_the_parameter_questions_stay_as_they_are(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, extra_contexts=None)
    assert contexts.add(stage, [QUESTION]) == [QUESTION]


def test_a_missing_ranking_names_the_stage_that_makes_it(stage: folders.Run) -> None:
    (stage.dataset_folder / "retrieval.jsonl").unlink()
    with pytest.raises(CutoffError, match=r"retrieval\.jsonl.*01_generate"):
        contexts.add(stage, [QUESTION])


# --- results ---------------------------------------------------------------------------


def answers(passed: dict[str, set[int]]) -> pd.DataFrame:
    """16 questions on new papers and 4 on old ones; ``passed`` maps a condition to those right."""
    rows = [
        (f"q{i}", f"p{i // 2}", "control" if i > 15 else "seen", condition, i in right)
        for condition, right in passed.items()
        for i in range(20)
    ]
    frame = pd.DataFrame(rows, columns="question_id paper_id stratum condition passed".split())
    return frame.astype({"passed": "boolean"})


def test_differences_pair_each_context_with_what_it_replaces() -> None:
    frame = answers(
        {
            "base": {16, 17, 18, 19},
            "base_rag": set(range(0, 8)),
            "base_oracle": set(range(0, 14)),
            "base_distractor": {0, 16},
        }
    )
    table = contexts.differences(frame, 500).set_index(["name", "stratum", "model"])
    assert set(table.index.get_level_values("model")) == {"base"}
    alone = table.loc["evidence_alone", "all_post", "base"]
    assert (alone["a"], alone["b"], alone["n"]) == ("base_rag", "base_oracle", 16)
    assert alone["difference"] == pytest.approx(6 / 16)
    assert 0 <= alone["ci_low"] < 6 / 16 < alone["ci_high"]
    assert (alone["gained"], alone["lost"], alone["p"]) == (6, 0, 2 * 0.5**6)
    assert table.loc["useless_passages", "control", "base"]["difference"] == -3 / 4
    rates = contexts.pass_rates(frame)
    assert dict(zip(rates["context"], rates["pass_rate"], strict=True)) == {
        "none": 0,
        "retrieved": 8 / 16,
        "oracle": 14 / 16,
        "distractor": 1 / 16,
    }
    figure = diagnostic_figures.by_context(rates)
    (panel,) = figure.axes
    assert [text.get_text() for text in panel.get_xticklabels()][0] == "No\npassages"
    assert list(panel.lines[0].get_ydata()) == pytest.approx([0, 6.25, 50, 87.5])


def test_a_missing_verdict_leaves_its_pair_and_nothing_else() -> None:
    frame = answers({"base": {1}, "base_distractor": {1, 2}, "base_rag": {1}})
    frame.loc[0, "passed"] = pd.NA
    table = contexts.differences(frame, 100)
    rows = table[table["name"] == "useless_passages"].set_index("stratum")
    assert rows.loc["all_post", "n"] == 15 and rows.loc["control", "n"] == 4
