"""A PEFT LoRA adapter -> a GGUF adapter, which llama.cpp and Ollama lay over a base file.

    write_lora_gguf(base, adapter, Path("models/rag_ft.lora.gguf"))

It holds the two factors of every update instead of their product: megabytes where a merged
model takes gigabytes. llama.cpp computes ``W x + alpha / rank * b (a x)`` at every step.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import gguf
import torch

from cutoff.export import families, file_facts, gguf_file, gguf_writer, merge
from cutoff.export.gguf_file import Tensor

KIND = "lora"


def write_lora_gguf(base: Path, adapter: Path, target: Path) -> bool:
    """Write ``target`` from the folders of the base model and of its adapter.

    Returns whether the file was written; ``False`` means that a finished file made from the
    same contents was already there. The factors are stored in float16.
    """
    origin = gguf_writer.made_from(base, adapter, KIND)
    if file_facts.is_made(target, origin, KIND):
        return False
    family, config = families.of_base(base)
    stored = merge.locate_tensors(base)
    lora = merge.read_lora(adapter, stored)
    names = gguf_writer.gguf_names(stored, config, family.architecture)

    def read(name: str, half: int) -> Iterator[torch.Tensor]:
        values = lora.factors(name)[half]
        rotated = half == 0 and family.interleaved and families.is_rotated(name)
        yield families.interleave(values, families.head_dimension(config)) if rotated else values

    tensors = []
    for name, keys in lora.keys.items():
        for half, suffix in ((1, "lora_a"), (0, "lora_b")):  # the gguf library expects a before b
            shape = merge.tensor_shape(lora.path, keys[half])
            values = functools.partial(read, name, half)
            kind = gguf.GGMLQuantizationType.F16
            tensors.append(Tensor(f"{names[name]}.{suffix}", shape, kind, values))

    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[family.architecture])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, lora.alpha)
    gguf_file.write(target, writer, tensors, origin, KIND)
    return True
