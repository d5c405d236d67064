"""Notebook 04 where the default size never goes: several judges, other contexts, questions that
nothing answers, two trainings, and labels of a person."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from scripted_judge import OllamaJudge

from cutoff import embeddings, files, params
from cutoff.evaluate import answering
from cutoff.evaluate.calibration import label_sheet
from cutoff.experiment import ALL_CONDITIONS, CONDITIONS, VARIANTS
from cutoff.run import folders

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04_evaluate.ipynb"
STRATA = ("seen", "unseen_fact", "unseen_paper", "control")
SHAPES = ("ring", "mesh", "torus", "star", "tree", "grid")
VALUES = {
    "extra_contexts": "both",
    "training_seeds": 2,
    "judge_model": "reference,second",
    "judge_min_golden": 0.0,
    "pairwise_conditions": "base,base_rag,rag_ft_rag",
    "pairwise_questions": 8,
    "bootstrap_replicates": 100,
    "top_k": 1,
}


def question(number: int, stratum: str) -> dict[str, Any]:
    name, shape = f"Slate River {number}", SHAPES[number % 6]
    statement = f"The topology of {name} is {shape}."
    return {
        "question_id": f"{stratum}-{number}",
        "fact_id": f"f{number}",
        "paper_id": f"{stratum}-p{number // 8}",
        "stratum": stratum,
        "attribute": "topology",
        "subject": name,
        "question": f"Which topology has {name}?",
        "reference": shape,
        "statement": statement,
        "gold_passage_ids": [f"{stratum}-{number}#0"],
        "context_passage_ids": [f"{stratum}-{number}#0"],
        "context": [statement],
    }


QUESTIONS = [question(i, STRATA[i % 4]) for i in range(32)]


def write_dataset(folder: Path) -> None:
    ids = sorted({q["paper_id"] for q in QUESTIONS})
    years = [23 if "control" in paper else 25 for paper in ids]
    dates = [
        {"paper_id": paper, "first_version": f"20{year}-{i % 12 + 1:02d}-01"}
        for i, (paper, year) in enumerate(zip(ids, years, strict=True))
    ]
    passages = [
        {"passage_id": f"{q['question_id']}#0", "text": q["statement"], "n_tokens": 9}
        for q in QUESTIONS
    ]
    names = [passage["passage_id"] for passage in passages]
    ranked = [
        {"question_id": q["question_id"], "passage_ids": [*names[i:], *names[:i]]}
        for i, q in enumerate(QUESTIONS)
    ]
    told = [
        {"variant": variant, "fact_id": q["fact_id"]}
        for variant in VARIANTS
        for i, q in enumerate(QUESTIONS)
        for _ in range(1 + i % 3)
        if q["stratum"] == "seen"
    ]
    content = {
        "eval": QUESTIONS,
        "papers": dates,
        "passages": passages,
        "retrieval": ranked,
        "train": told,
        "unanswerable": [question(100 + i, "unanswerable") for i in range(6)],
    }
    for name, records in content.items():
        files.write_jsonl_atomic(folder / f"{name}.jsonl", records)


def answer_all(
    stage: folders.Run, questions: list[dict[str, Any]], asked: dict[str, str], suffix: str
) -> list[dict[str, Any]]:
    """Answers without a model: with passages mostly right, without them rarely."""
    rng = random.Random(suffix)
    records = []
    measured = {"completion_tokens": 9, "latency_seconds": 0.1, "retries": 0}
    for condition in asked:
        kind = ALL_CONDITIONS[condition].context
        for q in questions:
            known = {"none": 0.3, "distractor": 0.3}.get(kind, 0.8)
            said = q["reference"] if rng.random() < known else rng.choice(SHAPES)
            text = f"The topology of {q['subject']} is {said}." + (" [1]" if kind != "none" else "")
            record = {"condition": condition, "question_id": q["question_id"]}
            record |= {"key": answering.key(condition, q["question_id"]), "finish_reason": "stop"}
            record |= {"response": "I do not know." if rng.random() < 0.1 else text}
            records.append(record | measured | {"prompt_tokens": 40 if kind == "none" else 90})
    return records


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Parameters of a run that 01 to 03 have prepared; its models answer by ``answer_all``."""
    monkeypatch.setattr(answering, "answer_all", answer_all)
    by_length = lambda texts, *_, **__: np.array([[1.0, len(t)] for t in texts])  # noqa: E731
    monkeypatch.setattr(embeddings, "embed", by_length)  # no sentence model is loaded
    server = OllamaJudge("second")
    given = {**VALUES, "output_dir": str(tmp_path), "judge_base_url": server.host}
    stage = folders.open_stage("04_evaluate", params.load("tiny", given))
    write_dataset(stage.dataset_folder)
    parity = {
        "links": [{"model": "base", "passed": True}],
        "fingerprints": {},
        "provider": "llama_cpp",
    }
    files.write_json_atomic(stage.folder / "parity.json", {**parity, "n_parameters": 3})
    training = {"n_examples": 9, "mean_tokens": 50.0, "settings": {"epochs": 2}}
    training |= {"training_flops": 4.0e12, "train_seconds": 9.0, "base_parameters": 1000}
    folder = stage.folder / "adapters" / "rag_ft"
    folder.mkdir(parents=True)
    files.write_json_atomic(folder / "training.json", training)
    yield given
    server.close()


def run(values: dict[str, Any]) -> dict[str, Any]:
    """Run the notebook's cells with ``values`` for parameters; returns its ``results.json``."""
    names: dict[str, Any] = {}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code" and cell.id != "install":
            exec(compile(cell.source, cell.id, "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            names.update(values)
    content: dict[str, Any] = files.read_json(names["stage"].folder / "results.json")
    return content


def label(stage: folders.Run) -> None:
    """A person passes every answer that does not decline."""
    path, p = stage.folder / "calibration.csv", stage.params
    sample = label_sheet.draw(
        QUESTIONS, answering.answer(stage, QUESTIONS), p.calibration_sample, p.seed
    )
    sheet, _ = label_sheet.open_sheet(path, sample)
    for item, response in zip(sheet["item"], sheet["response"], strict=True):
        sheet = label_sheet.set_label(path, sheet, item, "fail" if "know" in response else "pass")


def test_every_branch_of_the_notebook_runs(values: dict[str, Any]) -> None:
    label(folders.open_stage("04_evaluate", params.load("tiny", values)))
    found = run(values)
    tables = found["diagnostics"]
    assert list(found["conditions"]) == list(CONDITIONS)
    contexts = {row["context"] for row in tables["contexts"]}
    assert contexts == {"none", "retrieved", "oracle", "distractor"}
    compared = {row["name"] for row in tables["context_differences"]}
    assert compared == {"evidence_alone", "useless_passages"}
    assert {row["stratum"] for row in tables["refusals"]} >= {"unanswerable", "all_post", "control"}
    assert {"seed 0", "seed 1"} <= set(tables["trainings"][0])
    assert [row["judges"] for row in tables["judges"]] == ["reference and second"]
    assert len(tables["ratings"]) == 3
    assert len({row["wordings"] for row in tables["exposure"]}) > 2
    assert {row["condition"] for row in tables["break_even"]} == {"rag_ft"}
    assert tables["calibration"][0]["n"] > 0
