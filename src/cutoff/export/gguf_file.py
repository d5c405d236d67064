"""A GGUF file on disk: written tensor by tensor, complete or not there, with its origin inside.

Memory holds one tensor at a time, whatever the size of the model.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, LazyNumpyTensor

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.export import file_facts

MADE_FROM_KEY = "cutoff.made_from"
HEADER_BYTES = 50_000_000  # tokens and merges of the largest vocabularies

TYPES = {  # numpy has no bfloat16: its bits travel as integers
    GGMLQuantizationType.F32: (torch.float32, np.float32),
    GGMLQuantizationType.F16: (torch.float16, np.float16),
    GGMLQuantizationType.BF16: (torch.bfloat16, np.int16),
}


def add_tensor(
    writer: gguf.GGUFWriter,
    name: str,
    shape: tuple[int, ...],
    kind: GGMLQuantizationType,
    read: Callable[[], torch.Tensor],
) -> None:
    """Add a tensor whose values ``read`` gives, in float32, when it is its turn to be written."""
    meta = LazyNumpyTensor.meta_with_dtype_and_shape(TYPES[kind][1], shape)
    convert: Callable[..., Any] = _converted
    tensor: Any = LazyNumpyTensor(meta=meta, args=(name, kind, read), func=convert)
    writer.add_tensor(name, tensor, raw_dtype=kind)


def _converted(name: str, kind: GGMLQuantizationType, read: Callable[[], torch.Tensor]) -> Any:
    values, (dtype, as_array) = read(), TYPES[kind]
    limit = torch.finfo(dtype).max
    low, high = values.aminmax()
    if not -limit <= low <= high <= limit:  # nor when one of them is no number
        wider = " Set export_dtype to BF16." if dtype == torch.float16 else ""
        raise OverflowError(f"{name} holds values that {kind.name} cannot express.{wider}")
    return values.to(dtype).contiguous().view(torch.uint8).numpy().view(as_array)


def write(target: Path, writer: gguf.GGUFWriter, made_from: str, kind: str) -> None:
    """Write ``target``, with its facts beside it; it appears only when it is complete.

    ``writer`` has been given the metadata and the tensors; ``made_from`` and ``kind`` are facts.
    """
    (tensors,) = writer.tensors
    files.make_folder(target.parent)
    require_space(target, HEADER_BYTES + sum(tensor.nbytes for tensor in tensors.values()))
    writer.add_string(MADE_FROM_KEY, made_from)
    partial = target.with_name(f".{target.name}.partial")
    try:
        writer.write_header_to_file(partial)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(partial, target)
    except OverflowError as error:
        raise CutoffError(f"{target.name} cannot be written: {error}") from None
    except OSError as error:
        reason = error.strerror or "the disk may be full"
        raise CutoffError(f"Cannot write {target}: {reason}.") from None
    finally:
        with suppress(OSError):  # a full disk is reported once
            writer.close()
        partial.unlink(missing_ok=True)
    matrices = Counter(t.dtype.name for t in tensors.values() if len(t.shape) > 1)
    n_parameters = sum(prod(tensor.shape) for tensor in tensors.values())
    file_facts.note(target, made_from, kind, n_parameters, matrices)


def require_space(target: Path, n_bytes: int) -> None:
    """Raise ``CutoffError`` where ``n_bytes`` do not fit beside what lies there already."""
    free = shutil.disk_usage(target.parent).free
    if n_bytes > free:
        raise CutoffError(
            f"{target.name} needs {n_bytes / 1e9:.1f} GB in {target.parent}, where "
            f"{free / 1e9:.1f} GB are free. Free some space or choose another output_dir."
        )
