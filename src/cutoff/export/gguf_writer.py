"""Hugging Face weights -> a GGUF file of a whole model, or of an adapter to be laid over one.

    write_gguf(base, None, Path("models/base.F16.gguf"))
    write_gguf(base, adapter, Path("models/rag_ft.F16.gguf"))
    write_lora_gguf(base, adapter, Path("models/rag_ft.lora.gguf"))

Matrices become 16-bit; vectors (norms, biases) stay float32, as llama.cpp expects. A finished
file is recognised by the hash of everything that made it, and not made again: the functions
return whether they wrote one.
"""

import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import torch
from gguf import GGMLQuantizationType

from cutoff import files, models
from cutoff.errors import CutoffError
from cutoff.export import families, file_facts, gguf_file, gguf_tokenizer, merge

# Raise this when the same inputs would give another file, so that old files are made again.
WRITER_VERSION = 3

FILE_TYPES = {
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
}
LORA = "lora"
F32 = GGMLQuantizationType.F32


def made_from(base: Path, adapter: Path | None, kind: str) -> str:
    """SHA-256 over the contents of every file that shapes an exported one."""
    hashes = [models.base_sha256(base)]
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if adapter is not None and (adapter / name).is_file():
            hashes.append(files.sha256_file(adapter / name))
    return hashlib.sha256(f"{WRITER_VERSION} {kind} {hashes}".encode()).hexdigest()


def write_gguf(base: Path, adapter: Path | None, target: Path, dtype: str = "F16") -> bool:
    """Write ``target`` from the folder of the base model and, unless ``None``, an adapter.

    ``dtype`` is ``F16`` or ``BF16``.
    """
    origin = made_from(base, adapter, dtype)
    if file_facts.is_made(target, origin, dtype):
        return False
    family, config = families.of_base(base)
    stored = merge.locate_tensors(base)
    lora = None if adapter is None else merge.read_lora(adapter, stored)

    def read(name: str) -> torch.Tensor:
        return families.as_in_file(name, merge.read_tensor(name, stored, lora), config)

    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[family.architecture])
    writer.add_file_type(FILE_TYPES[dtype])
    add_hyperparameters(writer, config)
    gguf_tokenizer.add(writer, base, config["vocab_size"])
    for name, gguf_name in gguf_names(stored, config, family.architecture).items():
        shape = merge.tensor_shape(stored[name], name)
        kind = F32 if len(shape) == 1 else GGMLQuantizationType[dtype]
        gguf_file.add_tensor(writer, gguf_name, shape, kind, partial(read, name))
    if factors := families.rope_factors(config):
        values = torch.tensor(factors, dtype=torch.float32)
        gguf_file.add_tensor(writer, "rope_freqs.weight", values.shape, F32, lambda: values)
    gguf_file.write(target, writer, origin, dtype)
    return True


def write_lora_gguf(base: Path, adapter: Path, target: Path) -> bool:
    """Write the two factors of every update instead of their product, in float16.

    Megabytes where a merged model takes gigabytes; llama.cpp and Ollama compute
    ``W x + alpha / rank * b (a x)`` at every step.
    """
    origin = made_from(base, adapter, LORA)
    if file_facts.is_made(target, origin, LORA):
        return False
    family, config = families.of_base(base)
    lora = merge.read_lora(adapter, stored := merge.locate_tensors(base))
    names = gguf_names(stored, config, family.architecture)

    def read(name: str, half: int) -> torch.Tensor:
        values = lora.factors(name)[half]
        return families.as_in_file(name, values, config) if half == 0 else values

    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[family.architecture])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, lora.alpha)
    for name, keys in lora.keys.items():
        for half, suffix in ((1, "lora_a"), (0, "lora_b")):  # the gguf library expects a before b
            shape = merge.tensor_shape(lora.path, keys[half])
            gguf_name, values = f"{names[name]}.{suffix}", partial(read, name, half)
            gguf_file.add_tensor(writer, gguf_name, shape, GGMLQuantizationType.F16, values)
    gguf_file.write(target, writer, origin, LORA)
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
