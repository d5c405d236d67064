"""The GGUF file: an independent reader finds the same model, tokenizer and template in it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import peft
import pytest
import small_families
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from cutoff.chat_template import load_tokenizer
from cutoff.errors import CutoffError
from cutoff.export import families, file_facts, gguf_tokenizer, gguf_writer

SEQUENCE = torch.randint(10, 700, (48,), generator=torch.Generator().manual_seed(1)).tolist()
START = "<|im_start|>"  # special, but none of the named special tokens


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def logits(model: torch.nn.Module) -> torch.Tensor:
    """Of one sequence: (tokens, vocabulary)."""
    with torch.no_grad():
        return model(torch.tensor([SEQUENCE])).logits[0]


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def logits_of_gguf(path: Path) -> torch.Tensor:
    """transformers' own GGUF reader, which shares no code with the writer.

    float16 holds the bfloat16 weights of a base model exactly; a merged sum is rounded, which
    moves logits (standard deviation 3) by 0.01 at most.
    """
    return logits(
        AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    )


def field(path: Path, name: str) -> object:
    found = gguf.GGUFReader(path).get_field(name)
    return None if found is None else found.contents()


def test_a_merged_adapter_reads_back_as_the_adapter_beside_the_base_model(
    base_model: Path, adapter: Path, tmp_path: Path
) -> None:
    gguf_writer.write_gguf(base_model, adapter, tmp_path / "tuned.gguf")
    model = load(base_model)
    plain = logits(model)
    tuned = logits(peft.PeftModel.from_pretrained(model, adapter).eval())
    assert (tuned - plain).abs().max() > 0.5
    torch.testing.assert_close(logits_of_gguf(tmp_path / "tuned.gguf"), tuned, rtol=0, atol=0.02)


def served_divergences(path: Path, expected: torch.Tensor) -> list[float]:
    """KL divergence, in nats, of llama.cpp's next token after 1, 5, 20 and all tokens."""
    divergences = []
    with small_families.llama_cpp(path) as server:
        for n in (1, 5, 20, len(SEQUENCE)):
            reference = expected[n - 1].log_softmax(-1)
            served = server.logprobs(SEQUENCE[:n])
            divergences.append(float((reference.exp() * (reference - served)).sum()))
    return divergences


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
def test_llama_cpp_predicts_what_transformers_does(family: str, tied: bool, tmp_path: Path) -> None:
    """Every part counts here: Q/K rows, head widths, biases, norms, scaled RoPE."""
    base = small_families.build(family, tied, tmp_path / "base")
    gguf_writer.write_gguf(base, None, tmp_path / "m.gguf")
    assert max(served_divergences(tmp_path / "m.gguf", logits(load(base)))) < 1e-4


def test_rope_settings_are_found_where_the_hub_and_where_transformers_5_puts_them() -> None:
    theta, scaling = 5000.0, {"rope_type": "llama3", "factor": 8.0}
    new = {"rope_parameters": {"rope_theta": theta, **scaling}}
    old = {"rope_theta": theta, "rope_scaling": scaling}
    oldest = {"rope_theta": theta, "rope_scaling": {"type": "llama3", "factor": 8.0}}
    for config in (new, old, oldest):
        assert families.rope(config).items() >= {"rope_theta": theta, **scaling}.items()


