"""Notebooks where the default size never goes. 01 and 02: papers of one's own in several file
forms, facts that a language model writes, questions without an answer, several trainings. 05: two
sizes.

03 and 04 have such tests beside the servers that they need, in ``tests/protocol``.
"""

import csv
import json
import shutil
from pathlib import Path

import nbformat
import pytest
from scripted_teacher import Teacher

from cutoff import files, params
from cutoff.experiment import VARIANTS
from cutoff.phantom import pages, world

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
VALUES = {
    "paper_source": "folder",
    "fact_source": "generator",
    "generator_model": "teacher",
    "dataset_judge_model": "rater",
    "n_post_papers": 14,
    "n_unseen_papers": 3,
    "n_control_papers": 4,
    "n_eval_unanswerable": 3,
    "min_extraction_quality": 0.1,  # these papers are short
    "retriever": "hybrid",
    "exposures": 2,
    "seen_facts_per_paper": 3,
    "limit": 12,
    "epochs": 1,
    "training_seeds": 2,
    "loss_eval_questions": 2,
}


def write(paper: world.Paper, folder: Path, suffix: str) -> Path:
    """The paper as a file of the kind."""
    parts = [(heading, " ".join(body)) for heading, body in paper.sections]
    if suffix == "pdf":
        content = pages.render_pdf(paper)
    elif suffix == "html":
        told = "".join(f"<h2>{heading}</h2><p>{text}</p>" for heading, text in parts)
        content = f"<html><body><h1>{paper.title}</h1>{told}</body></html>".encode()
    else:
        told = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in parts)
        content = f"# {paper.title}\n\n{told}\n".encode()
    path = folder / f"{paper.paper_id}.{suffix}"
    path.write_bytes(content)
    return path


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A folder of papers: PDF, HTML and Markdown by turns, with their dates in a list."""
    folder = tmp_path / "my papers"
    rows = ["file,title,first_version,licence"]
    for number, paper in enumerate(world.make_papers(0, 13, 4)):
        (folder / paper.period).mkdir(parents=True, exist_ok=True)
        suffix = ("pdf", "html", "md")[number % 3]
        path = write(paper, folder / paper.period, suffix)
        day = paper.first_version.replace(year=2025 if paper.period == "post" else 2022)
        rows.append(f"{path.relative_to(folder)},{paper.title},{day},CC BY 4.0")
    (folder / "papers.csv").write_text("\n".join(rows), encoding="utf-8")
    (folder / "post" / "scan.pdf").write_bytes(b"%PDF-1.4 nothing in it")
    return folder


def run(stage: str, values: dict[str, object]) -> None:
    """Run the notebook's cells with ``values`` for parameters."""
    names: dict[str, object] = {}
    for cell in nbformat.read(NOTEBOOKS / f"{stage}.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, cell.id, "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            names.update(values)


def test_every_branch_of_notebooks_01_and_02_runs(papers: Path, tmp_path: Path) -> None:
    teacher = Teacher()
    values = VALUES | {
        "papers_folder": str(papers),
        "generator_base_url": teacher.host,
        "dataset_judge_base_url": teacher.host,
        "output_dir": str(tmp_path / "out"),
    }
    try:
        run("01_generate", values)
    finally:
        teacher.close()
    [dataset] = (tmp_path / "out/limit-12/datasets").iterdir()
    found = {path.stem: files.read_jsonl(path) for path in dataset.glob("*.jsonl")}
    assert len(found["papers"]) == 17
    kinds = {Path(paper["file"]).suffix for paper in found["papers"]}
    assert kinds == {".pdf", ".html", ".md"}
    assert any("scan" in json.dumps(record) for record in found["papers_rejected"])
    assert len(found["eval"]) == 12 and {q["stratum"] for q in found["eval"]} >= {"seen", "control"}
    assert found["unanswerable"]
    assert found["ratings"]
    run("02_finetune", values)
    adapters = tmp_path / "out/limit-12/tiny/adapters"
    trained = {path.parent.name for path in adapters.glob("*/adapter_model.safetensors")}
    assert len(trained) == 4 and trained > set(VARIANTS)


def test_notebook_05_puts_two_sizes_side_by_side(
    tiny_run: Path, tiny_arguments: list[str], tmp_path: Path
) -> None:
    """The second size is the first one under another name."""
    outputs = shutil.copytree(tiny_run, tmp_path / tiny_run.name)
    shutil.copytree(outputs / "tiny", outputs / "tiny-xs")
    for name in ("results.json", "run.json"):
        path = outputs / "tiny-xs" / name
        path.write_text(path.read_text().replace('"size": "tiny"', '"size": "tiny-xs"'))
    given = dict(word.split("=") for word in tiny_arguments[1:])
    values = {name: params.parse(name, text) for name, text in given.items()}
    run("05_compare_sizes", {**values, "output_dir": str(tmp_path)})
    with open(outputs / "compare/comparison.csv") as file:
        sizes = {row["size"] for row in csv.DictReader(file)}
    assert sizes >= {"tiny", "tiny-xs"}
