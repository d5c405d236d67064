"""Quantisation: real K-quants, the same bytes every time, finished files recognised."""

import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf
import pytest
import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from cutoff.errors import CutoffError
from cutoff.export import file_facts, gguf_writer, weights


def matrix_types(path: Path) -> dict[str, int]:
    """Those of the facts, which come from the quantiser's log, held against the file itself."""
    facts = file_facts.read(path)
    tensors = gguf.GGUFReader(path).tensors
    in_file = Counter(t.tensor_type.name for t in tensors if len(t.shape) > 1)
    assert facts is not None and facts["matrix_types"] == in_file
    return facts["matrix_types"]


@pytest.fixture(scope="module")
def f16(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "base.F16.gguf"
    gguf_writer.write_gguf(base_model, None, path)
    return path


@pytest.mark.parametrize(
    ("quantization", "types", "share"),
    [("Q4_K_M", {"Q4_K", "Q6_K"}, 0.4), ("Q8_0", {"Q8_0"}, 0.6)],
)
def test_a_quantised_file_has_its_types_and_size(
    quantization: str, types: set[str], share: float, f16: Path, tmp_path: Path
) -> None:
    target = tmp_path / "base.gguf"
    assert weights.quantise(f16, target, quantization)
    assert set(matrix_types(target)) == types
    assert share - 0.1 < target.stat().st_size / f16.stat().st_size < share


def test_quantising_twice_gives_the_same_bytes(f16: Path, tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        weights.quantise(f16, tmp_path / name, "Q4_K_M")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_a_finished_file_is_not_made_again_until_its_source_changes(
    base_model: Path, adapter: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "m.F16.gguf", tmp_path / "m.Q4_K_M.gguf"
    gguf_writer.write_gguf(base_model, None, source)
    assert weights.quantise(source, target, "Q4_K_M")
    assert not weights.quantise(source, target, "Q4_K_M")
    gguf_writer.write_gguf(base_model, adapter, source)
    assert weights.quantise(source, target, "Q4_K_M")


def test_rows_that_no_k_quant_fits_show_up_in_the_types(base_model: Path, tmp_path: Path) -> None:
    """Qwen2.5-0.5B has rows of 896 = 3.5 * 256; here 288."""
    config = Qwen2Config(
        vocab_size=1280,
        hidden_size=288,
        intermediate_size=512,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=True,
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path / "odd")
    AutoTokenizer.from_pretrained(base_model).save_pretrained(tmp_path / "odd")
    gguf_writer.write_gguf(tmp_path / "odd", None, tmp_path / "odd.F16.gguf")
    weights.quantise(tmp_path / "odd.F16.gguf", tmp_path / "odd.Q4_K_M.gguf", "Q4_K_M")
    types = matrix_types(tmp_path / "odd.Q4_K_M.gguf")
    assert types.pop("Q6_K") == 1  # the rows of 512 of the down projection
    assert sum(types.values()) == 7 and not types.keys() & {"Q4_K", "Q6_K"}  # rows of 288


def test_a_missing_a_foreign_and_a_torn_source_are_refused(f16: Path, tmp_path: Path) -> None:
    (tmp_path / "foreign.gguf").write_bytes(b"not a model")
    shutil.copy(f16.with_suffix(".json"), tmp_path / "torn.json")
    (tmp_path / "torn.gguf").write_bytes(f16.read_bytes()[:-100_000])
    for name in ("missing.gguf", "foreign.gguf", "torn.gguf"):
        with pytest.raises(CutoffError, match=name):
            weights.quantise(tmp_path / name, tmp_path / "out.gguf", "Q4_K_M")


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """The system refuses to write a file beyond ``n_bytes``, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_leaves_an_error_and_no_file(
    base_model: Path, f16: Path, tmp_path: Path
) -> None:
    with file_size_limit(1_000_000):
        with pytest.raises(
            CutoffError, match=r"base.F16.gguf could not be quantised .*failed to.*disk full"
        ):
            weights.quantise(f16, tmp_path / "x.gguf", "Q4_K_M")
        with pytest.raises(CutoffError, match="Cannot write .*m.gguf"):
            gguf_writer.write_gguf(base_model, None, tmp_path / "m.gguf")
    assert list(tmp_path.iterdir()) == []
