"""Three ways to set a parameter agree, and a mistake is named."""

import shutil

import pytest
import yaml
from pydantic import ValidationError

from cutoff import params, paths
from cutoff.errors import CutoffError

SIZES = sorted(path.stem for path in (paths.root() / "params").glob("*.yaml"))
SIZES.remove("defaults")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the parameter files, to be changed."""
    shutil.copytree(paths.root() / "params", tmp_path / "params")
    monkeypatch.setenv("CUTOFF_ROOT", str(tmp_path))
    return tmp_path / "params"


def test_defaults_file_holds_every_parameter_and_says_what_the_less_obvious_mean():
    content = yaml.safe_load((paths.root() / "params/defaults.yaml").read_text())
    assert set(content) == set(params.NAMES)
    meanings = params.meanings()
    assert set(meanings) <= set(params.NAMES) and len(meanings) > 0.9 * len(params.NAMES)
    assert meanings["size"] == "which params/<size>.yaml"
    assert "seeded fictional papers" in meanings["paper_source"]  # goes on in the next line


@pytest.mark.parametrize("size", SIZES)
def test_every_size_loads(size):
    assert params.load(size).size == size


def test_command_line_file_and_cell_agree(folder):
    line = params.load("tiny", {"learning_rate": params.parse("learning_rate", "2e-3")})
    cell = params.resolve({"size": "tiny", "limit": None, "learning_rate": 0.002})
    with open(folder / "tiny.yaml", "a") as file:
        file.write("\nlearning_rate: 2e-3\n")
    assert line == cell == params.load("tiny")


def test_a_size_may_extend_another(folder):
    (folder / "mine.yaml").write_text("size: mine\nextends: tiny-xs\ntop_k: 2\n")
    mine = params.load("mine")
    assert (mine.size, mine.top_k, mine.base_model) == ("mine", 2, "phantom-xs")
    assert mine.passage_tokens == params.load("tiny").passage_tokens
    for extended in ("mine", "tinny"):
        (folder / "mine.yaml").write_text(f"size: mine\nextends: {extended}\n")
        with pytest.raises(CutoffError, match=f"no size '{extended}'"):
            params.load("mine")


def test_a_changed_parameter_moves_its_stage_and_the_later_ones_only():
    before, after = params.load("tiny"), params.load("tiny", {"lora_rank": 5})
    moved = [s for s in params.STAGES if before.hash_for(s) != after.hash_for(s)]
    assert moved == ["finetune", "export", "evaluate", "compare"]


def test_the_data_set_depends_on_its_own_parameters_and_not_on_the_size():
    p = params.load("tiny")
    assert paths.dataset_id(p) != paths.dataset_id(params.load("tiny", {"seed": 1}))
    for other in ({"lora_rank": 5}, {"output_dir": "elsewhere"}):
        assert paths.dataset_id(p) == paths.dataset_id(params.load("tiny", other))


def test_a_variable_of_a_later_cell_is_not_a_misspelt_parameter():
    """Somebody runs the cells of an open notebook again."""
    session = {
        "In": ["", 'size = "tiny"\nlimit = None', "p = 1 + 1\nepochs = 99 + 1", "n = count()"],
        "size": "tiny",
        "limit": None,
        "epochs": 100,
        "n": 240,
        "_i": "text",
    }
    assert params.resolve(session) == params.load("tiny")
    session["In"].append("# Parameters\nepochs = 7\n")
    session["epochs"] = 7
    assert params.resolve(session).epochs == 7
    session["In"].append("epoch = 7")
    session["epoch"] = 7
    with pytest.raises(CutoffError, match="'epoch' in the parameters cell; did you mean 'epochs'"):
        params.resolve(session)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("lora_rank", 8.0, "a whole number from 1 to 1024"),
        ("lora_rank", True, "a whole number"),
        ("lora_rank", None, "a whole number"),
        ("lora_rank", "8", "a whole number"),
        ("lora_dropout", float("nan"), "a number from 0 to 0.9"),
        ("lora_dropout", -0.1, "a number"),
        ("lora_dropout", True, "a number"),
        ("learning_rate", float("inf"), "a number"),
        ("deadline_minutes", 0, "a number of at least 0.1 or null"),
        ("base_model", " ", "a text"),
        ("base_model", 5, "a text"),
        ("top_k", [3], "a whole number"),
        ("lr_scheduler", "Cosine", "one of cosine, linear, constant"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_its_place_and_what_is_allowed(name, value, allowed):
    with pytest.raises(CutoffError, match=f"{name} = .* in the overrides: must be {allowed}"):
        params.load("tiny", {name: value})


def test_values_that_yaml_takes_for_something_else_are_what_was_meant(folder):
    with open(folder / "tiny.yaml", "a") as file:
        file.write("\npost_from: 2024-12-01\nlora_dropout: 0\nlearning_rate: 1e-4\n")
    p = params.load("tiny")
    assert (p.post_from, p.lora_dropout, p.learning_rate) == ("2024-12-01", 0.0, 1e-4)


def test_parameters_cannot_be_changed_after_loading():
    p = params.load("tiny")
    with pytest.raises(ValidationError, match="frozen"):
        p.lora_rank = 3
    p.as_dict()["lora_rank"] = 99
    assert p.lora_rank == params.load("tiny").lora_rank


def test_a_secret_is_revealed_at_use_and_never_stored(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "hidden")
    p = params.load("tiny", {"base_model": "${SOME_KEY}"})
    assert "hidden" not in repr(p) + repr(p.as_dict())
    assert params.reveal(p.base_model) == "hidden"
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(CutoffError, match="SOME_KEY is not set"):
        params.reveal(p.base_model)


@pytest.mark.parametrize("value", ["sk-123-secret", "", 5, "x${OPENAI_API_KEY}"])
@pytest.mark.parametrize("name", [name for name in params.NAMES if "key" in name])
def test_a_key_itself_is_refused_and_not_repeated(name, value):
    with pytest.raises(CutoffError, match=f"^{name} in the overrides: must be the name") as raised:
        params.load("tiny", {name: value})
    assert "sk-123" not in str(raised.value) + repr(raised.value.__context__)
    assert getattr(params.load("tiny", {name: "${MY_KEY}"}), name) == "${MY_KEY}"
