"""Modelfiles: the template renders what the model was trained on, or none is written."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from cutoff import prompts
from cutoff.errors import CutoffError
from cutoff.export import modelfile


def test_the_template_renders_every_prompt_as_the_tokenizer_does(base_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    assert modelfile.go_template(base_model) == modelfile.CHATML
    for messages in (
        prompts.render_closed_book("What is {{ .Role }}?"),
        prompts.render_rag("What?\n\nWho?", ["A <|x|> b.", "  C\n"]),
    ):
        expected = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        assert modelfile.render_chatml(messages) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [("<|im_end|>' + '\\n'", "<|im_end|>'"), ("message['content']", "message['content'].strip()")],
)
def test_a_template_that_differs_in_a_blank_is_refused(
    base_model: Path, tmp_path: Path, old: str, new: str
) -> None:
    other = Path(shutil.copytree(base_model, tmp_path / "other"))
    path = other / "chat_template.jinja"
    changed = path.read_text().replace(old, new)
    assert changed != path.read_text()
    path.write_text(changed)
    with pytest.raises(CutoffError, match="not ChatML"):
        modelfile.go_template(other)


def test_another_end_of_turn_token_is_refused(base_model: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base_model, tmp_path / "other"))
    path = other / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": "<|endoftext|>"}))
    with pytest.raises(CutoffError, match="not ChatML"):
        modelfile.go_template(other)


def test_the_file_names_its_weights_relative_to_itself(base_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "with a blank"
    weights = folder / "models" / "base.Q4_K_M.gguf"
    weights.parent.mkdir(parents=True)
    weights.touch()
    text = modelfile.write_modelfile(base_model, weights, folder / "Modelfile.base", num_ctx=777)
    assert (folder / "Modelfile.base").read_text() == text
    lines = text.splitlines()
    assert lines[0] == "FROM ./models/base.Q4_K_M.gguf"
    assert (folder / lines[0].removeprefix("FROM ")).samefile(weights)
    for line in ("temperature 0", "num_ctx 777", 'stop "<|im_end|>"'):
        assert f"PARAMETER {line}" in lines
