"""Chat templates of the supported families: what is trained is what a server asks for."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from cutoff import prompts
from cutoff.errors import CutoffError
from cutoff.finetune import base, examples

# Small templates of the three forms, written for these tests.
QWEN2 = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
LLAMA3 = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
    "{% if m.role == 'system' %}{{ 'Today Date: ' + date_string + '\n\n' }}{% endif %}"
    "{{ m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
HEADERS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
FAMILIES = {
    "qwen2": (QWEN2, CHATML, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}),
    "qwen3": (QWEN3, CHATML, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}),
    "llama3": (
        LLAMA3,
        [*HEADERS, "<|finetune_right_pad_id|>"],
        {"eos_token": "<|eot_id|>", "bos_token": "<|begin_of_text|>"},
    ),
}
BEGINNING = {
    "qwen2": "<|im_start|>assistant\n",
    "qwen3": "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "llama3": "<|start_header_id|>assistant<|end_header_id|>\n\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a byte-level tokenizer with a family's template and special tokens."""

    def write(template: str, specials: list[str], named: dict[str, str]) -> Path:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocabulary = {token: n for n, token in enumerate([*alphabet, *specials])}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(specials)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template, **named}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return tmp_path

    return write


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_last_trained_token_is_the_one_that_ends_a_turn_and_never_the_padding(
    folder: Callable[..., Path], family: str
) -> None:
    tokenizer = base.load_tokenizer(folder(*FAMILIES[family]))
    end = examples.end_of_turn(tokenizer)
    assert tokenizer.convert_ids_to_tokens(end) == FAMILIES[family][2]["eos_token"]
    assert tokenizer.pad_token_id not in (None, end)
    record = {"example_id": "e", "completion": "It is."}
    example = examples.tokenize(
        {**record, "messages": prompts.render_closed_book("Q?")}, tokenizer
    )  # fmt: skip
    assert example["labels"][-1] == example["input_ids"][-1] == end


def test_trained_prompts_are_the_servers_whatever_day_it_is(
    folder: Callable[..., Path], family: str
) -> None:
    tokenizer = base.load_tokenizer(folder(*FAMILIES[family]))
    messages = prompts.render_closed_book("What is it?")
    record = {"example_id": "e", "completion": "It is.", "messages": messages}
    example = examples.tokenize(record, tokenizer)
    prompt, answer = (
        "".join(piece["text"] for piece in examples.segments(example, tokenizer)
                if piece["trained"] == trained)
        for trained in (False, True)
    )  # fmt: skip
    assert prompt.endswith(BEGINNING[family]), "an answer begins where the served one does"
    assert answer == "It is." + FAMILIES[family][2]["eos_token"]
    # What a server renders that passes nothing but the messages.
    served = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert served == prompt
    if family == "llama3":
        assert "Today Date: 26 Jul 2024" in prompt
        assert prompt.count("<|begin_of_text|>") == 1


def test_a_tokenizer_without_padding_gets_the_token_that_it_reserves_for_it(
    folder: Callable[..., Path],
) -> None:
    tokenizer = base.load_tokenizer(folder(*FAMILIES["llama3"]))
    assert tokenizer.pad_token == "<|finetune_right_pad_id|>"


def test_a_tokenizer_without_any_token_for_padding_is_an_error_that_says_where_to_name_one(
    folder: Callable[..., Path],
) -> None:
    tokenizer = base.load_tokenizer(folder(LLAMA3, HEADERS, FAMILIES["llama3"][2]))
    with pytest.raises(CutoffError, match="pad_token in its tokenizer_config.json"):
        examples.end_of_turn(tokenizer)
