"""Modelfiles: the template renders what the model was trained on, or none is written."""

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import go_template
import pytest
import small_families
from transformers import AutoTokenizer

from cutoff import params, prompts
from cutoff.chat_template import DATE, load_tokenizer
from cutoff.errors import CutoffError
from cutoff.export import modelfile
from cutoff.models import Files

TOKENIZERS: dict[str, Callable[[], Any]] = {
    "qwen2": lambda: small_families.qwen_tokenizer(small_families.QWEN2_TEMPLATE),
    "qwen3": lambda: small_families.qwen_tokenizer(small_families.QWEN3_TEMPLATE),
    "llama": small_families.llama_tokenizer,
}
CHATS = (
    prompts.render_closed_book("What is {{ .Role }}?"),
    prompts.render_rag("What?\n\nWho?", ["A <|x|> b.", "  C\n"]),
    [{"role": "user", "content": "no system message"}],
)


@pytest.fixture(params=TOKENIZERS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the tokenizer of one family."""
    TOKENIZERS[request.param]().save_pretrained(tmp_path / request.param)
    return tmp_path / request.param


def rendered(folder: Path, messages: list[dict[str, str]]) -> str:
    tokenizer = load_tokenizer(folder)
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return str(text).removeprefix(tokenizer.bos_token or "")


def test_the_template_renders_every_prompt_as_the_tokenizer_does(
    folder: Path, base_model: Path
) -> None:
    for tokenizer in (folder, base_model):
        template = modelfile.go_template(tokenizer)
        for messages in CHATS:
            assert go_template.render(template, messages) == rendered(tokenizer, messages)
        assert "begin_of_text" not in template  # Ollama adds it itself


def test_a_default_system_text_is_written_only_without_a_system_message(tmp_path: Path) -> None:
    TOKENIZERS["qwen2"]().save_pretrained(tmp_path)
    template = modelfile.go_template(tmp_path)
    assert "You are a test model." not in go_template.render(template, CHATS[0])
    assert go_template.render(template, CHATS[2]).startswith(
        "<|im_start|>system\nYou are a test model.<|im_end|>\n<|im_start|>user\nno system"
    )


def test_thinking_is_off_whatever_a_server_passes(tmp_path: Path) -> None:
    """Servers pass ``enable_thinking``, and with llama.cpp it is on unless said otherwise."""
    TOKENIZERS["qwen3"]().save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    for passed in ({}, {"enable_thinking": True}):
        text = tokenizer.apply_chat_template(
            CHATS[0], add_generation_prompt=True, tokenize=False, **passed
        )
        assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert modelfile.go_template(tmp_path).endswith("<think>\n\n</think>\n\n")


def test_the_date_in_a_prompt_is_always_the_same(tmp_path: Path) -> None:
    TOKENIZERS["llama"]().save_pretrained(tmp_path)
    as_on_the_hub = AutoTokenizer.from_pretrained(tmp_path)
    today = as_on_the_hub.apply_chat_template(CHATS[0], tokenize=False)
    assert f"Today Date: {datetime.now():%d %b %Y}" in today  # why the template is changed
    tokenizer = load_tokenizer(tmp_path)
    for passed in ({}, {"date_string": "01 Jan 2030"}):
        text = tokenizer.apply_chat_template(CHATS[0], tokenize=False, **passed)
        assert f"Today Date: {DATE}\n" in text and "2030" not in text


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "chat_template.jinja"
    changed = path.read_text().replace(old, new)
    assert changed != path.read_text()
    path.write_text(changed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("message['content'] +", "message['content'].replace('U1', 'U3') +"),
        ("message['content'] +", "message['content']|upper +"),
        ("for message in messages", "for message in messages[-4:]"),
        ("message['role'] +", "message['role'] + loop.index|string +"),
        ("assistant\\n' }}", "assistant\\n' + (messages|length)|string }}"),
        ("assistant\\n' }}", "assistant\\n{{' }}"),
        ("<|im_end|>' +", "<|endoftext|>' +"),
    ],
)
def test_a_template_that_go_would_render_differently_is_refused(
    base_model: Path, tmp_path: Path, old: str, new: str
) -> None:
    other = Path(shutil.copytree(base_model, tmp_path / "other"))
    change(other, old, new)
    with pytest.raises(CutoffError, match="No Go template is known.*provider llama_cpp"):
        modelfile.go_template(other)


def test_a_turn_that_does_not_end_at_the_end_token_is_refused(
    base_model: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(base_model, tmp_path / "other"))
    tokenizer = AutoTokenizer.from_pretrained(other)
    tokenizer.eos_token = tokenizer.pad_token
    tokenizer.save_pretrained(other)
    assert tokenizer.eos_token != "<|im_end|>"
    with pytest.raises(CutoffError, match="servers would not stop"):
        modelfile.go_template(other)


def test_stop_tokens_are_those_of_tokenizer_and_generation_config(tmp_path: Path) -> None:
    tokenizer = TOKENIZERS["llama"]()
    tokenizer.save_pretrained(tmp_path)
    p = params.load("tiny", {})
    assert modelfile.parameters(p, tmp_path)["stop"] == ["<|eot_id|>"]
    names = ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]
    ids = tokenizer.convert_tokens_to_ids(names)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    assert sorted(modelfile.parameters(p, tmp_path)["stop"]) == sorted(names)


def test_the_file_names_weights_and_adapter_relative_to_itself(
    base_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "with a blank"
    weights, lora = folder / "models/base.Q4_K_M.gguf", folder / "models/rag_ft.lora.gguf"
    weights.parent.mkdir(parents=True)
    weights.touch()
    p = params.load("tiny", {"num_ctx": 777, "max_new_tokens": 99, "temperature": 0.25})
    target = folder / "Modelfile.rag_ft"
    text = modelfile.write_modelfile(base_model, Files(weights, weights, lora), target, p)
    assert target.read_text() == text
    lines = text.splitlines()
    assert lines[:2] == ["FROM ./models/base.Q4_K_M.gguf", "ADAPTER ./models/rag_ft.lora.gguf"]
    assert (folder / lines[0].removeprefix("FROM ")).samefile(weights)
    assert f'TEMPLATE """{modelfile.go_template(base_model)}"""' in text
    expected = ("temperature 0.25", "top_p 0.9", "repeat_penalty 1", "num_ctx 777")
    for line in (*expected, "num_predict 99", 'stop "<|im_end|>"'):
        assert f"PARAMETER {line}" in lines
    alone = Files(weights, weights, None)
    assert "ADAPTER" not in modelfile.write_modelfile(base_model, alone, target, p)
