"""A report shows what a notebook shows, and nothing in it can run or load anything."""

import base64
from html.parser import HTMLParser

import nbformat
import nbformat.v4 as v4
import pytest

from cutoff import params
from cutoff.run import folders, render, stages

HOSTILE = (
    '<script>alert(1)</script><img src=x onerror="alert(2)"><a href="javascript:alert(3)">x</a>'
    '<iframe src="//evil.example"></iframe><style>@import "//evil.example/x.css";</style>'
    '<svg onload="alert(4)"></svg><p style="background:url(//evil.example)">seen</p>'
)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def make_page(tmp_path):
    """Renders outputs of one code cell as report of 04 and gives the parsed page."""

    def make(*outputs, markdown="# 04 · Title"):
        p = params.load("tiny", {"output_dir": str(tmp_path)})
        stage = stages.find("04")
        folder = folders.open_stage(stage.name, p).folder
        cell = v4.new_code_cell("x = '<script>1</script>'", outputs=list(outputs))
        cells = [v4.new_markdown_cell(markdown), cell]
        notebook = v4.new_notebook(cells=cells)
        notebook.metadata["widgets"] = {"left": "by Colab"}
        nbformat.write(notebook, folder / f"{stage.name}.ipynb")
        return Page(render.report(stage, p).read_text(encoding="utf-8"))

    return make


def shown(**data):
    return v4.new_output("display_data", {k.replace("_", "/", 1): v for k, v in data.items()})


@pytest.mark.parametrize(
    "output",
    [
        shown(text_html=HOSTILE),
        shown(text_markdown=HOSTILE),
        shown(text_plain=HOSTILE),
        v4.new_output("stream", name="stdout", text=HOSTILE),
        shown(**{"application_javascript": "alert(1)", "text_plain": "seen"}),
        shown(**{"application_vnd.jupyter.widget-view+json": {"model_id": "seen"}}),
    ],
    ids=["html", "markdown", "text", "stdout", "javascript", "widget"],
)
def test_hostile_output_neither_runs_nor_loads(make_page, output):
    page = make_page(output)
    assert not {"script", "iframe", "svg", "object", "embed", "link"} & set(page.tags)
    assert page.tags.count("style") == 1  # the theme's own
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert not (name == "style" and "url" in value)
        if name == "src":
            assert not value.startswith(("http", "//"))
        if name == "href":
            assert not value.startswith("javascript")
    policy = [v for tag, name, v in page.attributes if tag == "meta" and "default-src" in v]
    assert policy and "default-src 'none'" in policy[0]


def test_tables_text_and_marks_survive(make_page):
    table = "<table><caption>c</caption><tr><th scope='row'>a</th><td>1</td></tr></table>"
    page = make_page(shown(text_html=table + "<pre>a <mark>b</mark></pre>"))
    assert {"table", "caption", "th", "td", "pre", "mark"} <= set(page.tags)
    assert ("th", "scope", "row") in page.attributes


def test_a_figure_is_embedded_with_its_description(make_page):
    picture = base64.b64encode(b"png").decode()
    output = v4.new_output(
        "display_data",
        {"image/png": picture + "\n", "text/plain": "<Figure>"},
        metadata={"image/png": {"alt": 'Rates "rise" <steadily>.', "width": 600}},
    )
    page = make_page(output)
    assert ("img", "src", f"data:image/png;base64,{picture}") in page.attributes
    assert ("img", "alt", 'Rates "rise" <steadily>.') in page.attributes
    assert ("img", "width", "600") in page.attributes


def test_a_vector_figure_is_a_picture_so_that_nothing_in_it_runs(make_page):
    page = make_page(shown(**{"image_svg+xml": "<svg onload='alert(1)'/>"}))
    assert "svg" not in page.tags
    [source] = [v for tag, name, v in page.attributes if (tag, name) == ("img", "src")]
    assert source.startswith("data:image/svg+xml;base64,")


def test_code_is_folded_and_warnings_of_libraries_stay_out(make_page):
    page = make_page(v4.new_output("stream", name="stderr", text="FutureWarning: soon"))
    assert "details" in page.tags
    assert "x = '<script>1</script>'" in "".join(page.text)
    assert "FutureWarning" not in "".join(page.text)


def test_a_link_to_a_notebook_becomes_a_link_to_its_report(make_page):
    page = make_page(markdown="# 04 · T\n[next](05_compare_sizes.ipynb) [back](01_generate.ipynb)")
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert "../compare/05_compare_sizes.html" in links
    assert "01_generate.html" in links
    assert not [link for link in links if link.endswith(".ipynb")]


def test_cells_without_result_share_one_fold():
    cells = [
        v4.new_code_cell("a = 1"),
        v4.new_code_cell("b = 2"),
        v4.new_code_cell("print(a)", outputs=[v4.new_output("stream", text="1")]),
        v4.new_code_cell("c = 3"),
        v4.new_markdown_cell("text"),
        v4.new_code_cell("d = 4"),
    ]
    joined = render._join_silent(cells)
    assert [cell.source for cell in joined] == [
        "a = 1\n\nb = 2\n\nprint(a)",
        "c = 3",
        "text",
        "d = 4",
    ]
    assert joined[0].outputs


def test_the_headline_is_the_first_computed_sentence_of_what_we_found():
    cells = [
        v4.new_code_cell("", outputs=[shown(text_markdown="earlier")]),
        v4.new_markdown_cell("## What we found"),
        v4.new_code_cell("", outputs=[shown(text_markdown="\n1. **RAG** raises it.\n2. No.")]),
    ]
    assert render._headline(cells) == "RAG raises it."


def test_the_index_escapes_what_it_lists(tmp_path):
    folders.update_stage(
        tmp_path / "tiny", "04_evaluate", title="<b>t", headline="<script>x</script>"
    )
    (tmp_path / "tiny/04_evaluate.html").write_text("")
    page = Page(render.index(tmp_path).read_text())
    assert "script" not in page.tags
    assert "<script>x</script>" in "".join(page.text)
