"""The two lists of packages say the same, and the newcomer's documents name real things."""

import re
import shlex
from pathlib import Path

import yaml

from cutoff import params
from cutoff.__main__ import OPTIONS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_everything_is_pinned_with_torch_first_and_conda_installs_the_same():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = [line.split("#")[0].strip() for line in lines if re.match(r"[A-Za-z]", line)]
    assert required[0].startswith("torch==")
    assert all("==" in pin for pin in required)
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert {"pip": ["-r requirements.txt"]} in conda


def test_every_make_target_that_the_readme_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):.*##", makefile, re.MULTILINE))
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    calls = [words for words in lines if words[:1] == ["make"]]
    assert len(calls) >= 5
    for _, *words in calls:
        named = {word for word in words if "=" not in word}
        assert named <= targets, words
        given = dict(word.split("=", 1) for word in words if "=" in word)
        assert set(given) <= {*params.NAMES, *OPTIONS, "PYTHON"}, words
        size = given.pop("size", "tiny")
        params.load(size, {n: params.parse(n, v) for n, v in given.items() if n in params.NAMES})


def test_the_readme_holds_no_command_that_is_not_make():
    """What is not make could not be checked above."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert [line for line in lines if not line.startswith("make ")] == []


def test_the_file_tree_of_the_readme_is_that_of_the_repository():
    (tree,) = re.findall(r"## Where things are\n\n```\n(.*?)```", README, re.DOTALL)
    named = {line.split()[0].rstrip("/") for line in tree.splitlines()}
    assert [name for name in named - {"outputs"} if not (ROOT / name).exists()] == []
    tops = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert tops <= {name.split("/")[0] for name in named}


def test_every_size_file_is_in_the_table_of_the_readme():
    sizes = {path.stem for path in (ROOT / "params").glob("*.yaml")} - {"defaults"}
    assert {size for size in sizes if f"`{size}`" not in README} == set()


def test_every_path_that_the_readme_links_exists():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_ci_runs_the_test_command_of_the_readme():
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert "make test" in README
