"""All five notebooks run on size tiny, with every real part, through the command line."""

import html
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser

import pytest

from cutoff import files
from cutoff.experiment import CONDITIONS
from cutoff.run import render, stages


@pytest.fixture
def reports(tiny_run):
    pages = sorted(tiny_run.glob("*/*.html"))
    assert [page.stem for page in pages] == ["05_compare_sizes"] + [
        stage.name for stage in stages.STAGES[:4]
    ]
    return pages


def test_every_promised_file_is_there(tiny_run):
    [dataset] = (tiny_run / "datasets").iterdir()
    for stage in stages.STAGES:
        folder = tiny_run / ("compare" if stage.part == "compare" else "tiny")
        for pattern in (*stage.files, f"{stage.name}.ipynb", f"{stage.name}.html"):
            assert list(folder.glob(pattern)), pattern
        for name in stage.dataset_files:
            assert (dataset / name).is_file()
    for model in ("base", "instruct_ft", "rag_ft"):
        for kind in ("F16", "Q4_K_M"):
            assert (tiny_run / f"tiny/models/{model}.{kind}.gguf").stat().st_size > 1_000_000
    assert (tiny_run / "index.html").is_file()
    leftovers = [
        path.name for path in tiny_run.rglob("*") if re.search(r"\.part$|\.log$", path.name)
    ]
    assert leftovers == []


def test_every_condition_answers_every_question_once_and_is_judged_once(tiny_run):
    [dataset] = (tiny_run / "datasets").iterdir()
    questions = [record["question_id"] for record in files.read_jsonl(dataset / "eval.jsonl")]
    assert len(questions) == len(set(questions)) == 24
    expected = {(condition, question) for condition in CONDITIONS for question in questions}
    for name in ("responses.jsonl", "judgements.jsonl"):
        records = files.read_jsonl(tiny_run / "tiny" / name)
        found = Counter((record["condition"], record["question_id"]) for record in records)
        assert set(found) == expected
        assert set(found.values()) == {1}
    results = files.read_json(tiny_run / "tiny/results.json")
    assert list(results["conditions"]) == list(CONDITIONS)
    assert results["n_questions"] == 24
    assert results["dataset_id"] == dataset.name


def test_a_second_run_repeats_nothing(tiny_run, tiny_arguments, tiny_environment):
    before = {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*") if path.is_file()}
    command = [sys.executable, "-X", "importtime", "-m", "cutoff", *tiny_arguments]
    done = subprocess.run(
        [*command, f"output_dir={tiny_run.parent}"],
        env=tiny_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("up to date") == 5
    after = {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*") if path.is_file()}
    changed = {path.name for path in after if before.get(path) != after[path]}
    assert changed <= {".lock"}
    # It is quick because nothing heavy is imported before it is known that something must run.
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "papermill", "nbconvert", "pandas", "numpy", "matplotlib"}


def test_reports_need_no_network_and_run_no_script(reports, tiny_run):
    for page in [*reports, tiny_run / "index.html"]:
        seen = Seen(page.read_text(encoding="utf-8"))
        assert "script" not in seen.tags
        assert not [a for _, a, _ in seen.attributes if a.startswith("on")]
        for tag, name, value in seen.attributes:
            if name in ("src", "srcset", "data") or (tag == "link" and name == "href"):
                assert value.startswith("data:"), (page.name, tag, value[:80])
        assert "@import" not in page.read_text(encoding="utf-8")


def test_reports_have_one_title_headings_in_order_and_described_pictures(reports):
    for page in reports:
        seen = Seen(page.read_text(encoding="utf-8"))
        levels = [int(tag[1]) for tag in seen.tags if re.fullmatch(r"h[1-6]", tag)]
        assert levels.count(1) == 1 and levels[0] == 1
        assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
        alts = [value for tag, name, value in seen.attributes if (tag, name) == ("img", "alt")]
        assert len(alts) == seen.tags.count("img")
        assert all(len(alt) > 20 for alt in alts), alts
        assert "viewport" in [value for tag, name, value in seen.attributes if tag == "meta"]


def test_reports_are_small_and_their_tables_have_captions_and_scopes(reports):
    for page in reports:
        assert page.stat().st_size < 3_000_000, page.name
        seen = Seen(page.read_text(encoding="utf-8"))
        scopes = [value for tag, name, value in seen.attributes if (tag, name) == ("th", "scope")]
        assert len(scopes) >= seen.tags.count("caption") > 0 or page.stem.startswith("02")
        assert set(scopes) <= {"row", "col"}


def test_every_text_colour_stands_out_from_what_is_behind_it():
    """WCAG 2.2, success criterion 1.4.3: a contrast of at least 4.5."""
    css = (render.THEME / "report.css").read_text()
    named = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", css))
    texts = {value for name, value in named.items() if name in ("ink", "quiet", "link")}
    texts |= set(re.findall(r"[{;]\s*color: (#[0-9a-f]{6})", css))
    assert len(texts) > 3
    for behind in ("#ffffff", named["tint"]):
        for text in texts:
            assert contrast(text, behind) >= 4.5, (text, behind)


def contrast(one, other):
    """Ratio of relative luminances, as WCAG defines them."""
    parts = [[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in (one, other)]
    linear = [
        [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in p] for p in parts
    ]
    low, high = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in linear)
    return (high + 0.05) / (low + 0.05)


def test_results_hold_what_the_report_shows(tiny_run):
    results = files.read_json(tiny_run / "tiny/results.json")
    page = html.unescape((tiny_run / "tiny/04_evaluate.html").read_text(encoding="utf-8"))
    assert len(results["claims"]) == 5
    assert [claim for claim in results["claims"] if claim not in page] == []
    names = "attribution citations pairwise quantisation forgetting contamination exposure".split()
    names += "break_even golden judge_free measures calibration negative_control".split()
    assert [name for name in names if not results["diagnostics"][name]] == []


def test_every_link_between_reports_leads_somewhere(reports, tiny_run):
    for page in [*reports, tiny_run / "index.html"]:
        seen = Seen(page.read_text(encoding="utf-8"))
        for tag, name, value in seen.attributes:
            if (tag, name) == ("a", "href") and not value.startswith(("http", "#")):
                assert (page.parent / value).exists(), (page.name, value)


def test_the_index_shows_a_headline_for_every_report(tiny_run):
    for name in ("tiny", "compare"):
        entries = files.read_json(tiny_run / name / "run.json")["stages"]
        assert [stage for stage, entry in entries.items() if len(entry["headline"]) <= 20] == []


def test_executed_notebooks_hold_no_error_and_no_widget(tiny_run):
    for path in tiny_run.glob("*/*.ipynb"):
        notebook = files.read_json(path)
        assert "widgets" not in notebook["metadata"]
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                assert output["output_type"] != "error"


class Seen(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
