"""Judge-free measures against the judge, checked against scikit-learn and pingouin's statistics."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from cutoff.evaluate.diagnostics import judge_free
from cutoff.evaluate.diagnostics.metrics import QUALITY
from cutoff.evaluate.stats import effect_table
from cutoff.experiment import CONDITIONS

STRATA = ("seen", "unseen_fact", "unseen_paper", "control")


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """40 papers x 4 questions x 6 conditions; every measure is noise around the truth."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(160):
        for k, condition in enumerate(CONDITIONS):
            truth = rng.random() < 0.15 + 0.12 * k
            row = {"question_id": f"q{i}", "paper_id": f"p{i // 4}", "stratum": STRATA[i % 4]}
            row |= {"condition": condition, "truth": truth}
            row |= {
                name: float(np.clip(truth * 0.4 + rng.random() * 0.6, 0, 1)) for name in QUALITY
            }
            flags = ("stated", "exact_match", "numeric_match")
            row |= {name: float(truth if rng.random() < 0.9 else not truth) for name in flags}
            row |= {"passed": truth}
            rows.append(row)
    frame = pd.DataFrame(rows).astype({"passed": "boolean"})
    frame.loc[frame["question_id"] == "q3", "numeric_match"] = np.nan
    frame.loc[5, "passed"] = pd.NA
    return frame


def test_auc_and_kappa_are_those_of_scikit_learn(scores: pd.DataFrame) -> None:
    table = judge_free.agreement(scores, 300).set_index("measure")
    known = scores["passed"].notna()
    for measure in QUALITY:
        rows = known & scores[measure].notna()
        truth, values = scores["truth"][rows], scores[measure][rows]
        row = table.loc[measure]
        assert row["n"] == rows.sum() and row["passed"] == truth.sum()
        assert row["auc"] == pytest.approx(roc_auc_score(truth, values.round(3)))
        assert row["auc_low"] < row["auc"] < row["auc_high"]
    assert table.loc["numeric_match", "n"] == 160 * 6 - 1 - 6  # q3, and the failed judgement
    rows = known
    expected = cohen_kappa_score(scores["truth"][rows], scores["stated"][rows] > 0.5)
    assert table.loc["stated", "kappa"] == pytest.approx(expected)
    assert pd.isna(table.loc["token_f1", "kappa"])


def test_the_interval_draws_papers_and_not_answers() -> None:
    """Answers of one paper are copies of each other: copies must not narrow the interval."""
    rng = np.random.default_rng(0)
    passed = np.arange(30) % 2 == 0
    values = passed * 0.3 + rng.random(30)
    alone = judge_free._auc(values, passed, np.arange(30), 2000, 0)
    copies = judge_free._auc(
        np.tile(values, 20), np.tile(passed, 20), np.tile(np.arange(30), 20), 2000, 0
    )
    assert copies == pytest.approx(alone, abs=1e-9)


def test_a_judge_that_passes_all_or_agrees_fully_gives_no_false_certainty(
    scores: pd.DataFrame,
) -> None:
    all_passed = scores.assign(passed=pd.array([True] * len(scores), "boolean"))
    table = judge_free.agreement(all_passed, 100)
    assert table["auc"].isna().all()
    support = judge_free.support(
        effect_table.planned_contrasts(all_passed, 200), judge_free.contrasts(scores, 200)
    )
    assert "cannot tell" in judge_free.reading(table, support)
    same = scores.assign(stated=scores["truth"].astype(float))
    row = judge_free.agreement(same, 100).set_index("measure").loc["stated"]
    assert (row["auc"], row["kappa"]) == (1, 1) and np.isnan(row["auc_low"])


def test_contrasts_of_a_flag_are_those_of_the_table_of_effects(scores: pd.DataFrame) -> None:
    frame = scores.assign(passed=scores["stated"].astype("boolean"))
    by_flag = effect_table.planned_contrasts(frame, 300)
    by_means = judge_free.contrasts(scores, 300)
    ours = by_means[by_means["measure"] == "stated"].set_index(["name", "stratum"])["difference"]
    theirs = by_flag[by_flag["planned"]].set_index(["name", "stratum"])["difference"]
    pd.testing.assert_series_equal(ours.sort_index(), theirs.sort_index())


def test_support_says_which_way_each_measure_points(scores: pd.DataFrame) -> None:
    planned = effect_table.planned_contrasts(scores, 500)
    measured = judge_free.contrasts(scores, 500)
    table = judge_free.support(planned, measured).set_index(["name", "stratum"])
    assert list(table.columns) == ["judge", *QUALITY]
    assert len(table) == planned["planned"].sum()
    assert set(table.stack()) <= {"up", "down", "open"}
    row = table.loc["ft_instead_of_rag", "seen"]
    value = planned.set_index(["name", "stratum"]).loc["ft_instead_of_rag", "seen"]
    expected = "up" if value["ci_low"] > 0 else "down" if value["ci_high"] < 0 else "open"
    assert row["judge"] == expected
