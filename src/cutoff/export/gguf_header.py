"""What a GGUF file says about itself, read in a fraction of a second.

``gguf.GGUFReader`` makes an array of every token and every merge, which takes half a minute
with the 150,000 tokens of a Qwen; here they are skipped.
Source: the specification, docs/gguf.md of ggml (version 3, little-endian).
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import gguf
from gguf import GGMLQuantizationType, GGUFValueType

from cutoff.errors import CutoffError

# Where the exporter notes the hash of everything that made a file.
MADE_FROM_KEY = "cutoff.made_from"

NUMBERS = {
    GGUFValueType.UINT8: "<B",
    GGUFValueType.INT8: "<b",
    GGUFValueType.UINT16: "<H",
    GGUFValueType.INT16: "<h",
    GGUFValueType.UINT32: "<I",
    GGUFValueType.INT32: "<i",
    GGUFValueType.FLOAT32: "<f",
    GGUFValueType.BOOL: "<?",
    GGUFValueType.UINT64: "<Q",
    GGUFValueType.INT64: "<q",
    GGUFValueType.FLOAT64: "<d",
}


@dataclass(frozen=True)
class Header:
    """``values``: metadata but for arrays; ``tensors``: name -> (type, shape as in GGUF)."""

    values: dict[str, Any]
    tensors: dict[str, tuple[GGMLQuantizationType, tuple[int, ...]]]


def read(path: Path) -> Header:
    """The header of a complete GGUF file; ``CutoffError`` if it is none, torn or missing."""
    try:
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _parse(data)
    except (OSError, ValueError, struct.error, IndexError) as error:
        raise CutoffError(f"{path} is not a complete GGUF file ({error}). Make it again.") from None


def recorded(path: Path, key: str) -> Any:
    """One metadata value; ``None`` if the key or the file is missing or the file is torn."""
    try:
        return read(path).values.get(key)
    except CutoffError:
        return None


class _Cursor:
    """A position in the file that moves on with everything read."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def number(self, form: str) -> Any:
        """The next number, in the notation of ``struct``."""
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self) -> str:
        """The next text."""
        n = self.number("<Q")
        self.at += n
        return self.data[self.at - n : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """The next value of a kind; ``None`` for an array, which is skipped."""
        if kind == GGUFValueType.STRING:
            return self.text()
        if kind != GGUFValueType.ARRAY:
            return self.number(NUMBERS[GGUFValueType(kind)])
        inner, n = self.number("<I"), self.number("<Q")
        if inner == GGUFValueType.STRING:
            unpack, at, data = struct.Struct("<Q").unpack_from, self.at, self.data
            for _ in range(n):
                at += 8 + unpack(data, at)[0]
            self.at = at
        else:
            self.at += n * struct.calcsize(NUMBERS[GGUFValueType(inner)])
        return None


def _parse(data: mmap.mmap) -> Header:
    cursor = _Cursor(data)
    if cursor.number("<I") != gguf.GGUF_MAGIC or cursor.number("<I") not in (2, 3):
        raise ValueError("it does not begin as one")
    n_tensors, n_values = cursor.number("<Q"), cursor.number("<Q")
    values = {}
    for _ in range(n_values):
        key = cursor.text()
        values[key] = cursor.value(cursor.number("<I"))
    alignment = values.get(gguf.Keys.General.ALIGNMENT, gguf.GGUF_DEFAULT_ALIGNMENT)
    tensors = {}
    end = 0
    for _ in range(n_tensors):
        name = cursor.text()
        shape = tuple(cursor.number("<Q") for _ in range(cursor.number("<I")))
        kind = GGMLQuantizationType(cursor.number("<I"))
        per_block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        end = max(end, cursor.number("<Q") + prod(shape) // per_block * block_bytes)
        tensors[name] = (kind, shape)
    begin = cursor.at + -cursor.at % alignment
    if begin + end > len(data):
        raise ValueError(f"{begin + end - len(data)} bytes are missing")
    return Header(values, tensors)
