"""How good a ranking is, measured before anything is trained on it: recall, MRR, nDCG.

A passage is relevant if it is a gold passage of the question; the models are told nothing of
this. Passages below rank 10 are not looked at.
"""

from collections.abc import Iterable, Sequence
from math import log2
from typing import Any

import numpy as np
import pandas as pd

from cutoff import bootstrap
from cutoff.generate.retrieval import passage_search
from cutoff.generate.retrieval.passage_search import Retriever
from cutoff.records import Question, Ranking

RANKS_KEPT = 10  # depth of the stored rankings
DEPTHS = (3, 4, 6)  # passages in the context
RERANKED = ((4, 4), (8, 4), (12, 5))  # candidates that the reranker reads -> passages it leaves


def first_gold_rank(passage_ids: Sequence[str], gold_passage_ids: Iterable[str]) -> int | None:
    """Rank (from 1) of the first gold passage, None if there is none among ``passage_ids``."""
    gold = set(gold_passage_ids)
    return next((rank for rank, found in enumerate(passage_ids, 1) if found in gold), None)


def ndcg(passage_ids: Sequence[str], gold_passage_ids: Iterable[str], k: int) -> float:
    """Gain of the gold passages among the first ``k``, discounted by rank: 1 = all on top.

    Jaervelin K, Kekaelaeinen J (2002). Cumulated gain-based evaluation of IR techniques.
    ACM Transactions on Information Systems 20, 422-446.
    """
    gold = set(gold_passage_ids)
    gains = (1 / log2(i + 2) for i, found in enumerate(passage_ids[:k]) if found in gold)
    best = sum(1 / log2(i + 2) for i in range(min(k, len(gold))))
    return sum(gains) / best if best else 0.0


def measures(
    questions: Sequence[Question], found: Sequence[Sequence[str]], k: int
) -> dict[str, Any]:
    """Of the first ``k`` passages ``found`` for each question: n, recall, ci_low, ci_high, mrr,
    ndcg.

    Recall is the share of questions with at least one gold passage (one is enough to answer),
    with its 95 % interval over papers; mrr the mean of 1 / rank of the first one, 0 without.
    """
    pairs = [(ids[:k], q["gold_passage_ids"]) for q, ids in zip(questions, found, strict=True)]
    ranks = [first_gold_rank(*pair) for pair in pairs]
    hits = np.array([float(rank is not None) for rank in ranks])
    share = bootstrap.share(hits, np.array([question["paper_id"] for question in questions]))
    return {
        "n": len(questions),
        "recall": share["share"],
        "ci_low": share["ci_low"],
        "ci_high": share["ci_high"],
        "mrr": float(np.mean([1 / rank if rank else 0.0 for rank in ranks])),
        "ndcg": float(np.mean([ndcg(*pair, k) for pair in pairs])),
    }


def quality(questions: Sequence[Question], rankings: Sequence[Ranking]) -> pd.DataFrame:
    """Quality of the retrieval: stratum (``all`` for all questions), k (1 to 10), ``measures``."""
    found = {ranking["question_id"]: ranking["passage_ids"] for ranking in rankings}
    rows = []
    for stratum in [*dict.fromkeys(question["stratum"] for question in questions), "all"]:
        part = [q for q in questions if stratum in (q["stratum"], "all")]
        ids = [found[question["question_id"]] for question in part]
        for k in range(1, RANKS_KEPT + 1):
            rows.append({"stratum": stratum, "k": k} | measures(part, ids, k))
    return pd.DataFrame(rows)


def ablation(retriever: Retriever, questions: Sequence[Question]) -> pd.DataFrame:
    """Settings of the retriever side by side: setting, ``measures``.

    All kinds of retriever at several depths, and, where there is a reranker, the configured kind
    with several numbers of candidates for it to read.
    """
    p = retriever.p
    reranked = [(p.retriever, *pair) for pair in RERANKED if p.reranker_model]
    rows = []
    for kind, candidates, k in [
        *((kind, 0, k) for kind in passage_search.KINDS for k in DEPTHS),
        *reranked,
    ]:
        model = p.reranker_model if candidates else None
        changed = {"retriever": kind, "reranker_model": model, "rerank_candidates": candidates}
        texts = [question["question"] for question in questions]
        hits = passage_search.search(retriever, texts, k, p.model_copy(update=changed))
        ids = [[passage_id for passage_id, _ in own] for own in hits]
        name = f"{kind}, {candidates} reranked, best {k}" if candidates else f"{kind}, {k}"
        rows.append({"setting": name} | measures(questions, ids, k))
    return pd.DataFrame(rows)
