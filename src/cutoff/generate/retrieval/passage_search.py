"""Retrieval: which passages are put before a question, for a data set and for a live question.

``dense`` compares vectors, exhaustively (``IndexFlatIP`` over unit vectors = cosine), so a
miss is a miss of the embedding model, never of an approximate search. ``bm25`` compares words.
``hybrid`` fuses both rankings. A reranker, where there is one, orders the best of them again.
Equal scores keep the order of the corpus, so equal questions get equal passages everywhere.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cutoff import embeddings, files
from cutoff.errors import CutoffError
from cutoff.generate.retrieval import lexical, reranker
from cutoff.generate.retrieval.context import fit_context
from cutoff.generate.retrieval.passages import token_counter
from cutoff.params import Params
from cutoff.records import Passage, Ranking, Wording

if TYPE_CHECKING:  # slow to import, and a finished data set does not need it
    import faiss

Ranked = list[tuple[int, float]]  # position in the corpus and score, best first

KINDS = ("dense", "bm25", "hybrid")
INDEX_FILES = ("index.faiss", "index.json")
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
    def word_scores(self) -> Callable[[str], np.ndarray]:
        return lexical.scorer([passage["text"] for passage in self.passages])


# --- the index ---------------------------------------------------------------------------


def build(passages: Sequence[Passage], p: Params, folder: Path) -> Retriever:
    """Embed the passages and write ``index.faiss`` and its identity ``index.json``."""
    import faiss

    texts = [passage["text"] for passage in passages]
    vectors = embeddings.embed(texts, p.embedding_model, cache=embeddings.cache_of(p))
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    files.write_bytes_atomic(folder / "index.faiss", faiss.serialize_index(index).tobytes())
    files.write_json_atomic(folder / "index.json", _identity(passages, p))
    return Retriever(index, passages, p)


def load(passages: Sequence[Passage], p: Params, folder: Path) -> Retriever:
    """Read the index of ``folder`` and check that it belongs to this corpus and this model.

    Raises ``CutoffError`` if it was made from other passages or by other weights, whatever they
    are called: a stale index answers without complaint, and what it finds is without meaning.
    """
    import faiss

    path = folder / "index.faiss"
    try:
        index = faiss.deserialize_index(np.fromfile(path, dtype=np.uint8))
    except (OSError, RuntimeError):
        raise CutoffError(f"{path} is missing or damaged; run 01_generate with force=1.") from None
    wanted, found = _identity(passages, p), files.read_json(folder / "index.json")
    same = {name: found.get(name) == value for name, value in wanted.items()}
    if index.ntotal != len(passages) or not all(same.values()):
        what = f"by other weights than {p.embedding_model} has now"
        if same["embedding_weights"]:
            what = "from other passages than those of passages.jsonl"
        raise CutoffError(f"{path} was made {what}; run 01_generate with force=1.")
    return Retriever(index, passages, p)


def _identity(passages: Sequence[Passage], p: Params) -> dict[str, str]:
    digest = hashlib.sha256()
    for passage in passages:
        digest.update(f"{passage['passage_id']}\0{passage['text']}\0".encode("utf-8", "replace"))
    weights = embeddings.model_identity(p.embedding_model)
    return {"embedding_weights": weights, "passages_sha256": digest.hexdigest()}


# --- finding -----------------------------------------------------------------------------


def search(
    retriever: Retriever, questions: Sequence[str], k: int, p: Params | None = None
) -> list[list[tuple[str, float]]]:
    """The best ``k`` passages of each question: (passage id, score), best first.

    The score is the one that gave a passage its place: the reranker's output, else cosine, BM25,
    or the sum of reciprocal ranks. ``p``: settings other than the retriever's own.
    """
    names = [passage["passage_id"] for passage in retriever.passages]
    ranked = _ranked(retriever, questions, k, p or retriever.p)
    return [[(names[row], score) for row, score in rows] for rows in ranked]


def retrieve(retriever: Retriever, question: str) -> list[dict[str, Any]]:
    """The passages for a live question, as the experiment would have put them in its prompt.

    Records of passages, best first; ``text`` is what remains of it after ``fit_context``.
    """
    p = retriever.p
    found: list[Any] = [
        retriever.passages[row] for row, _ in _ranked(retriever, [question], p.top_k, p)[0]
    ]
    count_tokens = token_counter(p.embedding_model, p.passage_tokens)
    fitted = fit_context([passage["text"] for passage in found], p.context_tokens, count_tokens)
    return [passage | {"text": text} for passage, text in zip(found, fitted, strict=True)]


def rank(retriever: Retriever, questions: Sequence[Wording], depth: int) -> list[Ranking]:
    """Rankings of all questions as records of ``retrieval.jsonl``.

    ``cosines`` say how near in meaning each passage is, whatever it was ranked by.
    """
    p = retriever.p
    texts = [question["question"] for question in questions]
    ranked = _ranked(retriever, texts, depth, p)
    cosines = [[score for _, score in rows] for rows in ranked]
    if questions and (p.retriever != "dense" or p.reranker_model):
        vectors = zip(ranked, _question_vectors(retriever, texts), strict=True)
        cosines = [
            [float(retriever.index.reconstruct(row) @ vector) for row, _ in rows]
            for rows, vector in vectors
        ]
    return [
        {
            "question_id": question["question_id"],
            "passage_ids": [retriever.passages[row]["passage_id"] for row, _ in rows],
            "cosines": [round(cosine, 4) for cosine in near],
        }
        for question, rows, near in zip(questions, ranked, cosines, strict=True)
    ]


def _ranked(retriever: Retriever, questions: Sequence[str], k: int, p: Params) -> list[Ranked]:
    """The best ``k`` passages of each question, or all there are, by the settings ``p``."""
    depth = max(k, p.rerank_candidates if p.reranker_model else 0)
    if p.retriever == "dense":
        ranked = _by_vectors(retriever, questions, depth)
    elif p.retriever == "bm25":
        ranked = _by_words(retriever, questions, depth)
    else:
        both = (by(retriever, questions, FUSED) for by in (_by_vectors, _by_words))
        ranked = [fuse(pair)[:depth] for pair in zip(*both, strict=True)]
    if p.reranker_model:
        texts = [passage["text"] for passage in retriever.passages]
        read = [rows[: p.rerank_candidates] for rows in ranked]
        pairs = [(q, texts[row]) for q, own in zip(questions, read, strict=True) for row, _ in own]
        scores = iter(reranker.scores(p.reranker_model, pairs).tolist())
        ranked = [
            rerank(rows, [next(scores) for _ in own])
            for rows, own in zip(ranked, read, strict=True)
        ]
    return [rows[:k] for rows in ranked]


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
    return _in_order(total.items(), digits=12)


def rerank(ranked: Ranked, scores: Sequence[float]) -> Ranked:
    """The first of ``ranked`` by their new ``scores``, then those that have none, in their order.

    Scores that are equal to 3 digits keep the order of the ranking.
    """
    first = [(row, score) for (row, _), score in zip(ranked, scores, strict=False)]
    first.sort(key=lambda found: -round(found[1], RERANK_DIGITS))
    return first + ranked[len(first) :]


def _in_order(found: Iterable[tuple[int, float]], digits: int = DIGITS) -> Ranked:
    """By score, best first; equal scores in the order of the corpus."""
    return sorted(found, key=lambda entry: (-round(entry[1], digits), entry[0]))


def _question_vectors(retriever: Retriever, questions: Sequence[str]) -> np.ndarray:
    p = retriever.p
    return embeddings.embed(questions, p.embedding_model, "question", embeddings.cache_of(p))


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
    found = zip(rows.tolist(), cosines.tolist(), strict=True)
    return [_in_order(zip(*pair, strict=True))[:wanted] for pair in found]


def _by_words(retriever: Retriever, questions: Sequence[str], depth: int) -> list[Ranked]:
    result = []
    for question in questions:
        scores = retriever.word_scores(question)
        rows = np.argsort(-np.round(scores, DIGITS), kind="stable")[:depth]
        result.append(list(zip(rows.tolist(), scores[rows].tolist(), strict=True)))
    return result
