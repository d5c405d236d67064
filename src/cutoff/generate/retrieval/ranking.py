"""How good a ranking is, measured before anything is trained on it: recall, MRR, nDCG.

A passage is relevant if it is a gold passage of the question; the models are told nothing of
this. Passages below rank 10 are not looked at.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import log2

import numpy as np
import pandas as pd

from cutoff import bootstrap
from cutoff.records import Question, Ranking

RANKS_KEPT = 10  # depth of the stored rankings
REPLICATES = 10_000  # resamples of papers per interval


def first_gold_rank(passage_ids: Sequence[str], gold_passage_ids: Iterable[str]) -> int | None:
    """Rank (from 1) of the first gold passage, None if there is none among ``passage_ids``."""
    gold = set(gold_passage_ids)
    return next((rank for rank, found in enumerate(passage_ids, 1) if found in gold), None)


def hit(passage_ids: Sequence[str], gold_passage_ids: Sequence[str]) -> float:
    """1 if there is a gold passage among ``passage_ids``, else 0: one is enough to answer."""
    return float(first_gold_rank(passage_ids, gold_passage_ids) is not None)


def reciprocal_rank(passage_ids: Sequence[str], gold_passage_ids: Sequence[str]) -> float:
    """1 / rank of the first gold passage, 0 without one."""
    rank = first_gold_rank(passage_ids, gold_passage_ids)
    return 1 / rank if rank else 0.0


def ndcg(passage_ids: Sequence[str], gold_passage_ids: Sequence[str], k: int) -> float:
    """Gain of the gold passages among the first ``k``, discounted by rank: 1 = all on top.

    Jaervelin K, Kekaelaeinen J (2002). Cumulated gain-based evaluation of IR techniques.
    ACM Transactions on Information Systems 20, 422-446.
    """
    gold = set(gold_passage_ids)
    gains = (1 / log2(i + 2) for i, found in enumerate(passage_ids[:k]) if found in gold)
    best = sum(1 / log2(i + 2) for i in range(min(k, len(gold))))
    return sum(gains) / best if best else 0.0


def quality(
    questions: Sequence[Question], rankings: Sequence[Ranking], seed: int = 0
) -> pd.DataFrame:
    """Quality of the retrieval by stratum, and for all questions (``all``).

    Columns: stratum, n, recall@1 ... recall@10 (share of questions with at least one gold
    passage among the first k), mrr (mean of 1 / rank of the first one; below rank 10 it is 0),
    ndcg@10. Each has its 95 % interval over papers beside it, in ``<name>_low`` and
    ``<name>_high``.
    """
    found = {record["question_id"]: record["passage_ids"][:RANKS_KEPT] for record in rankings}
    rows = []
    for stratum in [*dict.fromkeys(question["stratum"] for question in questions), "all"]:
        part = [q for q in questions if stratum in (q["stratum"], "all")]
        row: dict[str, object] = {"stratum": stratum, "n": len(part)}
        for k in range(1, RANKS_KEPT + 1):
            row |= recall(f"recall@{k}", part, found, k)
        rows.append(row | means(part, found, RANKS_KEPT, seed))
    return pd.DataFrame(rows).rename(columns=lambda name: name.replace("ndcg", "ndcg@10"))


def recall_curve(table: pd.DataFrame) -> pd.DataFrame:
    """The recalls of ``quality`` one below the other: stratum, k, recall, ci_low, ci_high."""
    return pd.DataFrame(
        {
            "stratum": row["stratum"],
            "k": k,
            "recall": row[f"recall@{k}"],
            "ci_low": row[f"recall@{k}_low"],
            "ci_high": row[f"recall@{k}_high"],
        }
        for k in range(1, RANKS_KEPT + 1)
        for row in table.to_dict("records")
    )


# --- measures of many questions, with intervals ------------------------------------------


def recall(
    name: str, questions: Sequence[Question], found: Mapping[str, Sequence[str]], k: int
) -> dict[str, float]:
    """``{name, name_low, name_high}``: share of ``questions`` with a gold passage in the first k.

    ``found``: question id -> passage ids, best first.
    """
    hits = [hit(found[q["question_id"]][:k], q["gold_passage_ids"]) for q in questions]
    share = bootstrap.share(np.array(hits), _papers(questions))
    return {name: share["share"], f"{name}_low": share["ci_low"], f"{name}_high": share["ci_high"]}


def means(
    questions: Sequence[Question], found: Mapping[str, Sequence[str]], k: int, seed: int
) -> dict[str, float]:
    """``mrr`` and ``ndcg`` among the first k, each with ``_low`` and ``_high`` as in ``recall``."""
    pairs = [(found[q["question_id"]][:k], q["gold_passage_ids"]) for q in questions]
    values = np.array([[reciprocal_rank(*pair), ndcg(*pair, k)] for pair in pairs])
    over_papers = bootstrap.means(values, _papers(questions), REPLICATES, seed)
    return {
        f"{name}{end}": float(value)
        for end, row in zip(("", "_low", "_high"), over_papers, strict=False)
        for name, value in zip(("mrr", "ndcg"), row, strict=True)
    }


def _papers(questions: Sequence[Question]) -> np.ndarray:
    return np.array([question["paper_id"] for question in questions])
