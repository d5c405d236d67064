"""What a PDF file holds is what is read from it, and nothing else gets near the disk."""

from pathlib import Path

import pytest

from cutoff import params
from cutoff.errors import CutoffError
from cutoff.generate.papers import collection, folder_source, sources
from cutoff.generate.reading import reader
from cutoff.phantom import pages, world


@pytest.mark.parametrize("seed", [0, 7])
def test_every_sentence_and_heading_survives_the_pdf(tmp_path: Path, seed: int) -> None:
    for paper in world.make_papers(seed, 6, 3):
        path = tmp_path / "paper.pdf"
        path.write_bytes(pages.render_pdf(paper))
        document = reader.read_here(path, "pdf")
        read = {s["heading"]: s["text"] for s in document.sections if s["heading"]}
        assert document.n_pages == 1
        assert read == {heading: " ".join(body) for heading, body in paper.sections}


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    p = params.load("tiny", {"n_post_papers": 3, "n_unseen_papers": 1, "n_control_papers": 2})
    first = collection.make_papers(p, tmp_path / "a")
    second = collection.make_papers(p, tmp_path / "b")
    other = collection.make_papers(params.load("tiny", p.as_dict() | {"seed": 1}), tmp_path / "c")
    assert first == second
    assert [r["sha256"] for r in first[:3]] != [r["sha256"] for r in other[:3]]
    assert {path.name for path in (tmp_path / "a/pdf").iterdir()} == {
        f"{record['paper_id']}.pdf" for record in first
    }


@pytest.mark.parametrize(
    "name", ["../up", "/etc/x", "a/b", "", ".hidden", "a\\b", "x" * 101, "a..b"]
)
def test_an_id_never_becomes_a_path(name: str) -> None:
    with pytest.raises(CutoffError, match="cannot be a file name"):
        sources.safe_name(name)


def test_more_papers_than_the_phantom_has_is_a_sentence() -> None:
    p = params.load("tiny", {"n_control_papers": world.N_CONTROL_PAPERS + 1})
    with pytest.raises(CutoffError, match="n_control"):
        collection.phantom_papers(p)


def test_a_folder_of_your_own_has_to_be_named_and_its_list_to_be_a_list(tmp_path: Path) -> None:
    def make(**changes: str | None) -> None:
        collection.make_papers(
            params.load("tiny", {"paper_source": "folder"} | changes), tmp_path / "data"
        )

    with pytest.raises(CutoffError, match="needs papers_folder"):
        make(papers_folder=None)
    with pytest.raises(CutoffError, match="is no folder"):
        make(papers_folder=str(tmp_path / "missing"))
    (tmp_path / "papers.csv").write_text("name;title\na.pdf;A\n")
    with pytest.raises(CutoffError, match="must name columns of file,title"):
        make(papers_folder=str(tmp_path))
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "papers.csv").write_bytes(
        "file;first_version\r\na.txt;June 2025 é".encode("cp1252")
    )
    with pytest.raises(CutoffError, match="first_version of a.txt = 'June 2025 é' must be a day"):
        make(papers_folder=str(tmp_path))


def test_a_paper_older_than_its_period_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "papers.csv").write_text("file,first_version\na.txt,2020-01-01\n")
    p = params.load("tiny", {"paper_source": "folder", "papers_folder": str(tmp_path)})
    found, rejected = folder_source.candidates(p, tmp_path / "data")
    assert found == {"post": [], "control": []}
    assert [record["reason"] for record in rejected] == ["date outside its period"]