EXPORT_AND_MEASURE = """
import re, sys
from pathlib import Path
from cutoff.export import gguf_writer
base, warm_up, target = map(Path, sys.argv[1:])
def peak():  # in bytes; getrusage would count what the parent had before it started this
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
gguf_writer.write_gguf(warm_up, None, target.with_name("warm.gguf"))
before = peak()
gguf_writer.write_gguf(base, None, target)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_size_of_the_model(tmp_path: Path) -> None:
    """A model of 170 MB, whose largest tensor has 4 MB, never lies in memory whole."""
    warm_up = small_families.build("qwen2", False, tmp_path / "small")
    large = Path(shutil.copytree(warm_up, tmp_path / "large"))
    change_config(
        large, hidden_size=512, intermediate_size=4096, num_hidden_layers=12, layer_types=None
    )
    config = Qwen2Config.from_pretrained(large)
    with torch.device("meta"):
        shapes = {name: w.shape for name, w in Qwen2ForCausalLM(config).named_parameters()}
    weights = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
    save_file(weights, large / "model.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", EXPORT_AND_MEASURE, large, warm_up, tmp_path / "m.gguf"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < (tmp_path / "m.gguf").stat().st_size / 3


def test_a_missing_shard_is_named(base_model: Path, tmp_path: Path) -> None:
    base = copy_of(base_model, tmp_path)
    shards = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (base / "model.safetensors.index.json").write_text(json.dumps(shards))
    with pytest.raises(CutoffError, match="model-00002-of-00002.safetensors cannot be read"):
        gguf_writer.write_gguf(base, None, tmp_path / "m.gguf")


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


def test_the_tokenizer_inside_is_the_tokenizer_of_the_folder(tmp_path: Path) -> None:
    base, path = small_families.build("qwen2", True, tmp_path / "base"), tmp_path / "m.gguf"
    gguf_writer.write_gguf(base, None, path)
    tokenizer, n_rows = load_tokenizer(base), small_families.VOCABULARY
    tokens = field(path, "tokenizer.ggml.tokens")
    types = field(path, "tokenizer.ggml.token_type")
    assert isinstance(tokens, list) and isinstance(types, list)
    assert tokens[: len(tokenizer)] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert len(tokens) == len(set(tokens)) == n_rows > len(tokenizer)
    assert set(types[len(tokenizer) :]) == {gguf.TokenType.UNUSED}
    control = {i for i, kind in enumerate(types) if kind == gguf.TokenType.CONTROL}
    assert control == set(tokenizer.all_special_ids) | {tokenizer.convert_tokens_to_ids(START)}
    expected = {
        "ggml.pre": "qwen2",
        "ggml.eos_token_id": tokenizer.eos_token_id,
        "ggml.padding_token_id": tokenizer.pad_token_id,
        "chat_template": tokenizer.chat_template,
    }
    assert {name: field(path, f"tokenizer.{name}") for name in expected} == expected


@pytest.mark.parametrize(("family", "n_bos"), [("qwen2", 0), ("qwen3", 0), ("llama", 1)])
def test_llama_cpp_reads_odd_texts_and_chats_as_the_tokenizer_does(
    family: str, n_bos: int, tmp_path: Path
) -> None:
    """The Llama template writes a BOS and llama.cpp adds one; the prompt must have one."""
    base = small_families.build(family, True, tmp_path / "base", num_hidden_layers=1)
    tokenizer, path = load_tokenizer(base), tmp_path / "m.gguf"
    gguf_writer.write_gguf(base, None, path)
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why 42?"}]
    trained = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    with small_families.llama_cpp(path) as server:
        for text in (*small_families.ODD_TEXTS, "".join(small_families.ODD_TEXTS)):
            expected = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert server.tokenize(text) == expected, text
        text = server.post("/apply-template", messages=chat)["prompt"]
        assert server.tokenize(text, add_special=True) == trained
        reply = server.post("/v1/chat/completions", messages=chat, max_tokens=1)
        assert reply["usage"]["prompt_tokens"] == len(trained)
    bos = field(path, "tokenizer.ggml.bos_token_id")
    assert trained.count(bos) == n_bos
    assert field(path, "tokenizer.ggml.add_bos_token") is bool(n_bos)


def test_llama_cpp_stops_at_every_token_at_which_transformers_does(tmp_path: Path) -> None:
    base = small_families.build("qwen2", True, tmp_path / "base", num_hidden_layers=1)
    tokenizer = load_tokenizer(base)
    special = {"additional_special_tokens": ["<|done|>", "<|over|>"]}
    tokenizer.add_special_tokens(special)
    tokenizer.save_pretrained(base)
    ids = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>", "<|done|>", "<|over|>"])
    path = base / "generation_config.json"
    path.write_text(json.dumps({"eos_token_id": ids[:3]}))
    gguf_writer.write_gguf(base, None, tmp_path / "m.gguf")
    with small_families.llama_cpp(tmp_path / "m.gguf") as server:
        for token in ids[:3]:
            reply = server.post("/completion", prompt="a", n_predict=5, logit_bias=[[token, 1e6]])
            assert reply["stop_type"] == "eos", token
        reply = server.post("/completion", prompt="a", n_predict=5, logit_bias=[[ids[3], 1e6]])
        assert reply["stop_type"] == "limit"
    path.write_text(json.dumps({"eos_token_id": ids}))
    with pytest.raises(CutoffError, match="<|over|>.*room for one"):
        gguf_writer.write_gguf(base, None, tmp_path / "m.gguf")


YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e6, "factor": 8.0}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architectures": ["GemmaForCausalLM"]}, "Gemma.* is none of Qwen2.*Qwen3.*Llama"),
        ({"rope_parameters": YARN}, "RoPE scaling yarn"),
        ({"rope_parameters": None, "rope_theta": 1e6, "rope_scaling": YARN}, "RoPE scaling yarn"),
        ({"rope_parameters": LLAMA3}, "RoPE scaling llama3"),  # not with Qwen2 in llama.cpp
        ({"rope_parameters": None}, "no rope_theta"),
        ({"use_sliding_window": True}, "sliding windows"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layers of several types"),
        ({"attention_bias": True, "hidden_act": "gelu"}, "biases of.*and the activation gelu"),
    ],
)
def test_what_the_file_would_not_express_is_refused(
    base_model: Path, tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    other = copy_of(base_model, tmp_path)
    change_config(other, **changes)
    with pytest.raises(CutoffError, match=f"cannot be exported: .*{named}"):
        gguf_writer.write_gguf(other, None, tmp_path / "other.gguf")


def test_an_untied_model_without_output_matrix_is_refused(tmp_path: Path) -> None:
    base = small_families.build("qwen2", False, tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, base / "model.safetensors")
    with pytest.raises(CutoffError, match="lm_head"):
        gguf_writer.write_gguf(base, None, tmp_path / "other.gguf")


def test_an_unknown_way_of_splitting_text_is_refused() -> None:
    words = {"type": "Split", "pattern": {"Regex": r"\w+|\W"}, "behavior": "Isolated"}
    with pytest.raises(CutoffError, match="splits text"):
        gguf_tokenizer.pre_tokenizer_name({"type": "Sequence", "pretokenizers": [words]})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda spec: spec["model"].update(ignore_merges=False), "ignore_merges.*llama-bpe"),
        (lambda spec: spec.update(normalizer={"type": "Lowercase"}), "Lowercase"),
        (lambda spec: spec["added_tokens"][1].update(lstrip=True), "end_of_text"),
    ],
)
def test_a_tokenizer_that_llama_cpp_would_not_follow_is_refused(
    change: Callable[[dict[str, Any]], None], named: str, tmp_path: Path
) -> None:
    base = small_families.build("llama", True, tmp_path / "base", num_hidden_layers=1)
    path = base / "tokenizer.json"
    spec = json.loads(path.read_text())
    change(spec)
    path.write_text(json.dumps(spec))
    for refuse in (
        lambda: gguf_tokenizer.require_exportable(base),
        lambda: gguf_writer.write_gguf(base, None, tmp_path / "m.gguf"),
    ):
        with pytest.raises(CutoffError, match=named):
            refuse()


def test_too_little_space_is_an_error_before_anything_is_written(
    base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 0))
    with pytest.raises(CutoffError, match="m.gguf needs 0.1 GB.*0.0 GB are free"):
        gguf_writer.write_gguf(base_model, None, tmp_path / "m.gguf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "model.layers.1.self_attn.k_proj.bias",
            float("nan"),
            r"attn_k.bias.*F32 cannot express\.$",
        ),
        ("model.layers.3.mlp.down_proj.weight", 1e6, "ffn_down.*F16.*BF16"),
    ],
)
def test_weights_that_the_file_cannot_express_are_refused_and_leave_nothing_behind(
    base_model: Path, tmp_path: Path, name: str, value: float, said: str
) -> None:
    other, target = copy_of(base_model, tmp_path), tmp_path / "models" / "other.gguf"
    weights = load_file(other / "model.safetensors")
    weights[name].view(-1)[0] = value
    save_file(weights, other / "model.safetensors")
    with pytest.raises(CutoffError, match=said):
        gguf_writer.write_gguf(other, None, target)
    assert list(target.parent.iterdir()) == []
    if value == 1e6:
        assert gguf_writer.write_gguf(other, None, target, "BF16")


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


@pytest.mark.parametrize("n_bytes", [0, 20_000, -1000])
def test_a_torn_file_is_made_again(base_model: Path, tmp_path: Path, n_bytes: int) -> None:
    path = tmp_path / "base.gguf"
    gguf_writer.write_gguf(base_model, None, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:n_bytes])
    assert gguf_writer.write_gguf(base_model, None, path)
    assert path.read_bytes() == whole
    path.with_suffix(".json").unlink()  # as after a kill between the file and its facts
    assert gguf_writer.write_gguf(base_model, None, path)
    assert not gguf_writer.write_gguf(base_model, None, path)


def test_the_facts_beside_a_file_are_what_the_library_of_the_format_reads(
    base_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "base.F16.gguf"
    gguf_writer.write_gguf(base_model, None, path)
    library, facts = gguf.GGUFReader(path), file_facts.read(path)
    assert facts is not None and facts["kind"] == "F16"
    assert facts["n_parameters"] == sum(int(tensor.n_elements) for tensor in library.tensors)
    matrices = [t.tensor_type.name for t in library.tensors if len(t.shape) > 1]
    assert facts["matrix_types"] == {"F16": len(matrices)}
    made_from = library.fields["cutoff.made_from"].contents()
    assert facts["made_from"] == made_from
    path.write_bytes(path.read_bytes()[:-1])
    assert file_facts.read(path) is None
