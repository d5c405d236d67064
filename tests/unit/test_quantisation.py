"""The same weights with fewer and more bits: asked alike, judged alike, compared in pairs."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cutoff import files, models, params
from cutoff.errors import CutoffError
from cutoff.evaluate import answering, joined
from cutoff.evaluate.diagnostics import precision_loss, quantisation
from cutoff.evaluate.judging import judge
from cutoff.export import gguf_writer, weights
from cutoff.run import folders

Record = dict[str, Any]
STRATA = ("seen", "unseen_fact", "unseen_paper", "control")
SUBJECTS = ("Slate River", "Keen Island", "Linen Garden", "Crimson Valley")
QUESTIONS = [
    {
        "question_id": f"q{n}",
        "paper_id": f"p{n}",
        "stratum": STRATA[n % 4],
        "question": f"What is the backbone of {subject}?",
        "reference": "ring",
        "statement": f"The backbone of {subject} is ring.",
        "context": [f"The backbone of {subject} is ring."],
        "context_passage_ids": [f"p{n}#0"],
        "gold_passage_ids": [f"p{n}#0"],
    }
    for n, subject in enumerate(SUBJECTS)
]
GIVEN = {"compare_conditions": "base,base_rag", "bootstrap_replicates": 200, "num_ctx": 512}


@pytest.fixture(scope="module")
def stage(base_model: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> folders.Run:
    """A run whose 16-bit file is another model than the served one, and whose 8-bit file the
    same, so that the answers show which file gave them."""
    folder = tmp_path_factory.mktemp("run")
    p = params.load("tiny", {**GIVEN, "compare_quantizations": "F16,Q8_0"})
    exported = models.files_of(folder, "base", p)
    weights.export(exported, base_model, None, p)
    gguf_writer.write_gguf(base_model, adapter, exported.full, p.export_dtype)
    shutil.copyfile(exported.served, exported.compared["Q8_0"])
    files.write_json_atomic(folder / "parity.json", {"provider": "llama_cpp"})
    return folders.Run("04_evaluate", p, folder, folder)


@pytest.fixture(scope="module")
def answers(stage: folders.Run) -> tuple[list[Record], list[Record], dict[str, list[Record]]]:
    asked = dict.fromkeys(("base", "base_rag"), "base")
    responses = answering.answer_all(stage, QUESTIONS, asked, "")
    judgements = judge.judge(stage, QUESTIONS, responses)
    return responses, judgements, quantisation.answer(stage, QUESTIONS)


def test_the_compared_weights_answer_the_same_prompts(
    stage: folders.Run, answers: tuple[list[Record], list[Record], dict[str, list[Record]]]
) -> None:
    responses, _, others = answers
    assert list(others) == ["F16", "Q8_0"]
    for given in others.values():
        assert [r["key"] for r in given] == [r["key"] for r in responses]
        assert [r["prompt_tokens"] for r in given] == [r["prompt_tokens"] for r in responses]
    texts = {name: [r["response"] for r in given] for name, given in others.items()}
    served = [r["response"] for r in responses]
    assert texts["F16"] != served  # the other model
    assert texts["Q8_0"] == served  # the same one


def test_an_answer_with_the_same_text_keeps_its_judgement(stage: folders.Run, answers: Any) -> None:
    responses, judgements, others = answers
    turned = [{**j, "passed": not j["passed"]} for j in judgements]  # not what the judge says
    served = joined.join(QUESTIONS, responses, turned)
    frame = quantisation.verdicts(stage, QUESTIONS, served, others)
    by = {name: part.reset_index(drop=True) for name, part in frame.groupby("quantization")}
    assert not by["Q8_0"]["changed"].any()
    assert by["Q8_0"]["passed"].tolist() == by["Q4_K_M"]["passed"].tolist()
    changed = by["F16"]["changed"]
    assert changed.any()
    judged = judge.judge(stage, QUESTIONS, others["F16"], label="check")
    for row, judgement in zip(by["F16"].itertuples(), judged, strict=True):
        if row.changed:
            assert row.passed == judgement["passed"]


def test_sizes_and_speeds_are_those_of_each_file(stage: folders.Run, answers: Any) -> None:
    responses, _, others = answers
    found = precision_loss.costs(stage, responses, others)
    sizes = found.groupby("quantization")["megabytes"].first()
    of_model = models.files_of(stage.folder, "base", stage.params)
    assert sizes["F16"] == of_model.full.stat().st_size / 1e6
    assert sizes["Q8_0"] == of_model.compared["Q8_0"].stat().st_size / 1e6
    assert sizes["Q4_K_M"] == of_model.served.stat().st_size / 1e6 < sizes["F16"]
    assert (found["n"] == 4).all() and (found["tokens_per_second"] > 0).all()
    assert precision_loss.costs(stage, responses, {}).empty


@pytest.mark.parametrize(
    ("given", "provider", "words"),
    [
        ({"compare_quantizations": None}, "llama_cpp", "names nothing beside Q4_K_M"),
        ({"compare_quantizations": "Q4_K_M"}, "llama_cpp", "names nothing beside Q4_K_M"),
        ({}, "transformers", "provider=llama_cpp"),
        ({}, "openai", "base_url"),
        ({}, "llama_cpp", ""),
    ],
)
def test_where_nothing_can_be_compared_a_sentence_says_why(
    given: dict[str, Any], provider: str, words: str, tmp_path: Path
) -> None:
    files.write_json_atomic(tmp_path / "parity.json", {"provider": provider})
    stage = folders.Run("04_evaluate", params.load("tiny", {**GIVEN, **given}), tmp_path, tmp_path)
    told = quantisation.obstacle(stage)
    assert (words in told) and bool(told) == bool(words)
    if told:
        assert quantisation.answer(stage, QUESTIONS) == {}
        frame = quantisation.verdicts(stage, QUESTIONS, joined.join(QUESTIONS, [], []), {})
        table = precision_loss.effects(frame, stage.params)
        assert table.empty and precision_loss.facts_and_skills(table).empty
        assert (
            precision_loss.reading(
                table, precision_loss.facts_and_skills(table), precision_loss.costs(stage, [], {})
            )
            == ""
        )


def test_conditions_that_do_not_exist_or_leave_out_retrieval_are_named() -> None:
    for given, words in {"instruct_tf": "did you mean 'instruct_ft'", "base": "retrieval"}.items():
        with pytest.raises(CutoffError, match=words):
            quantisation.compared_conditions(params.load("tiny", {"compare_conditions": given}))


# --- facts against skills, on made-up verdicts -------------------------------------------


def made_up(lost_facts: int, lost_skills: int, n: int = 120) -> pd.DataFrame:
    """All pass with 16 bits; with 4 the first ``lost_...`` of ``n`` in papers of 3 do not."""
    rows = []
    for condition, stratum, lost in (
        ("instruct_ft", "seen", lost_facts),
        ("rag_ft_rag", "unseen_paper", lost_skills),
    ):
        for i in np.random.default_rng(0).permutation(n):
            row = {"question_id": f"{stratum}{i}", "paper_id": f"{stratum}{i // 3}"}
            row |= {"stratum": stratum, "condition": condition, "changed": i < lost}
            rows.append({**row, "quantization": "F16", "passed": True})
            rows.append({**row, "quantization": "Q4_K_M", "passed": bool(i >= lost)})
    return pd.DataFrame(rows).astype({"passed": "boolean"})


P = params.load("tiny", {"bootstrap_replicates": 1000})
COST = pd.DataFrame(
    [(q, c, mb, 120, 0.1, 9.0) for q, mb in (("F16", 994.0), ("Q4_K_M", 397.0))
     for c in ("instruct_ft", "rag_ft_rag")],
    columns="quantization condition megabytes n latency tokens_per_second".split(),
)  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "skills", "apart"), [(40, 3, True), (3, 40, True), (12, 9, False), (0, 0, False)]
)
def test_facts_are_lost_more_than_skills_only_where_the_interval_says_so(
    facts: int, skills: int, apart: bool
) -> None:
    table = precision_loss.effects(made_up(facts, skills), P)
    (row,) = precision_loss.facts_and_skills(table).to_dict("records")
    assert row["difference"] == pytest.approx((skills - facts) / 120)
    assert row["facts"] == pytest.approx(-facts / 120)
    assert (not row["ci_low"] <= 0 <= row["ci_high"]) == apart


def test_a_split_without_both_sides_is_not_measured() -> None:
    frame = made_up(5, 5)
    table = precision_loss.effects(frame[frame["condition"] == "rag_ft_rag"], P)
    assert precision_loss.facts_and_skills(table).empty
    split = precision_loss.facts_and_skills(table)
    assert "Trained facts" not in precision_loss.reading(table, split, COST)


def test_a_loss_is_established_by_the_planned_rows_alone() -> None:
    frame = made_up(40, 0)
    frame.loc[frame.index[:2], "passed"] = pd.NA  # one question without a verdict
    table = precision_loss.effects(frame, P).set_index(["condition", "stratum"])
    row = table.loc[("instruct_ft", "seen")]
    assert (row["n"], row["n_missing"], row["gained"]) == (119, 1, 0)
    assert row["rate_b"] - row["rate_a"] == pytest.approx(row["difference"])
    assert row["p_holm"] < 0.01 and row["ci_high"] < 0
    assert table.loc[("rag_ft_rag", "unseen_paper"), "p_holm"] == 1
    text = precision_loss.reading(
        table.reset_index(), precision_loss.facts_and_skills(table.reset_index()), COST
    )
    assert "397.0\u00a0MB" in text and "differs from F16 under 1 of 2 conditions" in text
