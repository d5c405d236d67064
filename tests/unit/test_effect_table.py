"""Statistics against independent implementations and against data whose truth is known."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_effectsize

from cutoff import bootstrap, files, params
from cutoff.evaluate import results
from cutoff.evaluate.stats import differences, effect_table
from cutoff.experiment import CONTRASTS, POST_STRATA
from cutoff.report.claims import is_effect
from cutoff.run import folders

CONDITIONS = ("base", "base_rag", "instruct_ft", "instruct_ft_rag", "rag_ft", "rag_ft_rag")
WORLD = {  # stratum -> (papers, questions per paper, pass probability of each condition)
    "seen": (40, 3, (0.03, 0.65, 0.40, 0.70, 0.25, 0.75)),
    "unseen_fact": (40, 2, (0.03, 0.65, 0.03, 0.66, 0.03, 0.70)),
    "unseen_paper": (20, 4, (0.02, 0.62, 0.02, 0.60, 0.02, 0.66)),
    "control": (30, 2, (0.50, 0.70, 0.45, 0.70, 0.45, 0.70)),
}


def make_verdicts(seed: int = 0, world: dict = WORLD, paper_share: float = 0.3) -> pd.DataFrame:
    """Verdicts whose log-odds share a paper effect, with the stated marginal pass rates."""
    rng = np.random.default_rng(seed)
    rows = []
    for stratum, (papers, per_paper, rates) in world.items():
        # seen and unseen_fact are about the same papers
        family = "train" if stratum in ("seen", "unseen_fact") else stratum
        for paper in range(papers):
            shared = rng.normal(size=len(rates))
            for number in range(per_paper):
                own = rng.normal(size=len(rates))
                latent = paper_share**0.5 * shared + (1 - paper_share) ** 0.5 * own
                for condition, passed in zip(
                    CONDITIONS, latent < stats.norm.ppf(rates), strict=True
                ):
                    question = f"{family}{paper}/{stratum}{number}"
                    rows.append((question, f"{family}{paper}", stratum, condition, bool(passed)))
    frame = pd.DataFrame(rows, columns="question_id paper_id stratum condition passed".split())
    return frame.astype({"passed": "boolean"})


@pytest.fixture(scope="module")
def verdicts() -> pd.DataFrame:
    return make_verdicts()


@pytest.fixture(scope="module")
def contrasts(verdicts: pd.DataFrame) -> pd.DataFrame:
    return effect_table.planned_contrasts(verdicts, replicates=2000, seed=0)


def pick(contrasts: pd.DataFrame, name: str, stratum: str) -> pd.Series:
    rows = contrasts[(contrasts["name"] == name) & (contrasts["stratum"] == stratum)]
    assert len(rows) == 1
    return rows.iloc[0]


def wide(verdicts: pd.DataFrame, strata: tuple[str, ...]) -> pd.DataFrame:
    rows = verdicts[verdicts["stratum"].isin(strata)]
    return rows.pivot(index="question_id", columns="condition", values="passed").astype(int)


# --- against statsmodels ---------------------------------------------------------------


def test_pass_rates_count_every_stratum_and_have_the_one_interval_of_a_rate(
    verdicts: pd.DataFrame,
) -> None:
    rates = effect_table.pass_rates(verdicts)
    assert len(rates) == 5 * 6
    for row in rates.itertuples():
        strata = POST_STRATA if row.stratum == "all_post" else (row.stratum,)
        rows = verdicts[verdicts["stratum"].isin(strata) & (verdicts["condition"] == row.condition)]
        found = bootstrap.share(rows["passed"].to_numpy(float), rows["paper_id"].to_numpy())
        assert (row.n, row.passed) == (len(rows), rows["passed"].sum())
        assert (row.ci_low, row.ci_high) == (found["ci_low"], found["ci_high"])


def test_contrast_counts_difference_and_effect_size(
    verdicts: pd.DataFrame, contrasts: pd.DataFrame
) -> None:
    row = pick(contrasts, "ft_closed_book_instruct", "seen")
    table = wide(verdicts, ("seen",))
    gained = ((table["base"] == 0) & (table["instruct_ft"] == 1)).sum()
    lost = ((table["base"] == 1) & (table["instruct_ft"] == 0)).sum()
    assert (row["gained"], row["lost"], row["n"]) == (gained, lost, 120)
    assert row["difference"] == pytest.approx((gained - lost) / 120)
    assert row["effect_size"] == pytest.approx(
        proportion_effectsize(table["instruct_ft"].mean(), table["base"].mean())
    )


def test_interaction_is_the_difference_of_two_differences(
    verdicts: pd.DataFrame, contrasts: pd.DataFrame
) -> None:
    row = pick(contrasts, "interaction_rag", "all_post")
    mean = wide(verdicts, POST_STRATA).mean()
    with_rag, closed = mean["rag_ft_rag"] - mean["base_rag"], mean["rag_ft"] - mean["base"]
    assert row["difference"] == pytest.approx(with_rag - closed)
    assert (row["rate_a"], row["rate_b"]) == pytest.approx((closed, with_rag))


def test_holm_agrees_with_statsmodels_and_covers_the_planned_rows_only(
    contrasts: pd.DataFrame,
) -> None:
    family = contrasts[contrasts["planned"]]
    assert len(family) == sum(len(c.planned) for c in CONTRASTS)
    worst = family[["p", "p_by_paper"]].max(axis=1)
    assert family["p_holm"].to_numpy() == pytest.approx(multipletests(worst, method="holm")[1])
    assert contrasts.loc[~contrasts["planned"], "p_holm"].isna().all()


def test_conditions_that_always_agree_differ_by_nothing(verdicts: pd.DataFrame) -> None:
    same = verdicts.assign(passed=pd.array([True] * len(verdicts), dtype="boolean"))
    contrasts = effect_table.planned_contrasts(same, replicates=200)
    assert (contrasts["difference"] == 0).all()
    assert (contrasts[["p", "p_by_paper"]] == 1).all(axis=None)
    assert (contrasts["ci_low"] < 0).all() and (contrasts["ci_high"] > 0).all()
    assert (contrasts["mde"] > 0.01).all()


# --- missing verdicts ------------------------------------------------------------------


def test_a_failed_judgement_leaves_only_the_pairs_it_belongs_to(verdicts: pd.DataFrame) -> None:
    broken = verdicts.copy()
    hit = (broken["condition"] == "rag_ft") & (broken["stratum"] == "seen")
    broken.loc[broken[hit].index[:7], "passed"] = pd.NA
    contrasts = effect_table.planned_contrasts(broken, replicates=200)
    touched = contrasts[contrasts["n_missing"] > 0]
    assert set(touched["stratum"]) == {"seen", "all_post"}
    assert set(touched["name"]) == {
        "ft_closed_book_rag",
        "transfer_to_closed_book",
        "interaction_rag",
    }
    assert (touched["n_missing"] == 7).all()
    seen = pick(contrasts, "ft_closed_book_rag", "seen")
    kept = broken[~broken["question_id"].isin(broken.loc[broken[hit].index[:7], "question_id"])]
    table = wide(kept, ("seen",))
    assert seen["n"] == len(table) == 113
    assert seen["difference"] == pytest.approx(table["rag_ft"].mean() - table["base"].mean())
    rates = effect_table.pass_rates(broken)
    assert rates["judge_failed"].sum() == 14  # once in seen, once in the pool


def test_five_questions_on_one_paper_yield_numbers_without_intervals() -> None:
    few = make_verdicts(world={"seen": (1, 5, (0.0, 1.0, 0.5, 1.0, 0.5, 1.0))})
    row = pick(effect_table.planned_contrasts(few, replicates=100), "rag", "seen")
    assert row["difference"] == 1.0
    assert math.isnan(row["ci_low"]) and math.isnan(row["ci_high"])


# --- simulation: clustered data whose truth is known -----------------------------------

RATES = (0.30, 0.30, 0.30, 0.30, 0.30, 0.30)


def simulate(papers: int, truth: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """Coverage of the interval and rejections of the test, by paper and by question.

    2,000 experiments of two conditions: 2 to 5 questions a paper, half of what decides an
    answer shared by the paper. An experiment is a column, so a batch shares its draws; the
    batches differ in their papers' sizes and in the draws.
    """
    found: dict[str, list[tuple[float, float]]] = {"by paper": [], "by question": []}
    effect = truth[1] - truth[0]
    for batch in range(8):
        rng = np.random.default_rng(batch)
        paper = np.repeat(np.arange(papers), rng.integers(2, 6, size=papers))
        shared = rng.normal(size=(papers, 250, 2))[paper]
        own = rng.normal(size=(len(paper), 250, 2))
        passed = (0.5**0.5 * (shared + own) < stats.norm.ppf(truth)).astype(float)
        d = passed[:, :, 1] - passed[:, :, 0]
        for way, clusters in (("by paper", paper), ("by question", np.arange(len(paper)))):
            ends = bootstrap.means(d, clusters, 800, batch)
            inside = (ends.low <= effect) & (effect <= ends.high)
            rejected = differences.sign_flip_test(d, clusters, 800, batch) <= 0.05
            found[way].append((inside.mean(), rejected.mean()))
    return {way: tuple(np.mean(values, axis=0)) for way, values in found.items()}


@pytest.mark.parametrize(
    ("papers", "truth", "errs"),
    [
        (60, (0.5, 0.5), (0.035, 0.065)),
        (24, (0.3, 0.3), (0.01, 0.055)),  # few possible sums: the exact test rejects less
        (40, (0.1, 0.6), None),
    ],
)
def test_by_paper_truth_is_covered_and_a_null_rejected_as_often_as_promised(
    papers: int, truth: tuple[float, float], errs: tuple[float, float] | None
) -> None:
    """95 % coverage and 5 % type-I error within three Monte-Carlo standard errors; resampling
    questions instead of papers fails both on the same data."""
    found = simulate(papers, truth)
    assert 0.935 <= found["by paper"][0] <= 0.965
    assert found["by question"][0] < 0.90
    if errs:
        assert errs[0] <= found["by paper"][1] <= errs[1]
        assert found["by question"][1] > 0.10


def test_a_world_without_effects_earns_a_sentence_in_at_most_five_percent_of_runs() -> None:
    """All six conditions pass 30 %, papers differ: family-wise error of the claims."""
    world = {name: (size[0], size[1], RATES) for name, size in WORLD.items()}
    false_claims = 0
    for seed in range(30):
        verdicts = make_verdicts(seed, world, paper_share=0.5)
        contrasts = effect_table.planned_contrasts(verdicts, replicates=400, seed=seed)
        false_claims += any(is_effect(row) for row in contrasts.to_dict("records"))
    assert false_claims <= 5  # 1.5 expected at most; more than 5 has a probability of 0.3 %


# --- determinism, control, record ------------------------------------------------------


def test_the_seed_alone_decides_the_resampling(verdicts: pd.DataFrame) -> None:
    once = effect_table.planned_contrasts(verdicts, replicates=300, seed=3)
    again = effect_table.planned_contrasts(verdicts, replicates=300, seed=3)
    other = effect_table.planned_contrasts(verdicts, replicates=300, seed=4)
    pd.testing.assert_frame_equal(once, again)
    assert not once["ci_low"].equals(other["ci_low"])


def test_the_order_of_the_rows_changes_no_estimate(verdicts: pd.DataFrame) -> None:
    mixed = verdicts.sample(frac=1, random_state=1)
    one = effect_table.planned_contrasts(verdicts, replicates=300)
    two = effect_table.planned_contrasts(mixed, replicates=300)
    pd.testing.assert_frame_equal(one, two)


def test_shuffling_keeps_every_question_and_loses_every_effect(verdicts: pd.DataFrame) -> None:
    shuffled = effect_table.shuffle_conditions(verdicts, seed=0)
    keys = ["question_id", "paper_id", "stratum", "condition"]
    pd.testing.assert_frame_equal(shuffled[keys], verdicts[keys])
    per_question = verdicts.groupby("question_id")["passed"].sum()
    assert shuffled.groupby("question_id")["passed"].sum().equals(per_question)
    assert not shuffled["passed"].equals(verdicts["passed"])


def test_the_negative_control_claims_nothing_where_the_data_claim_much(
    verdicts: pd.DataFrame, contrasts: pd.DataFrame
) -> None:
    """Shuffled verdicts, 20 seeds: at most one may be unlucky (expected at 5 %)."""
    assert sum(is_effect(row) for row in contrasts.to_dict("records")) >= 3
    unlucky = 0
    for seed in range(20):
        shuffled = effect_table.shuffle_conditions(verdicts, seed)
        rows = effect_table.planned_contrasts(shuffled, replicates=500, seed=seed)
        unlucky += any(is_effect(row) for row in rows.to_dict("records"))
    assert unlucky <= 1


def test_results_are_plain_json_and_equal_for_equal_input(
    verdicts: pd.DataFrame, contrasts: pd.DataFrame, tmp_path: Path
) -> None:
    stage = folders.locate("04_evaluate", params.load("tiny", {"output_dir": str(tmp_path)}))
    files.write_json_atomic(
        stage.folder / "parity.json", {"provider": "llama_cpp", "n_parameters": 3}
    )
    found = {"share": np.float64(1 / 3), "frame": pd.DataFrame({"a": [1.5, np.nan]})}
    arguments = (stage, effect_table.pass_rates(verdicts), contrasts, ["a sentence"], found)
    record = results.build(*arguments)
    text = json.dumps(record, allow_nan=False)
    assert text == json.dumps(results.build(*arguments), allow_nan=False)
    assert record["n_questions"] == verdicts["question_id"].nunique()
    assert list(record["conditions"]) == list(CONDITIONS)
    assert record["conditions"]["base"]["n"] == 280
    assert record["diagnostics"] == {"share": 0.333333, "frame": [{"a": 1.5}, {"a": None}]}
    assert any(row["p_holm"] is None for row in record["contrasts"])
    assert (record["size"], record["n_parameters"], record["judge"]) == ("tiny", 3, "reference")
