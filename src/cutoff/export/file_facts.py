"""What is known of a model file, in a small JSON file beside it: ``base.F16.gguf``, ``.json``.

Reading a GGUF header with 150,000 tokens takes half a minute; this takes milliseconds, and
counts only while the file is the one that it was written for.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import TypedDict

from cutoff import files

SAMPLES = 64
SAMPLE_BYTES = 2**16


class Facts(TypedDict):
    """``made_from``: hash of all that shaped the file (a quantised one has its source's).
    ``kind``: F16, BF16, Q4_K_M, Q8_0 or lora. ``matrix_types``: type -> number of matrices,
    most frequent first. ``fingerprint``: of the file."""

    made_from: str
    kind: str
    n_parameters: int
    matrix_types: dict[str, int]
    fingerprint: str


def read(path: Path) -> Facts | None:
    """The facts of the file ``path``; ``None`` if it is missing, torn or not the one noted."""
    beside = path.with_suffix(".json")
    if not (path.is_file() and beside.is_file()):
        return None
    found: Facts = files.read_json(beside)
    return found if found.get("fingerprint") == fingerprint(path) else None


def is_made(path: Path, made_from: str, kind: str) -> bool:
    """Whether ``path`` is finished, of this ``kind`` and of this origin."""
    found = read(path)
    return found is not None and (found["made_from"], found["kind"]) == (made_from, kind)


def note(path: Path, made_from: str, kind: str, n_parameters: int, matrices: Counter[str]) -> None:
    """Write the facts of the finished file ``path`` beside it; ``matrices`` counts types."""
    types = dict(matrices.most_common())
    found = Facts(
        made_from=made_from,
        kind=kind,
        n_parameters=n_parameters,
        matrix_types=types,
        fingerprint=fingerprint(path),
    )
    files.write_json_atomic(path.with_suffix(".json"), found)


def fingerprint(path: Path) -> str:
    """Hash of a file's size and of ``SAMPLES`` pieces spread evenly over it, in milliseconds.

    The first piece of a GGUF file holds the hash of its origin: two models never look alike.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for n in range(SAMPLES):
            file.seek(n * max(size - SAMPLE_BYTES, 0) // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
