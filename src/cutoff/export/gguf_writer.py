"""Hugging Face weights and tokenizer -> one GGUF file in F16 or BF16.

    write_gguf(base, None, Path("models/base.F16.gguf"))
    write_gguf(base, adapter, Path("models/rag_ft.F16.gguf"))

Matrices become 16-bit; vectors (norms, biases) stay float32, as llama.cpp expects. A finished
file is recognised by the hash of everything that made it, and not made again.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import gguf
import torch
from gguf import GGMLQuantizationType

from cutoff import files, models
from cutoff.errors import CutoffError
from cutoff.export import families, file_facts, gguf_file, gguf_tokenizer, merge
from cutoff.export.gguf_file import Tensor

# Raise this when the same inputs would give another file, so that old files are made again.
WRITER_VERSION = 3

FILE_TYPES = {
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
}


def made_from(base: Path, adapter: Path | None, kind: str) -> str:
    """SHA-256 over the contents of every file that shapes an exported one."""
    hashes = [models.base_sha256(base)]
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if adapter is not None and (adapter / name).is_file():
            hashes.append(files.sha256_file(adapter / name))
    return hashlib.sha256(f"{WRITER_VERSION} {kind} {hashes}".encode()).hexdigest()


def write_gguf(base: Path, adapter: Path | None, target: Path, dtype: str = "F16") -> bool:
    """Write ``target`` from the folder of the base model and, unless ``None``, an adapter.

    ``dtype`` is ``F16`` or ``BF16``. Returns whether the file was written; ``False`` means
    that a finished file made from the same contents was already there.
    """
    origin = made_from(base, adapter, dtype)
    if file_facts.is_made(target, origin, dtype):
        return False
    family, config = families.of_base(base)
    stored = merge.locate_tensors(base)
    lora = None if adapter is None else merge.read_lora(adapter, stored)

    def read(name: str) -> Iterator[torch.Tensor]:
        if family.interleaved and families.is_rotated(name):
            whole = merge.read_tensor(name, stored, lora)
            yield families.interleave(whole, families.head_dimension(config))
        else:
            yield from merge.read_slices(name, stored, lora)

    tensors = []
    for name, gguf_name in gguf_names(stored, config, family.architecture).items():
        shape = merge.tensor_shape(stored[name], name)
        kind = GGMLQuantizationType.F32 if len(shape) == 1 else GGMLQuantizationType[dtype]
        tensors.append(Tensor(gguf_name, shape, kind, functools.partial(read, name)))
    if factors := families.rope_factors(config):
        kind, values = GGMLQuantizationType.F32, torch.tensor(factors, dtype=torch.float32)
        tensors.append(Tensor("rope_freqs.weight", values.shape, kind, lambda: iter([values])))

    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[family.architecture])
    writer.add_file_type(FILE_TYPES[dtype])
    add_hyperparameters(writer, config)
    gguf_tokenizer.add(writer, base, config["vocab_size"])
    gguf_file.write(target, writer, tensors, origin, dtype)
    return True


def gguf_names(
    tensors: Iterable[str], config: dict[str, Any], architecture: gguf.MODEL_ARCH
) -> dict[str, str]:
    """Hugging Face tensor name -> GGUF tensor name, for every tensor that is written."""
    name_map = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    tied = config.get("tie_word_embeddings")
    names = {}
    for name in tensors:
        if name == "lm_head.weight" and tied:
            continue  # llama.cpp reuses token_embd.weight when output.weight is absent
        if name.endswith("rotary_emb.inv_freq"):
            continue  # computed from the configuration; old files store it
        gguf_name = name_map.get_name(name, try_suffixes=(".weight", ".bias"))
        if gguf_name is None:
            raise CutoffError(f"No GGUF name is known for the base model's tensor {name}.")
        names[name] = gguf_name
    if "lm_head.weight" not in names and not tied:
        raise CutoffError("The model's embeddings are not tied, but it has no lm_head.weight.")
    return names


def add_hyperparameters(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """Dimensions and constants of the network, from ``config.json``."""
    head_dim = families.head_dimension(config)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(families.rope(config)["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
