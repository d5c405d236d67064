"""A GGUF file on disk: written tensor by tensor, complete or not there, with its origin inside.

Memory holds a slice of one tensor at a time, whatever the size of the model.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import gguf
import torch
from gguf import GGMLQuantizationType

from cutoff import files
from cutoff.errors import CutoffError

HEADER_BYTES = 50_000_000  # tokens and merges of the largest vocabularies
PROGRESS_SECONDS = 15.0

TORCH_TYPES = {
    GGMLQuantizationType.F32: torch.float32,
    GGMLQuantizationType.F16: torch.float16,
    GGMLQuantizationType.BF16: torch.bfloat16,
}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file to be written; ``read`` yields its float32 values, some rows each."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    read: Callable[[], Iterator[torch.Tensor]]

    @property
    def n_bytes(self) -> int:
        """Size in the file."""
        return prod(self.shape) * TORCH_TYPES[self.type].itemsize


def write(
    target: Path,
    architecture: gguf.MODEL_ARCH,
    tensors: list[Tensor],
    add_metadata: Callable[[gguf.GGUFWriter], None],
) -> None:
    """Write ``target``; it appears under its name only when it is complete."""
    files.make_folder(target.parent)
    require_space(target, HEADER_BYTES + sum(tensor.n_bytes for tensor in tensors))
    partial = target.with_name(f".{target.name}.partial")
    writer = gguf.GGUFWriter(partial, gguf.MODEL_ARCH_NAMES[architecture])
    try:
        add_metadata(writer)
        for tensor in tensors:
            dtype: Any = TORCH_TYPES[tensor.type]  # raw_dtype decides
            writer.add_tensor_info(tensor.name, tensor.shape, dtype, tensor.n_bytes, tensor.type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        _append(partial, tensors, target.name)
        os.replace(partial, target)
    except OSError as error:
        reason = error.strerror or "the disk may be full"
        raise CutoffError(f"Cannot write {target}: {reason}.") from None
    finally:
        with suppress(OSError):  # a full disk is reported once
            writer.close()
        partial.unlink(missing_ok=True)


def _append(path: Path, tensors: list[Tensor], shown: str) -> None:
    """The values of all tensors behind the header, each from a multiple of the alignment."""
    progress = Progress(shown, sum(tensor.n_bytes for tensor in tensors))
    with open(path, "ab") as file:
        for tensor in tensors:
            file.write(bytes(-file.tell() % gguf.GGUF_DEFAULT_ALIGNMENT))
            for rows in tensor.read():
                values = _converted(rows, tensor, shown)
                values.contiguous().view(torch.uint8).numpy().tofile(file)
                progress.add(values.nbytes)
        file.write(bytes(-file.tell() % gguf.GGUF_DEFAULT_ALIGNMENT))


def _converted(rows: torch.Tensor, tensor: Tensor, shown: str) -> torch.Tensor:
    """``rows`` in the type of the file; an error where that cannot express them."""
    dtype = TORCH_TYPES[tensor.type]
    limit = torch.finfo(dtype).max
    low, high = rows.aminmax()
    if not -limit <= low <= high <= limit:  # nor when one of them is no number
        wider = " Set export_dtype to BF16." if tensor.type == GGMLQuantizationType.F16 else ""
        raise CutoffError(
            f"{tensor.name} of {shown} holds values that {tensor.type.name} cannot express.{wider}"
        )
    return rows.to(dtype)


def require_space(target: Path, n_bytes: int) -> None:
    """Raise ``CutoffError`` where ``n_bytes`` do not fit beside what lies there already."""
    free = shutil.disk_usage(target.parent).free
    if n_bytes > free:
        raise CutoffError(
            f"{target.name} needs {n_bytes / 1e9:.1f} GB in {target.parent}, where "
            f"{free / 1e9:.1f} GB are free. Free some space or choose another output_dir."
        )


class Progress:
    """A line now and then while a large file is written; a small one is silent."""

    def __init__(self, shown: str, total_bytes: int) -> None:
        self._shown, self._total, self._done = shown, total_bytes, 0
        self._next = time.monotonic() + PROGRESS_SECONDS

    def add(self, n_bytes: int) -> None:
        """``n_bytes`` more are done."""
        self._done += n_bytes
        if time.monotonic() >= self._next:
            print(f"{self._shown}: {self._done / 1e9:.1f} of {self._total / 1e9:.1f} GB")
            self._next = time.monotonic() + PROGRESS_SECONDS
