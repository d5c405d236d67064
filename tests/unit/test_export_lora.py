"""GGUF adapters: llama.cpp with base file and adapter is llama.cpp with the merged file."""

from pathlib import Path

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


def test_an_adapter_of_another_model_is_refused(
    llama_base: Path, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(CutoffError, match="fits no linear layer"):
        gguf_writer.write_lora_gguf(llama_base, adapter, tmp_path / "x.lora.gguf")
    assert not (tmp_path / "x.lora.gguf").exists()
