"""Every notebook has the common skeleton, whatever notebooks there are."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from cutoff import params
from cutoff.run import stages

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def cells(path):
    return nbformat.read(path, as_version=4).cells


def code(cells):
    return [cell for cell in cells if cell.cell_type == "code"]


def tree(cell):
    lines = ["pass" if x.strip().startswith(("%", "!")) else x for x in cell.source.splitlines()]
    return ast.parse("\n".join(lines))


def test_there_is_one_notebook_per_stage():
    assert [path.stem for path in NOTEBOOKS] == [stage.name for stage in stages.STAGES]


def test_it_is_a_valid_notebook_with_cell_ids(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert "widgets" not in notebook.metadata


def test_it_is_committed_without_outputs(cells):
    for cell in code(cells):
        assert cell.outputs == []
        assert cell.execution_count is None


def test_it_opens_with_title_reads_writes_and_time(path, cells):
    first = cells[0]
    assert first.cell_type == "markdown"
    assert re.match(rf"# {path.stem[:2]} · \S", first.source)
    for word in ("Reads", "Writes", "Time"):
        assert re.search(rf"\*+{word}\*+", first.source), f"{word} is missing"


def test_one_parameters_cell_holds_size_and_limit_and_nothing_else(cells):
    tagged = [c for c in code(cells) if "parameters" in c.metadata.get("tags", [])]
    assert [c.source.strip() for c in tagged] == ['size = "tiny"\nlimit = None']


def test_parameters_are_resolved_before_anything_else_is_set(cells):
    after = code(cells)
    after = after[next(i for i, c in enumerate(after) if "limit = None" in c.source) + 1]
    assert "params.resolve(globals())" in after.source
    assert "provenance()" in after.source


def test_it_opens_its_own_stage(path, cells):
    assert f'folders.open_stage("{path.stem}"' in "\n".join(c.source for c in code(cells))


def test_it_defines_no_function_and_no_class(cells):
    for cell in code(cells):
        for node in ast.walk(tree(cell)):
            kind = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
            assert not isinstance(node, kind), f"{node.name} belongs into src"


def test_code_cells_are_short(cells):
    for cell in code(cells):
        assert len(cell.source.splitlines()) <= 15, cell.source


def test_no_cell_sets_a_parameter_by_accident(cells):
    """A variable with a parameter's name would be taken for the parameter."""
    for cell in code(cells):
        if "parameters" in cell.metadata.get("tags", []):
            continue
        stores = {
            node.id
            for node in ast.walk(tree(cell))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        assert not stores & set(params.NAMES)


def test_sections_are_numbered_and_it_ends_with_findings_limits_and_next(cells):
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    headings = re.findall(r"(?m)^## (.+)$", text)
    headings = [heading for heading in headings if heading != "Provenance"]
    assert headings[-3:] == ["What we found", "Limits", "Next"]
    numbers = [int(found[1]) for h in headings if (found := re.match(r"(\d+) · \S", h))]
    assert numbers == list(range(1, len(headings) - 2))


def test_it_needs_nothing_that_a_report_without_network_cannot_show(cells):
    """No LaTeX and no remote picture: the reports load no script and no file."""
    for cell in cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"\$[^$\n]*\\", cell.source), cell.source
            assert not re.search(r"(!\[[^\]]*\]\(|<img[^>]+src=.)http", cell.source)
