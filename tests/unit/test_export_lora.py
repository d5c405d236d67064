"""GGUF adapters: llama.cpp with base file and adapter is llama.cpp with the merged file."""

import json
from pathlib import Path

import gguf
import pytest
import small_families
import torch

from cutoff.errors import CutoffError
from cutoff.export import gguf_writer

PROMPT = torch.randint(10, 700, (40,), generator=torch.Generator().manual_seed(2)).tolist()


def divergence(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Kullback-Leibler divergence of two next-token distributions, in nats."""
    return float((expected.exp() * (expected - found)).sum())


@pytest.fixture(scope="module")
def llama_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_families.build("llama", False, tmp_path_factory.mktemp("llama") / "base")


@pytest.mark.parametrize(("family", "use_rslora"), [("qwen2", False), ("llama", True)])
def test_base_file_with_adapter_predicts_what_the_merged_file_does(
    family: str, use_rslora: bool, tmp_path: Path
) -> None:
    base = small_families.build(family, family == "qwen2", tmp_path / "base")
    adapter = small_families.random_adapter(base, tmp_path / "adapter", use_rslora=use_rslora)
    gguf_writer.write_gguf(base, None, tmp_path / "base.gguf")
    gguf_writer.write_gguf(base, adapter, tmp_path / "merged.gguf")
    assert gguf_writer.write_lora_gguf(base, adapter, tmp_path / "x.lora.gguf")
    with small_families.llama_cpp(tmp_path / "base.gguf") as server:
        plain = server.logprobs(PROMPT)
    with small_families.llama_cpp(tmp_path / "merged.gguf") as server:
        merged = server.logprobs(PROMPT)
    with small_families.llama_cpp(tmp_path / "base.gguf", tmp_path / "x.lora.gguf") as server:
        adapted = server.logprobs(PROMPT)
    assert divergence(merged, plain) > 0.1
    assert divergence(merged, adapted) < 1e-4


def test_the_file_is_small_and_says_what_it_is(llama_base: Path, tmp_path: Path) -> None:
    adapter = small_families.random_adapter(llama_base, tmp_path / "adapter")
    gguf_writer.write_gguf(llama_base, None, tmp_path / "base.gguf")
    gguf_writer.write_lora_gguf(llama_base, adapter, tmp_path / "x.lora.gguf")
    reader = gguf.GGUFReader(tmp_path / "x.lora.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.type"] == "adapter"
    assert fields["adapter.type"] == "lora"
    assert fields["adapter.lora.alpha"] == 8
    assert fields["general.architecture"] == "llama"
    names = {tensor.name for tensor in reader.tensors}
    assert len(names) == 2 * 7 * 2  # two factors, seven projections, two layers
    assert {"blk.0.attn_q.weight.lora_a", "blk.1.ffn_down.weight.lora_b"} <= names
    n_weights = sum(int(tensor.n_elements) for tensor in reader.tensors)
    assert (tmp_path / "x.lora.gguf").stat().st_size < 2 * n_weights + 10_000


def test_a_finished_adapter_is_made_again_only_when_it_changed(
    llama_base: Path, tmp_path: Path
) -> None:
    adapter, target = (
        small_families.random_adapter(llama_base, tmp_path / "adapter"),
        tmp_path / "x.lora.gguf",
    )
    assert gguf_writer.write_lora_gguf(llama_base, adapter, target)
    assert not gguf_writer.write_lora_gguf(llama_base, adapter, target)
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_alpha": 16}))
    assert gguf_writer.write_lora_gguf(llama_base, adapter, target)


def test_an_adapter_of_another_model_is_refused(
    llama_base: Path, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(CutoffError, match="fits no linear layer"):
        gguf_writer.write_lora_gguf(llama_base, adapter, tmp_path / "x.lora.gguf")
    assert not (tmp_path / "x.lora.gguf").exists()
