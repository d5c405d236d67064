"""Settings of the retriever side by side, on the evaluation questions of a data set.

Every retriever ranks all questions once, and the reranker reads each candidate once; all
settings are read off those rankings.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from cutoff.generate.retrieval import passage_search, ranking
from cutoff.generate.retrieval.passage_search import Ranked, Retriever
from cutoff.records import Question

RETRIEVERS = ("dense", "bm25", "hybrid")
DEPTHS = (3, 4, 6)  # passages in the context
RERANKED = ((4, 4), (8, 4), (12, 5))  # candidates that the reranker reads -> passages it leaves


class Setting(NamedTuple):
    """A row of the table; ``candidates`` is None where nothing is reranked."""

    retriever: str
    candidates: int | None
    k: int

    @property
    def name(self) -> str:
        if self.candidates is None:
            return f"{self.retriever}, {self.k}"
        return f"{self.retriever}, {self.candidates} reranked, best {self.k}"


def settings(retriever: str) -> list[Setting]:
    """Retrievers x depths, then the reranked ones after the configured ``retriever``."""
    plain = [Setting(kind, None, k) for kind in RETRIEVERS for k in DEPTHS]
    return plain + [Setting(retriever, candidates, k) for candidates, k in RERANKED]


def table(retriever: Retriever, questions: Sequence[Question], seed: int = 0) -> pd.DataFrame:
    """One row per setting, a gold passage being what is to be found.

    Columns: setting, retriever, candidates, k, n; recall (at least one gold passage among the
    k), mrr, ndcg, each with ``_low`` and ``_high`` as in ``ranking.quality``; note, "" or why a
    setting could not be measured (its figures are then missing).
    """
    rankings = _rankings(retriever, [question["question"] for question in questions])
    ids = [passage["passage_id"] for passage in retriever.passages]
    rows: list[dict[str, object]] = []
    for setting in settings(retriever.p.retriever):
        row = {"setting": setting.name, **setting._asdict(), "n": len(questions), "note": ""}
        ranked = rankings.get((setting.retriever, setting.candidates))
        if ranked is None:
            row["note"] = "not measured: reranker_model is null"
        else:
            found = {
                question["question_id"]: [ids[row] for row, _ in own[: setting.k]]
                for question, own in zip(questions, ranked, strict=True)
            }
            row |= ranking.recall("recall", questions, found, setting.k)
            row |= ranking.means(questions, found, setting.k, seed)
        rows.append(row)
    return pd.DataFrame(rows).astype({"candidates": "Int64"})


def _rankings(
    retriever: Retriever, questions: Sequence[str]
) -> dict[tuple[str, int | None], list[Ranked]]:
    """Rankings by (retriever, reranked candidates); those without a reranker are missing."""
    dense, bm25 = (
        passage_search.first_stage(retriever, questions, kind, passage_search.FUSED)
        for kind in ("dense", "bm25")
    )
    hybrid = [passage_search.fuse(pair) for pair in zip(dense, bm25, strict=True)]
    result: dict[tuple[str, int | None], list[Ranked]] = {
        ("dense", None): dense,
        ("bm25", None): bm25,
        ("hybrid", None): hybrid,
    }
    kind = retriever.p.retriever
    first = result[kind, None]
    if retriever.p.reranker_model:
        most = max(candidates for candidates, _ in RERANKED)
        scores = passage_search.relevance(retriever, questions, first, most)
        for candidates, _ in RERANKED:
            result[kind, candidates] = [
                passage_search.rerank(rows, own[:candidates])
                for rows, own in zip(first, scores, strict=True)
            ]
    return result
