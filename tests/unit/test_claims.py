"""A sentence of a report is earned by a contrast, or it says that nothing was established."""

import re

import pandas as pd
import pytest

from cutoff.report import claims

EFFECT_WORDS = re.compile(r"\b(raises|lowers|beats|falls short|gains (more|less))\b")
PLANNED = (
    ("rag", "all_post"),
    ("ft_closed_book_instruct", "seen"),
    ("ft_closed_book_rag", "seen"),
    ("ft_closed_book_instruct", "unseen_fact"),
    ("ft_closed_book_instruct", "unseen_paper"),
    ("ft_under_rag_rag", "all_post"),
    ("ft_under_rag_instruct", "all_post"),
    ("ft_instead_of_rag", "seen"),
    ("interaction_rag", "all_post"),
)
GAIN = {"difference": 0.2, "ci_low": 0.1, "ci_high": 0.3, "p_holm": 0.003}
LOSS = {"difference": -0.2, "ci_low": -0.3, "ci_high": -0.1, "p_holm": 0.003}
NULL = {"difference": 0.02, "ci_low": -0.1, "ci_high": 0.14, "p_holm": 0.7}
HINT = {"difference": 0.1, "ci_low": 0.01, "ci_high": 0.19, "p_holm": 0.2}
DETAIL = GAIN | {"p_holm": float("nan")}  # a row outside the planned family
ODD = {"difference": 0.1, "ci_low": -0.01, "ci_high": 0.21, "p_holm": 0.01}


def contrasts(default: dict, **named: dict) -> pd.DataFrame:
    common = {"rate_a": 0.3, "rate_b": 0.5, "n": 72, "n_missing": 0, "mde": 0.162, "planned": True}
    return pd.DataFrame(
        [
            {"name": name, "stratum": stratum} | common | named.get(name, default)
            for name, stratum in PLANNED
        ]
    )


def rates(judge_failed: int = 0) -> pd.DataFrame:
    rows = [("all_post", 500, judge_failed), ("seen", 500, judge_failed)]
    return pd.DataFrame(rows, columns=["stratum", "n", "judge_failed"])


@pytest.mark.parametrize("outcome", [NULL, HINT, ODD, DETAIL])
def test_without_interval_and_test_no_sentence_claims_an_effect(outcome: dict) -> None:
    sentences = claims.claims(contrasts(outcome), rates())
    assert len(sentences) == 5
    for sentence in sentences:
        assert not EFFECT_WORDS.search(sentence)
        assert "not established" in sentence or "was established" in sentence
        assert "smallest detectable 16.2 points" in sentence
        assert "72" in sentence


@pytest.mark.parametrize("outcome", [GAIN, LOSS])
def test_an_established_effect_is_stated_in_its_direction(outcome: dict) -> None:
    sentences = claims.claims(contrasts(outcome), rates())
    verbs = ("raises", "beats", "more") if outcome is GAIN else ("lowers", "falls short", "less")
    for sentence in sentences[:4]:
        assert verbs[0] in sentence
    assert verbs[1] in sentences[4] and verbs[2] in sentences[4]
    assert "no " not in " ".join(sentences).lower()


def test_one_established_effect_leaves_the_other_sentences_null() -> None:
    sentences = claims.claims(contrasts(NULL, rag=GAIN), rates())
    assert sentences[0].startswith("Retrieval raises the pass rate on papers after the cutoff")
    assert "+20.0 points" in sentences[0] and "10.0\u00a0to\u00a030.0" in sentences[0]
    assert not any(EFFECT_WORDS.search(sentence) for sentence in sentences[1:])


def test_more_than_one_percent_failed_judgements_silence_every_claim() -> None:
    assert len(claims.claims(contrasts(GAIN), rates(judge_failed=5))) == 5
    (sentence,) = claims.claims(contrasts(GAIN), rates(judge_failed=6))
    assert "not valid" in sentence and "6 of 506" in sentence
    assert not EFFECT_WORDS.search(sentence)


def test_untested_strata_and_missing_verdicts_are_said() -> None:
    few = contrasts(GAIN | {"n_missing": 3})
    sentences = claims.claims(few[few["stratum"] == "seen"], rates())
    assert sentences[0] == "Retrieval was not tested on papers after the cutoff."
    assert "3 left out without a verdict" in sentences[1]
