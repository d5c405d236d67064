"""The house: who may import whom. Reads the imports of every module, those inside functions too."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import cutoff

PACKAGE = Path(cutoff.__file__).parent
STAGES = ("generate", "finetune", "export", "evaluate", "compare")
COMMANDS = ("__main__", "ask", "plan")  # they use whatever they need; nothing uses them
MOST_LINES = 20_200
Graph = dict[str, set[str]]


def read_imports(package: Path) -> Graph:
    """Module -> modules of the package that it imports, without ``if TYPE_CHECKING`` blocks."""
    modules = {
        ".".join(path.relative_to(package).with_suffix("").parts): path
        for path in package.rglob("*.py")
    }
    return {name: _imported(path, set(modules)) for name, path in modules.items()}


def _imported(path: Path, modules: set[str]) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            module = node.module or ""
            found = {f"{module}.{alias.name}" for alias in node.names}
            names |= {name if _inner(name) in modules else module for name in found}
    return {_inner(name) for name in names} & modules


def _inner(name: str) -> str:
    return name.removeprefix("cutoff.") if name.startswith("cutoff.") else ""


def forbidden(graph: Graph) -> list[str]:
    """Every import that the house does not allow, in words."""
    wrong = []
    for name, imported in graph.items():
        top = name.split(".")[0]
        for other in sorted(imported):
            to = other.split(".")[0]
            if to in COMMANDS and top not in (to, "__main__"):
                wrong.append(f"{name} imports the command {other}")
            elif to in STAGES and top not in (*STAGES, *COMMANDS):
                wrong.append(f"{name} is shared and imports {other}")
            elif to in STAGES and top in STAGES and STAGES.index(to) > STAGES.index(top):
                wrong.append(f"{name} imports the later stage {other}")
    return wrong


def circle(graph: Graph) -> list[str]:
    """Modules of a circle of imports, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_what_the_house_forbids() -> None:
    assert forbidden(read_imports(PACKAGE)) == []


def test_no_imports_go_round_in_a_circle() -> None:
    assert circle(read_imports(PACKAGE)) == []


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("models", "from cutoff.evaluate import answering"),
        ("finetune.examples", "def late():\n    import cutoff.export.merge"),
        ("store", "from cutoff.ask import answer"),
    ],
)
def test_a_planted_break_is_found(where: str, line: str, tmp_path: Path) -> None:
    for name in (where, "evaluate.answering", "export.merge", "ask"):
        path = tmp_path / (name.replace(".", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(line if name == where else "")
    assert len(forbidden(read_imports(tmp_path))) == 1


def test_a_planted_circle_is_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def _functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    return [
        (f"{path.relative_to(PACKAGE)}: {node.name}", node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_nobody_has_to_scroll_to_understand_a_function() -> None:
    long = [name for name, node in _functions() if (node.end_lineno or 0) - node.lineno + 1 > 60]
    assert long == []


def test_no_function_takes_more_than_six_parameters() -> None:
    many = []
    for name, node in _functions():
        arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        if sum(argument.arg not in ("self", "cls") for argument in arguments) > 6:
            many.append(name)
    assert many == []


def test_the_package_grows_no_more() -> None:
    """The goal is 15,000 lines. This bound follows every step towards it, and never rises."""
    lines = sum(len(path.read_bytes().splitlines()) for path in PACKAGE.rglob("*.py"))
    assert lines <= MOST_LINES


def test_a_module_has_a_name_of_its_own() -> None:
    names = [path.stem for path in PACKAGE.rglob("*.py") if path.stem != "__init__"]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
