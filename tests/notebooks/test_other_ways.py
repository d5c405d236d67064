"""Notebooks 01 and 02 where the default size never goes: papers of one's own in every file form,
facts that a language model writes, questions without an answer, several trainings.

03 and 04 have such tests beside the servers that they need, in ``tests/protocol``.
"""

import html
import json
from pathlib import Path

import nbformat
import pytest
from scripted_teacher import Teacher

from cutoff import files
from cutoff.experiment import VARIANTS
from cutoff.phantom import pages, world

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
VALUES = {
    "paper_source": "folder",
    "fact_source": "generator",
    "generator_model": "teacher",
    "dataset_judge_model": "rater",
    "n_post_papers": 8,
    "n_unseen_papers": 3,
    "n_control_papers": 4,
    "n_eval_unanswerable": 3,
    "min_extraction_quality": 0.2,
    "retriever": "hybrid",
    "exposures": 2,
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
        told = "".join(f"<h2>{html.escape(h)}</h2><p>{html.escape(text)}</p>" for h, text in parts)
        page = f"<html><head><title>{paper.title}</title></head><body><h1>{paper.title}</h1>"
        content = f"{page}{told}</body></html>".encode()
    else:
        mark = "## " if suffix == "md" else ""
        told = "\n\n".join(f"{mark}{heading}\n\n{text}" for heading, text in parts)
        content = f"{'# ' if mark else ''}{paper.title}\n\n{told}\n".encode()
    path = folder / f"{paper.paper_id}.{suffix}"
    path.write_bytes(content)
    return path


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A folder of papers: PDF, HTML, Markdown and text by turns, with their dates in a list."""
    folder = tmp_path / "my papers"
    rows = ["file,title,first_version,licence"]
    for number, paper in enumerate(world.make_papers(0, 12, 6)):
        (folder / paper.period).mkdir(parents=True, exist_ok=True)
        suffix = ("pdf", "html", "md", "txt")[number % 4]
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
    assert len(found["papers"]) == 12
    assert {Path(paper["file"]).suffix for paper in found["papers"]} == {
        ".pdf",
        ".html",
        ".md",
        ".txt",
    }
    assert any("scan" in json.dumps(record) for record in found["papers_rejected"])
    assert len(found["eval"]) == 12 and {q["stratum"] for q in found["eval"]} >= {"seen", "control"}
    assert found["unanswerable"]
    assert found["ratings"]
    run("02_finetune", values)
    adapters = tmp_path / "out/limit-12/tiny/adapters"
    trained = {path.parent.name for path in adapters.glob("*/adapter_model.safetensors")}
    assert len(trained) == 4 and trained > set(VARIANTS)
