"""A GGUF file on disk: written tensor by tensor, complete or not there, with its origin inside.

Memory holds one tensor at a time, whatever the size of the model.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType
from tqdm import tqdm

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.export import file_facts

MADE_FROM_KEY = "cutoff.made_from"
HEADER_BYTES = 50_000_000  # tokens and merges of the largest vocabularies
SILENT_SECONDS = 15.0  # a file that takes longer shows a bar

TORCH_TYPES = {
    GGMLQuantizationType.F32: torch.float32,
    GGMLQuantizationType.F16: torch.float16,
    GGMLQuantizationType.BF16: torch.bfloat16,
}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file to be written; ``read`` gives its values in float32."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    read: Callable[[], torch.Tensor]

    @property
    def n_bytes(self) -> int:
        """Size in the file."""
        return prod(self.shape) * TORCH_TYPES[self.type].itemsize


def write(
    target: Path, writer: gguf.GGUFWriter, tensors: list[Tensor], made_from: str, kind: str
) -> None:
    """Write ``target``, with its facts beside it; it appears only when it is complete.

    ``writer`` has been given the metadata and no path; ``made_from`` and ``kind`` are facts.
    """
    files.make_folder(target.parent)
    require_space(target, HEADER_BYTES + sum(tensor.n_bytes for tensor in tensors))
    writer.add_string(MADE_FROM_KEY, made_from)
    for tensor in tensors:
        any_dtype = np.dtype("float32")  # the next but one argument decides
        writer.add_tensor_info(tensor.name, tensor.shape, any_dtype, tensor.n_bytes, tensor.type)
    partial = target.with_name(f".{target.name}.partial")
    try:
        writer.write_header_to_file(partial)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tqdm(tensors, target.name, unit=" tensors", delay=SILENT_SECONDS):
            writer.write_tensor_data(_converted(tensor, target.name))
        writer.close()
        os.replace(partial, target)
    except OSError as error:
        reason = error.strerror or "the disk may be full"
        raise CutoffError(f"Cannot write {target}: {reason}.") from None
    finally:
        with suppress(OSError):  # a full disk is reported once
            writer.close()
        partial.unlink(missing_ok=True)
    matrices = Counter(tensor.type.name for tensor in tensors if len(tensor.shape) > 1)
    n_parameters = sum(prod(tensor.shape) for tensor in tensors)
    file_facts.note(target, made_from, kind, n_parameters, matrices)


def _converted(tensor: Tensor, shown: str) -> Any:
    """The bytes of the values in the type of the file; an error where it cannot express them."""
    values, dtype = tensor.read(), TORCH_TYPES[tensor.type]
    limit = torch.finfo(dtype).max
    low, high = values.aminmax()
    if not -limit <= low <= high <= limit:  # nor when one of them is no number
        wider = " Set export_dtype to BF16." if tensor.type == GGMLQuantizationType.F16 else ""
        raise CutoffError(
            f"{tensor.name} of {shown} holds values that {tensor.type.name} cannot express.{wider}"
        )
    return values.to(dtype).contiguous().view(torch.uint8).numpy()


def require_space(target: Path, n_bytes: int) -> None:
    """Raise ``CutoffError`` where ``n_bytes`` do not fit beside what lies there already."""
    free = shutil.disk_usage(target.parent).free
    if n_bytes > free:
        raise CutoffError(
            f"{target.name} needs {n_bytes / 1e9:.1f} GB in {target.parent}, where "
            f"{free / 1e9:.1f} GB are free. Free some space or choose another output_dir."
        )
