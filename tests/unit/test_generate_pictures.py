"""The figures of 01 show what the records say."""

from pathlib import Path

import pytest

from cutoff.errors import CutoffError
from cutoff.generate import dataset_figures
from cutoff.phantom import pages, world


def fact(paper_id: str, attribute: str, trained: bool, asked: bool) -> dict:
    return {"paper_id": paper_id, "attribute": attribute, "trained": trained, "asked": asked}


def test_the_map_shows_every_fact_in_its_group_with_its_use() -> None:
    period = {"u": "post", "c": "control", "t": "post"}
    papers = [{"paper_id": name, "period": period[name]} for name in period]
    facts = [
        fact("t", "task", trained=True, asked=True),
        fact("t", "size", trained=True, asked=False),
        fact("u", "task", trained=False, asked=False),
        fact("u", "size", trained=False, asked=True),
        fact("c", "task", trained=False, asked=False),  # its other fact was rejected
    ]
    figure = dataset_figures.fact_map(facts, papers)
    cells = figure.axes[0].collections[0].get_array().filled(-1)
    assert cells.tolist() == [[2, -1, -1, 0, -1, -1, 0], [1, -1, -1, 3, -1, -1, 0]]
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels == ["trained on (1)", "index only (1)", "before the cutoff (1)"]


def test_the_map_counts_generated_facts_of_a_kind() -> None:
    papers = [{"paper_id": name, "period": "post"} for name in "ab"]
    told = [("a", "qa"), ("a", "summary"), ("a", "qa"), ("b", "qa")]
    facts = [fact(q, task, trained=True, asked=True) | {"task": task} for q, task in told]
    (panel,) = dataset_figures.fact_map(facts, papers).axes
    assert [t.get_text() for t in panel.get_yticklabels()] == ["qa 1", "qa 2", "summary 1"]


def test_the_printed_page_is_cropped_to_what_is_printed(tmp_path: Path) -> None:
    (tmp_path / "paper.pdf").write_bytes(pages.render_pdf(world.make_papers(0, 1, 0)[0]))
    figure = dataset_figures.printed_page(tmp_path / "paper.pdf")
    width, height = figure.get_size_inches()
    assert 0.3 < height / width < 1  # an A4 sheet is 1.41 times as high as wide
    with pytest.raises(CutoffError, match="none.pdf"):
        dataset_figures.printed_page(tmp_path / "none.pdf")
