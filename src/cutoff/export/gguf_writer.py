"""Hugging Face weights -> a GGUF file of a whole model, or of an adapter to be laid over one.

Matrices become 16-bit; vectors (norms, biases) stay float32, as llama.cpp expects. Memory holds
one tensor at a time. A file appears when it is complete, with the hash of everything that made
it, and is not made again: the functions return whether they wrote one.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, LazyNumpyTensor

from cutoff import files, models
from cutoff.errors import CutoffError
from cutoff.export import families, file_facts, gguf_tokenizer, merge

# Raise this when the same inputs would give another file, so that old files are made again.
WRITER_VERSION = 3
MADE_FROM_KEY = "cutoff.made_from"
HEADER_BYTES = 50_000_000  # tokens and merges of the largest vocabularies
LORA = "lora"
F32 = GGMLQuantizationType.F32
TYPES = {  # numpy has no bfloat16: its bits travel as integers
    F32: (torch.float32, np.float32),
    GGMLQuantizationType.F16: (torch.float16, np.float16),
    GGMLQuantizationType.BF16: (torch.bfloat16, np.int16),
}


def made_from(base: Path, adapter: Path | None, kind: str) -> str:
    """SHA-256 over the contents of every file that shapes an exported one."""
    hashes = [models.base_sha256(base)]
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if adapter is not None and (adapter / name).is_file():
            hashes.append(files.sha256_file(adapter / name))
    return hashlib.sha256(f"{WRITER_VERSION} {kind} {hashes}".encode()).hexdigest()


def write_gguf(base: Path, adapter: Path | None, target: Path, dtype: str = "F16") -> bool:
    """Write the model in ``base``, with ``adapter`` merged into it unless ``None``.

    ``dtype`` is ``F16`` or ``BF16``. Raises ``CutoffError`` where the file would be another model.
    """
    origin = made_from(base, adapter, dtype)
    if file_facts.is_made(target, origin, dtype):
        return False
    config = families.config_of(base)
    stored = merge.locate_tensors(base)
    lora = None if adapter is None else merge.read_lora(adapter, stored)

    def read(name: str) -> torch.Tensor:
        return families.as_in_file(name, merge.read_tensor(name, stored, lora), config)

    writer = _open(config)
    writer.add_file_type(getattr(gguf.LlamaFileType, f"MOSTLY_{dtype}"))
    _add_hyperparameters(writer, config)
    gguf_tokenizer.add(writer, base, config["vocab_size"])
    for name, gguf_name in gguf_names(list(stored), config).items():
        shape = merge.tensor_shape(stored[name], name)
        kind = F32 if len(shape) == 1 else GGMLQuantizationType[dtype]
        _add_tensor(writer, gguf_name, shape, kind, partial(read, name))
    if factors := families.rope_factors(config):
        values = torch.tensor(factors, dtype=torch.float32)
        _add_tensor(writer, "rope_freqs.weight", values.shape, F32, lambda: values)
    _write(target, writer, origin, dtype)
    return True


def write_lora_gguf(base: Path, adapter: Path, target: Path) -> bool:
    """Write the two factors of every update instead of their product, in float16.

    Megabytes where a merged model takes gigabytes; llama.cpp and Ollama compute
    ``W x + alpha / rank * b (a x)`` at every step.
    """
    origin = made_from(base, adapter, LORA)
    if file_facts.is_made(target, origin, LORA):
        return False
    config = families.config_of(base)
    lora = merge.read_lora(adapter, stored := merge.locate_tensors(base))
    names = gguf_names(list(stored), config)

    def read(name: str, half: int) -> torch.Tensor:
        values = lora.factors(name)[half]
        return families.as_in_file(name, values, config) if half == 0 else values

    writer = _open(config)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, lora.alpha)
    for name, keys in lora.keys.items():
        for half, suffix in ((1, "lora_a"), (0, "lora_b")):  # the gguf library expects a before b
            shape = merge.tensor_shape(lora.path, keys[half])
            values = partial(read, name, half)
            gguf_name = f"{names[name]}.{suffix}"
            _add_tensor(writer, gguf_name, shape, GGMLQuantizationType.F16, values)
    _write(target, writer, origin, LORA)
    return True


def gguf_names(tensors: list[str], config: dict[str, Any]) -> dict[str, str]:
    """Hugging Face tensor name -> GGUF tensor name, for every tensor that is written."""
    architecture = families.family(config).architecture
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


def _open(config: dict[str, Any]) -> gguf.GGUFWriter:
    return gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[families.family(config).architecture])


def _add_hyperparameters(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
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


def _add_tensor(
    writer: gguf.GGUFWriter,
    name: str,
    shape: tuple[int, ...],
    kind: GGMLQuantizationType,
    read: Callable[[], torch.Tensor],
) -> None:
    """Add a tensor whose float32 values ``read`` gives when it is its turn to be written."""

    def converted(*_: Any) -> Any:
        values, (dtype, as_array) = read(), TYPES[kind]
        limit = torch.finfo(dtype).max
        low, high = values.aminmax()
        if not -limit <= low <= high <= limit:  # nor when one of them is no number
            wider = " Set export_dtype to BF16." if dtype == torch.float16 else ""
            raise OverflowError(f"{name} holds values that {kind.name} cannot express.{wider}")
        return values.to(dtype).contiguous().view(torch.uint8).numpy().view(as_array)

    meta = LazyNumpyTensor.meta_with_dtype_and_shape(TYPES[kind][1], shape)
    convert: Any = converted
    tensor: Any = LazyNumpyTensor(meta=meta, args=(name,), func=convert)
    writer.add_tensor(name, tensor, raw_dtype=kind)


def _write(target: Path, writer: gguf.GGUFWriter, origin: str, kind: str) -> None:
    """Write the metadata and tensors given to ``writer``, then the facts beside the file."""
    (tensors,) = writer.tensors
    files.make_folder(target.parent)
    files.require_space(target, HEADER_BYTES + sum(tensor.nbytes for tensor in tensors.values()))
    writer.add_string(MADE_FROM_KEY, origin)
    unfinished = target.with_name(f".{target.name}.partial")
    try:
        writer.write_header_to_file(unfinished)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(unfinished, target)
    except OverflowError as error:
        raise CutoffError(f"{target.name} cannot be written: {error}") from None
    except OSError as error:
        reason = error.strerror or "the disk may be full"
        raise CutoffError(f"Cannot write {target}: {reason}.") from None
    finally:
        with suppress(OSError):  # a full disk is reported once
            writer.close()
        unfinished.unlink(missing_ok=True)
    matrices = Counter(t.dtype.name for t in tensors.values() if len(t.shape) > 1)
    n_parameters = sum(prod(tensor.shape) for tensor in tensors.values())
    file_facts.note(target, origin, kind, n_parameters, matrices)
