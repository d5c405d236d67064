"""The judge's errors and what they do to rates: against independent figures and known truth."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.proportion import proportion_confint

from cutoff.evaluate.calibration import corrections, judge_errors
from cutoff.evaluate.stats import effect_table

CONDITIONS = ("base", "base_rag", "instruct_ft", "instruct_ft_rag", "rag_ft", "rag_ft_rag")
RIGHT = (0.08, 0.60, 0.45, 0.62, 0.20, 0.66)  # true pass rates of the conditions


Errs = float | dict[str, float]


def world(
    seed: int,
    sensitivity: Errs = 0.9,
    specificity: Errs = 0.95,
    labels: int = 40,
    papers: int = 60,
    right: tuple[float, ...] = RIGHT,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """(verdicts, compared, true pass rates) of a judge who errs as stated.

    Four questions a paper, all of one stratum; ``labels`` of every condition's answers are
    labelled by a person who is right.
    """
    rng = np.random.default_rng(seed)
    n = 4 * papers
    rows, sampled = [], []
    for condition, rate in zip(CONDITIONS, right, strict=True):
        s, t = (e if isinstance(e, float) else e[condition] for e in (sensitivity, specificity))
        truth = rng.random(n) < rate
        judged = np.where(truth, rng.random(n) < s, rng.random(n) >= t)
        rows.append(frame_of(condition, judged, per_paper=4))
        chosen = np.sort(rng.choice(n, labels, replace=False))
        own = rows[-1].iloc[chosen].rename(columns={"passed": "judge"})
        own["human"] = pd.array(truth[chosen], dtype="boolean")
        sampled.append(own.assign(label=np.where(truth[chosen], "pass", "fail")))
    truths = dict(zip(CONDITIONS, right, strict=True))
    return pd.concat(rows, ignore_index=True), pd.concat(sampled, ignore_index=True), truths


def frame_of(condition: str, passed: np.ndarray, per_paper: int = 1) -> pd.DataFrame:
    numbers = range(len(passed))
    ids = {"question_id": [f"q{i}" for i in numbers]}
    ids |= {"paper_id": [f"p{i // per_paper}" for i in numbers]}
    frame = pd.DataFrame({**ids, "stratum": "unseen_paper", "condition": condition})
    return frame.assign(passed=pd.array(passed, dtype="boolean"))


def table(tp: int, fn: int, fp: int, tn: int) -> pd.DataFrame:
    """``compared`` with these counts, each answer about a paper of its own."""
    human = [True] * (tp + fn) + [False] * (fp + tn)
    judge = [True] * tp + [False] * fn + [True] * fp + [False] * tn
    frame = frame_of("base", np.array(judge)).rename(columns={"passed": "judge"})
    frame["human"] = pd.array(human, dtype="boolean")
    return frame.assign(label=frame["human"].map({True: "pass", False: "fail"}))


# --- agreement ---------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(40, 10, 5, 45), (20, 5, 10, 15), (3, 0, 1, 96), (1, 9, 9, 1)])
def test_kappa_and_shares_agree_with_scikit_learn_and_statsmodels(
    counts: tuple[int, int, int, int],
) -> None:
    frame = table(*counts)
    row = judge_errors.agreement(frame, 2000).iloc[0]
    tp, fn, fp, tn = counts
    assert row["kappa"] == pytest.approx(
        cohen_kappa_score(frame["human"].astype(bool), frame["judge"].astype(bool))
    )
    assert row["kappa_low"] < row["kappa"] <= row["kappa_high"]
    for name, hits, n in (("sensitivity", tp, tp + fn), ("specificity", tn, tn + fp)):
        low, high = proportion_confint(hits, n, method="wilson")
        found = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
        assert found == pytest.approx([hits / n, low, high], abs=0.01)


def test_errors_that_come_in_papers_widen_the_intervals() -> None:
    alone = table(40, 10, 5, 45)
    clustered = alone.assign(paper_id=[f"p{i // 5}" for i in range(100)])
    rows = [judge_errors.agreement(frame, 2000).iloc[0] for frame in (alone, clustered)]
    for name in ("kappa", "sensitivity", "specificity"):
        narrow, wide = (row[f"{name}_high"] - row[f"{name}_low"] for row in rows)
        assert wide > 1.3 * narrow


def test_perfect_agreement_on_few_answers_is_no_certainty() -> None:
    row = judge_errors.agreement(table(10, 0, 0, 10)).iloc[0]
    assert row["kappa"] == row["sensitivity_high"] == 1.0
    assert math.isnan(row["kappa_low"]) and row["sensitivity_low"] < 0.9


def test_below_kappa_60_metrics_lead_and_few_labels_leave_it_open() -> None:
    for counts, expected in {
        (45, 5, 5, 45): "judge",
        (35, 15, 15, 35): "metrics",
        (14, 0, 0, 14): "unknown",
        (100, 0, 0, 0): "unknown",
    }.items():
        assert judge_errors.leads(judge_errors.agreement(table(*counts), 100)) == expected


# --- corrected rates -----------------------------------------------------------------------


def test_with_every_answer_labelled_the_correction_returns_the_person_s_rate() -> None:
    verdicts, compared, _ = world(1, labels=240)
    rates = corrections.rates(verdicts, compared, 200).set_index("condition")
    rates = rates[rates["stratum"] == "all_post"]
    human = compared.groupby("condition")["human"].mean()
    judged = verdicts.groupby("condition")["passed"].mean()
    for condition in CONDITIONS:
        assert rates["corrected"][condition] == pytest.approx(human[condition], abs=1e-9)
        assert abs(judged[condition] - human[condition]) > 0.005


def test_corrected_rates_agree_with_rogan_gladen_by_hand() -> None:
    """Half of the answers passed, in all and in the sample; sensitivity .8, specificity .9:
    (.5 + .9 - 1) / (.8 + .9 - 1) = 4 / 7."""
    compared = table(tp=32, fn=8, fp=3, tn=27)  # of 70 the judge passed 35
    judged = compared["judge"].to_numpy(dtype=bool)
    verdicts = pd.concat([frame_of(condition, judged) for condition in CONDITIONS])
    rates = corrections.rates(verdicts, compared, 200).set_index("condition")
    assert rates["corrected"]["base"].iloc[0] == pytest.approx(4 / 7)
    assert rates["corrected"]["base_rag"].isna().all()  # no labels of that condition


def test_corrected_intervals_cover_the_truth_where_the_judged_ones_do_not() -> None:
    """240 questions, 40 labels of every condition, 25 worlds x 6 conditions."""
    inside = judged = count = 0
    for seed in range(25):
        verdicts, compared, truth = world(seed, sensitivity=0.85, specificity=0.88)
        rates = corrections.rates(verdicts, compared, 400, seed)
        rates = rates[rates["stratum"] == "all_post"].set_index("condition")
        for name, true in truth.items():
            row, passed = rates.loc[name], verdicts.loc[verdicts["condition"] == name, "passed"]
            low, high = proportion_confint(passed.sum(), len(passed), method="wilson")
            if math.isnan(row["ci_low"]):  # labels that cannot tell: no interval, no claim
                continue
            count += 1
            inside += row["ci_low"] <= true <= row["ci_high"]
            judged += low <= true <= high
    assert count > 130
    assert inside / count >= 0.93  # 150 intervals: standard error 1.8 points
    assert judged / count < 0.85


# --- conclusions ---------------------------------------------------------------------------

LENIENT = {"specificity": dict.fromkeys(CONDITIONS, 0.97) | {"rag_ft_rag": 0.60}, "labels": 150}
LEVEL = (0.08, 0.50, 0.45, 0.50, 0.20)  # and then the RAG-tuned model with retrieval


def harsh(sensitivity: float) -> dict[str, object]:
    """A judge who misses many right answers of the better condition."""
    errs = dict.fromkeys(CONDITIONS, 0.97) | {"rag_ft_rag": sensitivity}
    return {"sensitivity": errs, "labels": 250}


@pytest.mark.parametrize(
    ("name", "given", "established", "expected"),
    [
        ("rag", {}, True, "holds"),
        # Both conditions are equally good; the judge passes 40 % of one condition's failures.
        ("ft_under_rag_rag", {**LENIENT, "right": (*LEVEL, 0.50)}, True, "no longer established"),
        ("ft_under_rag_rag", {**harsh(0.40), "right": (*LEVEL, 0.85)}, True, "reverses"),
        ("ft_under_rag_rag", {**harsh(0.60), "right": (*LEVEL, 0.83)}, False, "appears"),
    ],
)
def test_what_the_judge_made_turned_round_or_hid_is_seen(
    name: str, given: dict[str, object], established: bool, expected: str
) -> None:
    verdicts, compared, truth = world(3, papers=150, **given)  # type: ignore[arg-type]
    found, text = told(verdicts, compared)
    row = found[found["name"] == name].iloc[0]
    assert (row["established"], row["outcome"]) == (established, expected)
    true = truth["base_rag"] - truth["base" if name == "rag" else "rag_ft_rag"]
    assert abs(row["corrected"]) == pytest.approx(abs(true), abs=0.1)
    assert (f"RAG-style training on top of retrieval, all new papers, {expected}" in text) == (
        expected != "holds"
    )


def told(verdicts: pd.DataFrame, compared: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    planned = effect_table.planned_contrasts(verdicts, 400)
    found = corrections.contrasts(verdicts, compared, planned, 400)
    return found, corrections.reading(judge_errors.agreement(compared, 100), found)


def test_where_labels_do_not_show_a_judge_better_than_chance_nothing_is_corrected() -> None:
    verdicts, compared, _ = world(0, sensitivity=0.5, specificity=0.5)
    rates = corrections.rates(verdicts, compared, 400)
    assert rates[["corrected", "ci_low", "ci_high"]].isna().all(axis=None)
    found, text = told(verdicts, compared)
    assert set(found["outcome"]) == {"cannot tell"} and "these labels cannot tell" in text


def test_without_labels_nothing_is_measured_and_it_is_said() -> None:
    verdicts, compared, _ = world(0)
    compared = compared.assign(label="", human=pd.array([pd.NA] * len(compared), dtype="boolean"))
    agreement = judge_errors.agreement(compared)
    assert agreement["n"].sum() == 0 and agreement["unlabelled"][0] == 240
    assert math.isnan(agreement["kappa"][0])
    assert told(verdicts, compared)[1].startswith("**Not measured")
