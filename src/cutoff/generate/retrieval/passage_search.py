"""Retrieval: which passages are put before a question, for a data set and for a live question.

``dense`` compares vectors, exhaustively (``IndexFlatIP`` over unit vectors = cosine), so a
miss is a miss of the embedding model, never of an approximate search. ``bm25`` compares words.
``hybrid`` fuses both rankings. A reranker, where there is one, orders the best of them again.
Equal scores keep the order of the corpus, so equal questions get equal passages everywhere.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cutoff import embeddings, files
from cutoff.embeddings import embed
from cutoff.errors import CutoffError
from cutoff.generate.retrieval import reranker
from cutoff.generate.retrieval.context import fit_context
from cutoff.generate.retrieval.lexical import WordIndex
from cutoff.generate.retrieval.passages import token_counter
from cutoff.generate.retrieval.ranking import RANKS_KEPT, first_gold_rank, quality, recall_curve
from cutoff.params import Params
from cutoff.records import Passage, Ranking, Wording

if TYPE_CHECKING:  # slow to import, and a finished data set does not need it
    import faiss

__all__ = [
    "RANKS_KEPT", "Retriever", "build", "check_vectors", "first_gold_rank", "first_stage", "fuse",
    "load", "quality", "rank", "recall_curve", "relevance", "rerank", "retrieve", "search",
    "token_counter",
]  # fmt: skip

Hits = list[tuple[str, float]]  # passage id and score, best first
Ranked = list[tuple[int, float]]  # position in the corpus and score, best first

INDEX_FILES = ("index.faiss", "index.json")
SAME_VECTOR = 0.999  # cosine; other hardware moves a vector by 1e-6, another model by far more
DIGITS = 5  # of a score; the size of a batch moves it by 1e-7, which must not decide an order
RERANK_DIGITS = 3  # raw outputs reach 10 and more, and move by 1e-5
FUSED = 1000  # depth of the rankings that are fused, as in TREC
FUSION_K = 60  # Cormack et al. (2009)


@dataclass(frozen=True)
class Retriever:
    """A FAISS index whose row i is ``passages[i]``, and the parameters of its use."""

    index: "faiss.Index"
    passages: Sequence[Passage]
    p: Params

    @cached_property
    def words(self) -> WordIndex:
        return WordIndex([passage["text"] for passage in self.passages])


# --- the index ---------------------------------------------------------------------------


def build(passages: Sequence[Passage], p: Params, folder: Path) -> Retriever:
    """Embed the passages and write ``index.faiss`` and its identity ``index.json``."""
    import faiss

    texts = [passage["text"] for passage in passages]
    vectors = embed(texts, p.embedding_model, cache=embeddings.cache_of(p))
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    files.write_bytes_atomic(folder / "index.faiss", faiss.serialize_index(index).tobytes())
    files.write_json_atomic(folder / "index.json", _identity(passages, p.embedding_model))
    return Retriever(index, passages, p)


def load(passages: Sequence[Passage], p: Params, folder: Path) -> Retriever:
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
    wanted, found = _identity(passages, p.embedding_model), files.read_json(folder / "index.json")
    if index.ntotal != len(passages) or found["passages_sha256"] != wanted["passages_sha256"]:
        raise CutoffError(
            f"{path} was made from other passages than those of passages.jsonl; "
            "run 01_generate with force=1."
        )
    if found["embedding_model"] != p.embedding_model:
        raise CutoffError(
            f"{path} was made by {found['embedding_model']}, not by {p.embedding_model}; "
            "run 01_generate with force=1."
        )
    return Retriever(index, passages, p)


def check_vectors(retriever: Retriever) -> None:
    """Embed the first and last passage again; raises ``CutoffError`` if the index disagrees.

    A name can stay while the weights behind it change.
    """
    for row in {0, len(retriever.passages) - 1}:
        fresh = embed([retriever.passages[row]["text"]], retriever.p.embedding_model)[0]
        stored = retriever.index.reconstruct(row)
        if fresh.shape != stored.shape or float(fresh @ stored) < SAME_VECTOR:
            raise CutoffError(
                f"The index was made by other weights than {retriever.p.embedding_model} has now; "
                "run 01_generate with force=1."
            )


def _identity(passages: Sequence[Passage], embedding_model: str) -> dict[str, str]:
    digest = hashlib.sha256()
    for passage in passages:
        digest.update(f"{passage['passage_id']}\0{passage['text']}\0".encode("utf-8", "replace"))
    return {"embedding_model": embedding_model, "passages_sha256": digest.hexdigest()}


# --- finding -----------------------------------------------------------------------------


def search(retriever: Retriever, questions: Sequence[str], k: int) -> list[Hits]:
    """The best ``k`` passages of each question: (passage id, score), best first.

    The score is the one that gave a passage its place: the reranker's output, else cosine,
    BM25, or the sum of reciprocal ranks. The first passages do not depend on ``k``.
    """
    p = retriever.p
    depth = max(k, p.rerank_candidates if p.reranker_model else 0)
    ranked = first_stage(retriever, questions, p.retriever, depth)
    if p.reranker_model:
        scores = relevance(retriever, questions, ranked, p.rerank_candidates)
        ranked = [rerank(*pair) for pair in zip(ranked, scores, strict=True)]
    return [
        [(retriever.passages[row]["passage_id"], score) for row, score in rows[:k]]
        for rows in ranked
    ]


def retrieve(retriever: Retriever, question: str) -> list[dict[str, Any]]:
    """The passages for a live question: records of the corpus, ``text`` fitted, and ``score``.

    They are those that the data set stores for the same question: the same search, and the
    same ``fit_context`` over the same ``top_k`` passages.
    """
    p = retriever.p
    (hits,) = search(retriever, [question], p.top_k)
    passage_of = {passage["passage_id"]: passage for passage in retriever.passages}
    found: list[dict[str, Any]] = [
        {**passage_of[passage_id], "score": score} for passage_id, score in hits
    ]
    count_tokens = token_counter(p.embedding_model, p.passage_tokens)
    fitted = fit_context([passage["text"] for passage in found], p.context_tokens, count_tokens)
    return [passage | {"text": text} for passage, text in zip(found, fitted, strict=True)]


def rank(retriever: Retriever, questions: Sequence[Wording], depth: int) -> list[Ranking]:
    """Rankings of all questions as records of ``retrieval.jsonl``.

    Training contexts, evaluation contexts and recall are all read from these records, so the
    retriever that is measured is the retriever that is used. ``cosines`` say how near in
    meaning each passage is, whatever it was ranked by.
    """
    check_vectors(retriever)
    texts = [question["question"] for question in questions]
    found = search(retriever, texts, depth)
    by_cosine = retriever.p.retriever == "dense" and not retriever.p.reranker_model
    cosines = _cosines(retriever, texts, found) if not by_cosine else found
    return [
        {
            "question_id": question["question_id"],
            "passage_ids": [passage_id for passage_id, _ in hits],
            "cosines": [round(cosine, 4) for _, cosine in near],
        }
        for question, hits, near in zip(questions, found, cosines, strict=True)
    ]


def _cosines(retriever: Retriever, questions: Sequence[str], found: Sequence[Hits]) -> list[Hits]:
    """``found`` with the cosine of question and passage in place of the score."""
    row_of = {passage["passage_id"]: row for row, passage in enumerate(retriever.passages)}
    result = []
    for vector, hits in zip(_question_vectors(retriever, questions), found, strict=True):
        rows = np.array([row_of[passage_id] for passage_id, _ in hits], np.int64)
        near = retriever.index.reconstruct_batch(rows) @ vector
        result.append(
            [(name, cosine) for (name, _), cosine in zip(hits, near.tolist(), strict=True)]
        )
    return result


def first_stage(
    retriever: Retriever, questions: Sequence[str], kind: str, depth: int
) -> list[Ranked]:
    """Rankings by ``kind`` (dense, bm25 or hybrid), ``depth`` passages or all there are."""
    if kind == "dense":
        return _by_vectors(retriever, questions, depth)
    if kind == "bm25":
        return _by_words(retriever, questions, depth)
    by_vectors = _by_vectors(retriever, questions, FUSED)
    by_words = _by_words(retriever, questions, FUSED)
    return [fuse(pair)[:depth] for pair in zip(by_vectors, by_words, strict=True)]


def fuse(rankings: Sequence[Ranked]) -> Ranked:
    """Reciprocal rank fusion: the score of a passage is the sum of 1 / (60 + its rank).

    A passage without a single word of the question (BM25 score 0) has no rank among words.

    Cormack GV, Clarke CLA, Buettcher S (2009). Reciprocal rank fusion outperforms Condorcet
    and individual rank learning methods. Proceedings of SIGIR 2009, 758-759.
    """
    total: dict[int, float] = {}
    for ranking in rankings:
        for place, (row, score) in enumerate(ranking, start=1):
            if score != 0:
                total[row] = total.get(row, 0.0) + 1 / (FUSION_K + place)
    return _in_order(list(total.items()), digits=12)


def relevance(
    retriever: Retriever, questions: Sequence[str], ranked: Sequence[Ranked], candidates: int
) -> list[list[float]]:
    """What the reranker says of the first ``candidates`` of each ranking, in their order."""
    texts = [passage["text"] for passage in retriever.passages]
    pairs = [
        (question, texts[row])
        for question, rows in zip(questions, ranked, strict=True)
        for row, _ in rows[:candidates]
    ]
    scores = reranker.scores(retriever.p.reranker_model or "", pairs).tolist()
    ends = np.cumsum([len(rows[:candidates]) for rows in ranked]).tolist()
    return [scores[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def rerank(ranked: Ranked, scores: Sequence[float]) -> Ranked:
    """The first of ``ranked`` by their new ``scores``, then those that have none, in their order.

    Scores that are equal to 3 digits keep the order of the ranking.
    """
    first = [(row, score) for (row, _), score in zip(ranked, scores, strict=False)]
    first.sort(key=lambda found: -round(found[1], RERANK_DIGITS))
    return first + ranked[len(first) :]


def _in_order(found: Ranked, digits: int = DIGITS) -> Ranked:
    """By score, best first; equal scores in the order of the corpus."""
    return sorted(found, key=lambda entry: (-round(entry[1], digits), entry[0]))


def _question_vectors(retriever: Retriever, questions: Sequence[str]) -> np.ndarray:
    p = retriever.p
    return embed(questions, p.embedding_model, "question", embeddings.cache_of(p))


def _by_vectors(retriever: Retriever, questions: Sequence[str], depth: int) -> list[Ranked]:
    if not questions:
        return []
    vectors = _question_vectors(retriever, questions)
    n_passages = retriever.index.ntotal
    wanted = min(depth, n_passages)
    fetched = min(wanted + 8, n_passages)
    while True:
        cosines, rows = retriever.index.search(vectors, fetched)
        last, kept = np.round(cosines[:, [-1, wanted - 1]].T, DIGITS)
        if fetched == n_passages or (last < kept).all():  # no tie reaches beyond what was fetched
            break
        fetched = min(2 * fetched, n_passages)
    return [
        _in_order(list(zip(r, c, strict=True)))[:wanted]
        for r, c in zip(rows.tolist(), cosines.tolist(), strict=True)
    ]


def _by_words(retriever: Retriever, questions: Sequence[str], depth: int) -> list[Ranked]:
    result = []
    for question in questions:
        scores = retriever.words.scores(question)
        rows = np.argsort(-np.round(scores, DIGITS), kind="stable")[:depth]
        result.append(list(zip(rows.tolist(), scores[rows].tolist(), strict=True)))
    return result
