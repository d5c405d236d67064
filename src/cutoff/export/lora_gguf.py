"""A PEFT LoRA adapter -> a GGUF adapter, which llama.cpp and Ollama lay over a base file.

    write_lora_gguf(base, adapter, Path("models/rag_ft.lora.gguf"))

It holds the two factors of every update instead of their product: megabytes where a merged
model takes gigabytes. llama.cpp computes ``W x + alpha / rank * b (a x)`` at every step.
"""

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import gguf
import torch

from cutoff.export import families, gguf_writer, merge
from cutoff.export.gguf_file import Tensor, write
from cutoff.export.gguf_header import MADE_FROM_KEY, recorded

# Raise this when the same inputs would give another file, so that old files are made again.
WRITER_VERSION = 1


def made_from(base: Path, adapter: Path) -> str:
    """SHA-256 over what shapes the file: the base model's configuration and the adapter."""
    files = [base / "config.json", adapter / "adapter_config.json"]
    files.append(adapter / "adapter_model.safetensors")
    hashes = [gguf_writer.sha256(path) for path in files if path.is_file()]
    return hashlib.sha256(f"lora_gguf {WRITER_VERSION} {hashes}".encode()).hexdigest()


def write_lora_gguf(base: Path, adapter: Path, target: Path) -> bool:
    """Write ``target`` from the folders of the base model and of its adapter.

    Returns whether the file was written; ``False`` means that a finished file made from the
    same contents was already there. The factors are stored in float16.
    """
    origin = made_from(base, adapter)
    if recorded(target, MADE_FROM_KEY) == origin:
        return False
    config = merge.read_config(base)
    family = families.family(config, base)
    stored = merge.locate_tensors(base)
    lora = merge.read_lora(adapter, stored)
    names = gguf_writer.gguf_names(stored, config, family.architecture)

    def read(name: str, half: int) -> Iterator[torch.Tensor]:
        values = lora.factors(name)[half]
        rotated = half == 0 and family.interleaved and families.is_rotated(name)
        yield families.interleave(values, families.head_dimension(config)) if rotated else values

    tensors = []
    for name, keys in lora.keys.items():
        # The gguf library expects a before b.
        for half, suffix in ((1, "lora_a"), (0, "lora_b")):
            shape = merge.tensor_shape(lora.path, keys[half])
            reader = functools.partial(read, name, half)
            tensors.append(
                Tensor(f"{names[name]}.{suffix}", shape, gguf.GGMLQuantizationType.F16, reader)
            )

    def add_metadata(writer: gguf.GGUFWriter) -> None:
        writer.add_string(MADE_FROM_KEY, origin)
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, lora.alpha)

    write(target, family.architecture, tensors, add_metadata)
    return True
