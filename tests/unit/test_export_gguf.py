"""The GGUF file: an independent reader finds the same model, tokenizer and template in it."""

import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from cutoff.errors import CutoffError
from cutoff.export import gguf_writer, merge

N_TOKENS = 48


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def logits(model: torch.nn.Module) -> torch.Tensor:
    tokens = torch.randint(3, 1000, (2, N_TOKENS), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(tokens).logits


def logits_of_gguf(path: Path) -> torch.Tensor:
    """transformers' own GGUF reader, which shares no code with the writer.

    float16 holds the bfloat16 weights of a base model exactly; a merged sum is rounded, which
    moves logits (standard deviation 3) by 0.01 at most.
    """
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    return logits(model)


def field(path: Path, name: str) -> object:
    found = gguf.GGUFReader(path).get_field(name)
    return None if found is None else found.contents()


@pytest.fixture
def untied_model(base_model: Path, tmp_path: Path) -> Path:
    """Random weights with an output matrix of its own, grouped K/V heads and other constants."""
    torch.manual_seed(3)
    config = Qwen2Config(
        vocab_size=1280,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=2,
        rope_parameters={"rope_type": "default", "rope_theta": 50_000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        eos_token_id=2,
    )
    model = Qwen2ForCausalLM(config)
    for name, weight in model.named_parameters():
        if name.endswith("bias") or "norm" in name:  # their initial 0 and 1 would hide mistakes
            torch.nn.init.normal_(weight, mean=0.5, std=0.2)
    folder = tmp_path / "untied"
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base_model).save_pretrained(folder)
    return folder


def test_transformers_reads_the_same_logits_back(base_model: Path, tmp_path: Path) -> None:
    gguf_writer.write_gguf(base_model, None, tmp_path / "base.gguf")
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    expected = logits(model)
    assert expected.std() > 0.5  # otherwise the tolerance would pass anything
    torch.testing.assert_close(logits_of_gguf(tmp_path / "base.gguf"), expected, rtol=0, atol=1e-3)


def test_transformers_reads_the_same_logits_back_from_an_untied_model(
    untied_model: Path, tmp_path: Path
) -> None:
    gguf_writer.write_gguf(untied_model, None, tmp_path / "untied.gguf")
    model = AutoModelForCausalLM.from_pretrained(untied_model, dtype=torch.float32)
    read_back = logits_of_gguf(tmp_path / "untied.gguf")
    torch.testing.assert_close(read_back, logits(model), rtol=0, atol=1e-3)


def test_a_merged_adapter_reads_back_as_the_adapter_beside_the_base_model(
    base_model: Path, adapter: Path, tmp_path: Path
) -> None:
    gguf_writer.write_gguf(base_model, adapter, tmp_path / "tuned.gguf")
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    plain = logits(model)
    tuned = logits(peft.PeftModel.from_pretrained(model, adapter).eval())
    assert (tuned - plain).abs().max() > 0.5
    torch.testing.assert_close(logits_of_gguf(tmp_path / "tuned.gguf"), tuned, rtol=0, atol=0.02)


def test_swapped_rows_would_be_seen(
    base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison above can fail: two rows of one key matrix are enough."""
    read_tensor = merge.read_tensor

    def swap(name: str, *rest: object) -> torch.Tensor:
        weight = read_tensor(name, *rest)  # type: ignore[arg-type]
        if name == "model.layers.0.self_attn.k_proj.weight":
            weight[[0, 32]] = weight[[32, 0]]
        return weight

    monkeypatch.setattr(merge, "read_tensor", swap)
    gguf_writer.write_gguf(base_model, None, tmp_path / "swapped.gguf")
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    assert (logits_of_gguf(tmp_path / "swapped.gguf") - logits(model)).abs().max() > 5e-2


def test_vectors_stay_float32_and_tied_embeddings_are_written_once(
    base_model: Path, tmp_path: Path
) -> None:
    gguf_writer.write_gguf(base_model, None, tmp_path / "base.gguf")
    tensors = gguf.GGUFReader(tmp_path / "base.gguf").tensors
    for tensor in tensors:
        expected = "F32" if len(tensor.shape) == 1 else "F16"
        assert tensor.tensor_type.name == expected, tensor.name
    names = {tensor.name for tensor in tensors}
    assert "output.weight" not in names
    assert {"token_embd.weight", "blk.0.attn_q.bias", "output_norm.weight"} <= names


def test_an_untied_output_matrix_is_written(untied_model: Path, tmp_path: Path) -> None:
    gguf_writer.write_gguf(untied_model, None, tmp_path / "untied.gguf")
    tensors = {t.name: t.data for t in gguf.GGUFReader(tmp_path / "untied.gguf").tensors}
    stored = load_file(untied_model / "model.safetensors")["lm_head.weight"]
    np.testing.assert_array_equal(tensors["output.weight"], stored.to(torch.float16).numpy())


def test_the_tokenizer_inside_is_the_tokenizer_of_the_folder(
    untied_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "untied.gguf"
    gguf_writer.write_gguf(untied_model, None, path)
    tokenizer = AutoTokenizer.from_pretrained(untied_model)
    tokens = field(path, "tokenizer.ggml.tokens")
    types = field(path, "tokenizer.ggml.token_type")
    assert isinstance(tokens, list) and isinstance(types, list)
    assert tokens[: len(tokenizer)] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert len(tokens) == 1280 and len(set(tokens)) == 1280
    assert set(types[len(tokenizer) :]) == {gguf.TokenType.UNUSED}
    control = {i for i, kind in enumerate(types) if kind == gguf.TokenType.CONTROL}
    assert control == set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    assert field(path, "tokenizer.ggml.pre") == "qwen2"
    assert field(path, "tokenizer.ggml.eos_token_id") == tokenizer.eos_token_id
    assert field(path, "tokenizer.ggml.padding_token_id") == tokenizer.pad_token_id
    assert field(path, "tokenizer.ggml.add_bos_token") is False
    assert field(path, "tokenizer.chat_template") == tokenizer.chat_template


def test_an_unsupported_architecture_is_named_with_those_supported(
    base_model: Path, tmp_path: Path
) -> None:
    other = copy_of(base_model, tmp_path)
    change_config(other, architectures=["GemmaForCausalLM"])
    with pytest.raises(CutoffError, match="GemmaForCausalLM.*Qwen2.*Qwen3.*Llama.*convert_hf"):
        gguf_writer.write_gguf(other, None, tmp_path / "other.gguf")


YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e6, "factor": 8.0}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rope_parameters": YARN}, "RoPE scaling yarn"),
        ({"rope_parameters": None, "rope_theta": 1e6, "rope_scaling": YARN}, "RoPE scaling yarn"),
        ({"rope_parameters": LLAMA3}, "RoPE scaling llama3"),  # not with Qwen2 in llama.cpp
        ({"use_sliding_window": True}, "sliding windows"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layers of several types"),
        ({"attention_bias": True, "hidden_act": "gelu"}, "biases of.*or the activation gelu"),
    ],
)
def test_what_the_file_would_not_express_is_refused(
    base_model: Path, tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    other = copy_of(base_model, tmp_path)
    change_config(other, **changes)
    with pytest.raises(CutoffError, match=f"not exported with .*{named}.*supported: default"):
        gguf_writer.write_gguf(other, None, tmp_path / "other.gguf")


def test_an_untied_model_without_output_matrix_is_refused(
    untied_model: Path, tmp_path: Path
) -> None:
    weights = load_file(untied_model / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, untied_model / "model.safetensors")
    with pytest.raises(CutoffError, match="lm_head"):
        gguf_writer.write_gguf(untied_model, None, tmp_path / "other.gguf")


def test_an_unknown_way_of_splitting_text_is_refused() -> None:
    words = {"type": "Split", "pattern": {"Regex": r"\w+|\W"}, "behavior": "Isolated"}
    with pytest.raises(CutoffError, match="splits text"):
        gguf_writer.pre_tokenizer_name({"type": "Sequence", "pretokenizers": [words]})


def test_weights_beyond_float16_are_refused_and_leave_nothing_behind(
    base_model: Path, tmp_path: Path
) -> None:
    other = copy_of(base_model, tmp_path)
    weights = load_file(other / "model.safetensors")
    weights["model.layers.3.mlp.down_proj.weight"][0, 0] = 1e6
    save_file(weights, other / "model.safetensors")
    with pytest.raises(CutoffError, match=r"ffn_down.*F16.*BF16"):
        gguf_writer.write_gguf(other, None, tmp_path / "models" / "other.gguf")
    assert list((tmp_path / "models").iterdir()) == []
    assert gguf_writer.write_gguf(other, None, tmp_path / "models" / "other.gguf", "BF16")


def test_a_finished_file_is_made_again_only_when_its_origin_changed(
    base_model: Path, adapter: Path, tmp_path: Path
) -> None:
    base, path = copy_of(base_model, tmp_path), tmp_path / "m.gguf"
    assert gguf_writer.write_gguf(base, adapter, path)
    first = path.read_bytes()
    assert not gguf_writer.write_gguf(base, adapter, path)
    assert gguf_writer.write_gguf(base, None, path)
    assert gguf_writer.write_gguf(base, adapter, path)
    assert path.read_bytes() == first
    (base / "chat_template.jinja").write_text("{{ messages }}")
    assert gguf_writer.write_gguf(base, adapter, path)


@pytest.mark.parametrize("n_bytes", [0, 100, 20_000])
def test_a_torn_file_is_made_again(base_model: Path, tmp_path: Path, n_bytes: int) -> None:
    path = tmp_path / "base.gguf"
    gguf_writer.write_gguf(base_model, None, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:n_bytes])
    assert gguf_writer.write_gguf(base_model, None, path)
    assert path.read_bytes() == whole
