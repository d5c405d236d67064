"""Measures of a ranking agree with independent ones; settings are compared by what search finds."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from cutoff import params
from cutoff.generate.retrieval import passage_search, ranking
from cutoff.generate.retrieval.ranking import ndcg

IDS = [f"p{i}" for i in range(12)]


@settings(max_examples=100, deadline=None)
@given(st.permutations(IDS), st.sets(st.sampled_from(IDS), min_size=1), st.integers(1, 12))
def test_ndcg_is_that_of_scikit_learn(ranked: list[str], gold: set[str], k: int) -> None:
    relevant = [[float(name in gold) for name in ranked]]
    scores = [[float(-i) for i in range(len(ranked))]]
    assert ndcg(ranked, sorted(gold), k) == pytest.approx(ndcg_score(relevant, scores, k=k))


def asked(paper: str, gold: list[str], stratum: str = "seen") -> dict:
    return {"question_id": gold[0], "paper_id": paper, "stratum": stratum, "gold_passage_ids": gold}


def test_measures_computed_by_hand() -> None:
    found = ranking.measures(
        [asked("x", ["c", "d", "z"]), asked("y", ["z"])], [list("abcd")] * 2, 4
    )
    best = 1 + 1 / np.log2(3) + 1 / 2
    assert found["n"] == 2 and found["recall"] == 0.5 and found["mrr"] == 1 / 6
    assert found["ndcg"] == pytest.approx((1 / 2 + 1 / np.log2(5)) / best / 2)
    assert ranking.measures([asked("x", ["c"])], [list("abcd")], 2)["recall"] == 0
    assert ranking.first_gold_rank(list("abcd"), ["d", "c"]) == 3
    assert ndcg(list("ab"), [], 2) == 0


def test_quality_by_stratum_and_for_all() -> None:
    """Gold passages stand on ranks 1, 2, 1 and below 10, where they do not count."""
    evaluation = [asked("1", ["p0"]), asked("1", ["p1"]), asked("2", ["p0", "x"], "control")]
    evaluation.append(asked("2", ["p10"]))
    evaluation = [question | {"question_id": str(n)} for n, question in enumerate(evaluation)]
    rankings = [{"question_id": q["question_id"], "passage_ids": IDS} for q in evaluation]
    table = ranking.quality(evaluation, rankings).set_index(["stratum", "k"])
    assert table["n"].groupby("stratum").first().to_dict() == {"seen": 3, "control": 1, "all": 4}
    assert table.loc["seen", "recall"].tolist() == pytest.approx([1 / 3] + [2 / 3] * 9)
    assert table.loc[("seen", 10), "mrr"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert table.loc[("all", 1), "recall"] == 0.5
    assert (table["ci_low"] <= table["recall"]).all() and (
        table["recall"] <= table["ci_high"]
    ).all()


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
    asked("1", ["a"]) | {"question": "What accuracy does Crimson Valley reach?"},
    asked("2", ["e"]) | {"question": "Which optimizer does Linen Garden use?"},
    asked("2", ["b"]) | {"question": "Where was Linen Garden developed?"},
]


@pytest.mark.parametrize("reranked", [False, True])
def test_the_ablation_measures_what_search_finds(
    tmp_path: Path, small_reranker: Path, reranked: bool
) -> None:
    model = str(small_reranker) if reranked else None
    p = params.load("tiny", {"output_dir": str(tmp_path), "reranker_model": model})
    retriever = passage_search.build(PASSAGES, p, tmp_path)
    rows = ranking.ablation(retriever, EVALUATION).set_index("setting")
    assert len(rows) == (12 if reranked else 9)
    settings = {"bm25, 4": {"retriever": "bm25", "reranker_model": None, "top_k": 4}}
    if reranked:
        settings["dense, 12 reranked, best 5"] = {"rerank_candidates": 12, "top_k": 5}
    for name, changed in settings.items():
        other = passage_search.load(PASSAGES, params.load("tiny", p.as_dict() | changed), tmp_path)
        hits = passage_search.search(other, [r["question"] for r in EVALUATION], other.p.top_k)
        ids = [[found for found, _ in own] for own in hits]
        expected = ranking.measures(EVALUATION, ids, other.p.top_k)
        assert rows.loc[name].to_dict() == pytest.approx(expected)
