"""Settings of the retriever side by side, on the evaluation questions of a data set.

Every retriever ranks all questions once, and the reranker reads each candidate once; all
settings are read off those rankings.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cutoff.generate.retrieval import passage_search, ranking
from cutoff.generate.retrieval.passage_search import Ranked, Retriever

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]

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


def table(retriever: Retriever, eval_records: Sequence[Record], seed: int = 0) -> "pd.DataFrame":
    """One row per setting and stratum (and ``all``), a gold passage being what is to be found.

    Columns: setting, retriever, candidates, k, stratum, n; recall (at least one gold passage
    among the k), mrr, ndcg, each with ``_low`` and ``_high`` as in ``ranking.quality``; note,
    "" or why a setting could not be measured (its figures are then missing).
    """
    import pandas as pd

    rankings = _rankings(retriever, [record["question"] for record in eval_records])
    ids = [passage["passage_id"] for passage in retriever.passages]
    rows: list[Record] = []
    for setting in settings(retriever.p.retriever):
        by_question = {
            record["question_id"]: [ids[row] for row, _ in ranked[: setting.k]]
            for record, ranked in zip(eval_records, rankings.get(setting[:2], []), strict=False)
        }
        for stratum, records in ranking.by_stratum(eval_records):
            row: Record = {"setting": setting.name} | setting._asdict()
            row |= {"stratum": stratum, "n": len(records), "note": ""}
            if by_question:
                row |= _measured(records, by_question, setting.k, seed)
            else:
                row["note"] = "not measured: reranker_model is null"
            rows.append(row)
    return pd.DataFrame(rows).reindex(columns=COLUMNS).astype({"candidates": "Int64"})


COLUMNS = [
    "setting", "retriever", "candidates", "k", "stratum", "n",
    "recall", "recall_low", "recall_high", "mrr", "mrr_low", "mrr_high",
    "ndcg", "ndcg_low", "ndcg_high", "note",
]  # fmt: skip


def _measured(
    records: Sequence[Record], by_question: dict[str, list[str]], k: int, seed: int
) -> Record:
    found = [(by_question[r["question_id"]], r["gold_passage_ids"]) for r in records]
    papers = [record["paper_id"] for record in records]
    hits = [ranking.hit(ids, gold) for ids, gold in found]
    reciprocal = [ranking.reciprocal_rank(ids, gold) for ids, gold in found]
    gains = [ranking.ndcg(ids, gold, k) for ids, gold in found]
    return (
        ranking.rate("recall", hits)
        | ranking.mean("mrr", reciprocal, papers, seed)
        | ranking.mean("ndcg", gains, papers, seed)
    )


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
