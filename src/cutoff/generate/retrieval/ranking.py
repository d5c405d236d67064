"""How good a ranking is, measured before anything is trained on it: recall, MRR, nDCG.

A passage is relevant if it is a gold passage of the question; the models are told nothing of
this. Passages below rank 10 are not looked at.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import log2
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]
Array = NDArray[np.float64]

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
    eval_records: Sequence[Record], rankings: Sequence[Record], seed: int = 0
) -> "pd.DataFrame":
    """Quality of the retrieval by stratum, and for all questions (``all``).

    Columns: stratum, n, recall@1 ... recall@10 (share of questions with at least one gold
    passage among the first k), mrr (mean of 1 / rank of the first one; below rank 10 it is 0),
    ndcg@10. Each has its 95 % interval beside it, in ``<name>_low`` and ``<name>_high``:
    Wilson's for a recall, for the others a bootstrap that draws whole papers.
    """
    import pandas as pd

    by_question = {record["question_id"]: record["passage_ids"] for record in rankings}
    rows = []
    for stratum, records in by_stratum(eval_records):
        found = [
            (by_question[record["question_id"]][:RANKS_KEPT], record["gold_passage_ids"])
            for record in records
        ]
        row: Record = {"stratum": stratum, "n": len(records)}
        for k in range(1, RANKS_KEPT + 1):
            row |= rate(f"recall@{k}", [hit(ids[:k], gold) for ids, gold in found])
        papers = [record["paper_id"] for record in records]
        for name, measure in _measures(RANKS_KEPT):
            row |= mean(name, [measure(ids, gold) for ids, gold in found], papers, seed)
        rows.append(row)
    return pd.DataFrame(rows)


def _measures(k: int) -> list[tuple[str, Callable[[Sequence[str], Sequence[str]], float]]]:
    return [("mrr", reciprocal_rank), (f"ndcg@{k}", lambda ids, gold: ndcg(ids, gold, k))]


def by_stratum(eval_records: Sequence[Record]) -> Iterator[tuple[str, list[Record]]]:
    """(stratum, its records) in order of appearance, then ("all", all of them)."""
    for stratum in dict.fromkeys(record["stratum"] for record in eval_records):
        yield stratum, [record for record in eval_records if record["stratum"] == stratum]
    yield "all", list(eval_records)


def recall_curve(table: "pd.DataFrame") -> "pd.DataFrame":
    """The recalls of ``quality`` one below the other: stratum, k, recall, ci_low, ci_high."""
    import pandas as pd

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


# --- intervals ---------------------------------------------------------------------------


def rate(name: str, hits: Sequence[float]) -> Record:
    """``{name, name_low, name_high}``: share of hits with Wilson's 95 % interval."""
    low, high = wilson(float(np.mean(hits)), len(hits))
    return {name: float(np.mean(hits)), f"{name}_low": low, f"{name}_high": high}


def mean(name: str, values: Sequence[float], papers: Sequence[str], seed: int) -> Record:
    """``{name, name_low, name_high}``: mean with a 95 % interval over papers."""
    low, high = paper_interval(np.asarray(values, float), papers, seed)
    return {name: float(np.mean(values)), f"{name}_low": low, f"{name}_high": high}


def wilson(proportion: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion of ``n``; Wilson EB (1927). JASA 22, 209-212."""
    z2 = 1.959963984540054**2
    centre = (proportion + z2 / (2 * n)) / (1 + z2 / n)
    margin = (z2 * (proportion * (1 - proportion) + z2 / (4 * n)) / n) ** 0.5 / (1 + z2 / n)
    return max(0.0, centre - margin), min(1.0, centre + margin)


def paper_interval(values: Array, papers: Sequence[str], seed: int) -> tuple[float, float]:
    """95 % interval of the mean of ``values`` (each 0..1), drawing whole papers with replacement.

    Questions on one paper share its luck. The percentiles are expanded for few papers
    (Hesterberg 2015, as in the statistics of 04). Where all papers agree, nothing is left to
    draw and Wilson's interval over papers stands in; one paper alone says nothing: (0, 1).
    """
    from scipy import stats

    names, codes = np.unique(np.asarray(papers), return_inverse=True)
    g = len(names)
    if g < 2:
        return 0.0, 1.0
    sums, counts = np.bincount(codes, weights=values), np.bincount(codes)
    if np.ptp(sums / counts) < 1e-12:
        return wilson(float(values.mean()), g)
    drawn = np.random.default_rng(seed).multinomial(g, [1 / g] * g, size=REPLICATES)
    means = (drawn @ sums) / (drawn @ counts)
    tail = stats.norm.cdf(stats.t.ppf(0.025, g - 1) * (g / (g - 1)) ** 0.5)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
