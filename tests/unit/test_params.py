"""Three ways to set a parameter agree, and a mistake is named."""

import pytest
import yaml

from cutoff import params, paths
from cutoff.errors import CutoffError


def test_defaults_file_and_table_hold_the_same_names():
    content = yaml.safe_load((paths.root() / "params/defaults.yaml").read_text())
    assert list(content) == list(params.TABLE) or set(content) == set(params.TABLE)


@pytest.mark.parametrize(
    "path", sorted((paths.root() / "params").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_size_loads(path):
    if path.stem != "defaults":
        assert params.load(path.stem).size == path.stem


def test_every_parameter_of_the_defaults_has_its_type():
    p = params.load("tiny")
    for name, value in p.as_dict().items():
        assert value is None or type(value) is params.TABLE[name].type


def test_command_line_file_and_cell_agree(tmp_path, monkeypatch):
    line = params.load("tiny", {"learning_rate": params.parse("learning_rate", "2e-3", "line")})
    cell = params.resolve({"size": "tiny", "limit": None, "learning_rate": 0.002})
    (tmp_path / "params").mkdir()
    for name in ("defaults", "tiny"):
        text = (paths.root() / f"params/{name}.yaml").read_text()
        if name == "tiny":
            text = text.replace("learning_rate:", "# was:") + "\nlearning_rate: 2e-3\n"
        (tmp_path / f"params/{name}.yaml").write_text(text)
    monkeypatch.setenv("CUTOFF_ROOT", str(tmp_path))
    assert line.as_dict() == cell.as_dict() == params.load("tiny").as_dict()


def test_a_changed_parameter_moves_its_stage_and_the_later_ones_only():
    before, after = params.load("tiny"), params.load("tiny", {"lora_rank": 5})
    moved = [s for s in params.STAGES if before.hash_for(s) != after.hash_for(s)]
    assert moved == ["finetune", "export", "evaluate", "compare"]


def test_the_data_set_depends_on_its_own_parameters_and_not_on_the_size():
    p = params.load("tiny")
    assert paths.dataset_id(p) != paths.dataset_id(params.load("tiny", {"seed": 1}))
    assert paths.dataset_id(p) == paths.dataset_id(params.load("tiny", {"lora_rank": 5}))
    assert paths.dataset_id(p) == paths.dataset_id(params.load("tiny", {"output_dir": "elsewhere"}))


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
    assert params.resolve(session).as_dict() == params.load("tiny").as_dict()
    session["In"].append("# Parameters\nepochs = 7\n")
    session["epochs"] = 7
    assert params.resolve(session).epochs == 7
    session["In"].append("epoch = 7")
    session["epoch"] = 7
    with pytest.raises(CutoffError, match="'epoch' in the parameters cell; did you mean 'epochs'"):
        params.resolve(session)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lora_rank", 8.0),
        ("lora_rank", True),
        ("lora_rank", None),
        ("lora_rank", "8"),
        ("lora_dropout", float("nan")),
        ("lora_dropout", -0.1),
        ("learning_rate", float("inf")),
        ("base_model", ""),
        ("base_model", 5),
        ("top_k", [3]),
        ("lr_scheduler", "Cosine"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_place(name, value):
    with pytest.raises(CutoffError, match=f"{name} = .* in the overrides"):
        params.load("tiny", {name: value})


def test_a_whole_number_is_a_number():
    assert params.load("tiny", {"lora_dropout": 0}).lora_dropout == 0.0


def test_parameters_cannot_be_changed_after_loading():
    p = params.load("tiny")
    with pytest.raises(AttributeError, match="read only"):
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
def test_a_key_itself_is_refused_and_not_repeated(value):
    with pytest.raises(CutoffError, match="api_key in the overrides: must be the name") as raised:
        params.load("tiny", {"api_key": value})
    assert "sk-123" not in str(raised.value)
    assert params.load("tiny", {"api_key": "${MY_KEY}"}).api_key == "${MY_KEY}"
