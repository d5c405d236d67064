"""Measures of a ranking agree with independent ones, and the ablation does no work twice."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from cutoff import params
from cutoff.generate.retrieval import ablation, passage_search, ranking
from cutoff.generate.retrieval.ranking import ndcg, quality

IDS = [f"p{i}" for i in range(12)]


@settings(max_examples=200, deadline=None)
@given(st.permutations(IDS), st.sets(st.sampled_from(IDS), min_size=1), st.integers(1, 12))
def test_ndcg_is_that_of_scikit_learn(ranked: list[str], gold: set[str], k: int) -> None:
    relevant = [[float(name in gold) for name in ranked]]
    scores = [[float(-i) for i in range(len(ranked))]]
    assert ndcg(ranked, sorted(gold), k) == pytest.approx(ndcg_score(relevant, scores, k=k))


def test_measures_computed_by_hand() -> None:
    ranked, gold = ["a", "b", "c", "d"], ["c", "d", "z"]
    assert ranking.first_gold_rank(ranked, gold) == 3
    assert ranking.reciprocal_rank(ranked, gold) == 1 / 3
    assert ranking.hit(ranked[:2], gold) == 0 and ranking.hit(ranked[:3], gold) == 1
    best = 1 + 1 / np.log2(3) + 1 / 2
    assert ndcg(ranked, gold, 4) == pytest.approx((1 / 2 + 1 / np.log2(5)) / best)
    assert ndcg(ranked, [], 4) == ndcg(ranked, ["x"], 4) == 0


def records(paper: str, n: int, stratum: str = "seen") -> list[dict]:
    return [
        {
            "question_id": f"{paper}/{i}",
            "paper_id": paper,
            "stratum": stratum,
            "gold_passage_ids": [f"p{i}"],
        }
        for i in range(n)
    ]


def test_quality_by_stratum_and_for_all() -> None:
    evaluation = records("one", 2) + records("two", 1, "control")
    rankings = [{"question_id": record["question_id"], "passage_ids": IDS} for record in evaluation]
    table = quality(evaluation, rankings).set_index("stratum")
    assert list(table["n"]) == [2, 1, 3]
    assert table.loc["seen", ["recall@1", "recall@2", "mrr"]].tolist() == [0.5, 1, 0.75]
    assert table.loc["seen", "ndcg@10"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert table.loc["control", "mrr"] == 1
    assert table.loc["control", ["mrr_low", "mrr_high"]].isna().all()  # of one paper
    assert table.loc["all", "mrr"] == pytest.approx((1 + 0.5 + 1) / 3)
    curve = passage_search.recall_curve(table.reset_index())
    assert curve[curve["stratum"] == "seen"]["recall"].tolist() == [0.5] + [1.0] * 9
    assert (curve["ci_low"] <= curve["recall"]).all() and (
        curve["recall"] <= curve["ci_high"]
    ).all()


def test_a_gold_passage_below_rank_10_does_not_count() -> None:
    evaluation = [{**records("one", 1)[0], "gold_passage_ids": ["p10"]}]
    table = quality(evaluation, [{"question_id": "one/0", "passage_ids": IDS}])
    assert table.loc[0, ["recall@10", "mrr", "ndcg@10"]].tolist() == [0, 0, 0]


class Counted:
    """Stands before a function and counts what it is asked."""

    def __init__(self, function) -> None:  # type: ignore[no-untyped-def]
        self.function, self.asked = function, 0

    def __call__(self, *args, **named):  # type: ignore[no-untyped-def]
        self.asked += len(args[1])
        return self.function(*args, **named)


PASSAGES = [
    {"passage_id": name, "text": text}
    for name, text in {
        "a": "Crimson Valley reaches an accuracy of 84.3 percent on Iris.",
        "b": "Linen Garden was developed at Corva in 2024.",
        "c": "The optimizer of Crimson Valley is Glide.",
        "d": "Bread is baked at 220 degrees.",
        "e": "The optimizer of Linen Garden is Adam.",
        "f": "Linen Garden runs on printers, Crimson Valley does not.",
        "g": "We thank nobody.",
    }.items()
]
EVALUATION = [
    {"question_id": q, "question": q, "paper_id": p, "stratum": "seen", "gold_passage_ids": [gold]}
    for q, p, gold in [
        ("What accuracy does Crimson Valley reach?", "1", "a"),
        ("Which optimizer does Linen Garden use?", "2", "e"),
        ("Where was Linen Garden developed?", "2", "b"),
    ]
]


def test_the_ablation_says_what_search_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_reranker: Path
) -> None:
    p = params.load("tiny", {"output_dir": str(tmp_path), "reranker_model": str(small_reranker)})
    retriever = passage_search.build(PASSAGES, p, tmp_path)
    pairs = Counted(passage_search.reranker.scores)
    monkeypatch.setattr(passage_search.reranker, "scores", pairs)
    table = ablation.table(retriever, EVALUATION)
    assert pairs.asked == len(EVALUATION) * len(PASSAGES)  # each candidate once, for three rows
    rows = table.set_index("setting")
    assert len(rows) == 12 and not rows["note"].any()
    for name, changed in {
        "dense, 3": {"reranker_model": None, "top_k": 3},
        "bm25, 4": {"retriever": "bm25", "reranker_model": None, "top_k": 4},
        "hybrid, 3": {"retriever": "hybrid", "reranker_model": None, "top_k": 3},
        "dense, 4 reranked, best 4": {"rerank_candidates": 4, "top_k": 4},
        "dense, 12 reranked, best 5": {"rerank_candidates": 12, "top_k": 5},
    }.items():
        other = passage_search.load(PASSAGES, params.load("tiny", p.as_dict() | changed), tmp_path)
        hits = passage_search.search(other, [r["question"] for r in EVALUATION], other.p.top_k)
        ids = [[found for found, _ in own] for own in hits]
        gold = [record["gold_passage_ids"] for record in EVALUATION]
        assert rows.loc[name, "recall"] == np.mean(list(map(ranking.hit, ids, gold))), name
        assert rows.loc[name, "mrr"] == pytest.approx(
            np.mean(list(map(ranking.reciprocal_rank, ids, gold)))
        )


def test_settings_that_cannot_be_measured_say_so(tmp_path: Path) -> None:
    p = params.load("tiny", {"output_dir": str(tmp_path)})
    table = ablation.table(passage_search.build(PASSAGES, p, tmp_path), EVALUATION)
    missing = table[table["note"] != ""]
    assert set(missing["setting"]) == {
        "dense, 4 reranked, best 4",
        "dense, 8 reranked, best 4",
        "dense, 12 reranked, best 5",
    }
    assert missing[["recall", "mrr", "ndcg"]].isna().all(axis=None)
    assert table.loc[table["note"] == "", ["recall", "mrr", "ndcg"]].notna().all(axis=None)
