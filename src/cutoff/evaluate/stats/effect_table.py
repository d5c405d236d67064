"""From verdicts to pass rates, planned contrasts and the numbers beside every null.

Every function takes the tidy *verdicts* frame: one row per question and condition with
the columns ``question_id``, ``paper_id``, ``stratum``, ``condition`` and ``passed``
(True, False, or missing when the judge failed). A missing verdict is neither a pass nor
a fail: the pairs it belongs to leave the contrasts that need them, and are counted.

The unit that was sampled is the paper, not the question: questions about one paper share
its difficulty and its luck in retrieval. So intervals come from a bootstrap that draws
whole papers, and a contrast must survive a test that flips whole papers as well as the
exact McNemar test before a sentence may be built on it (``p_holm``).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pingouin
from numpy.typing import NDArray
from scipy import stats

from cutoff.errors import CutoffError
from cutoff.evaluate.stats import pairs_of_rates, power
from cutoff.evaluate.stats.resampling import Array, bootstrap_intervals, sign_flip_test
from cutoff.experiment import CONTRASTS, POST_STRATA, STRATA, Contrast

COLUMNS = ("question_id", "paper_id", "stratum", "condition", "passed")


def pass_rates(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Pass rate of every condition in every stratum, with 95 % Wilson score intervals.

    Returns the columns stratum (``all_post`` pools the three post-cutoff strata), condition,
    n (judged), judge_failed, passed, pass_rate, ci_low, ci_high; rates are proportions.
    """
    rows = []
    for stratum, table in _by_stratum(verdicts):
        for condition in table.columns:
            judged = table[condition].dropna()
            n, passed = len(judged), int(judged.sum())
            low = high = rate = np.nan
            if n:
                rate = passed / n
                low, high = stats.binomtest(passed, n).proportion_ci(method="wilson")
            rows.append((stratum, condition, n, len(table) - n, passed, rate, low, high))
    names = "stratum condition n judge_failed passed pass_rate ci_low ci_high".split()
    return pd.DataFrame(rows, columns=names)


def planned_contrasts(
    verdicts: pd.DataFrame, replicates: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Every planned contrast in every stratum that has questions, one row each.

    Columns: name, question, stratum, planned, a, b, n (complete pairs), n_missing,
    n_papers, rate_a, rate_b, gained and lost (discordant questions), difference (b - a),
    standard_error, ci_low, ci_high (95 %, papers resampled), newcombe_low, newcombe_high
    (95 %, pairs only, blind to papers), test, p, p_by_paper, p_holm, effect_size (Cohen's
    h), mde, n_for_5_points. Rates and differences are proportions, not points.

    Pairs are tested by the exact McNemar test, interactions by flipping the sign of whole
    papers, which is also ``p_by_paper`` of every row. ``p_holm`` is Holm's adjustment,
    over the planned rows of all strata, of the larger of the two; it is missing in the
    rows that are detail only. ``mde`` is the smallest true difference that this many
    questions, as discordant and as clustered as these, find with 80 % power at 5 %, and
    ``n_for_5_points`` the number of such questions that find a difference of 5 points.
    """
    rows: list[dict[str, Any]] = []
    for stratum, table in _by_stratum(verdicts):
        papers, _ = pd.factorize(table.index.get_level_values("paper_id"))
        passed = {name: table[name].to_numpy() for name in table.columns}
        values = np.column_stack([_differences(passed, contrast) for contrast in CONTRASTS])
        low, high, error = bootstrap_intervals(values, papers, replicates, seed)
        p_by_paper = sign_flip_test(values, papers, replicates, seed)
        for i, contrast in enumerate(CONTRASTS):
            row = _contrast_row(contrast, passed, values[:, i], papers, error[i])
            row |= {"stratum": stratum, "planned": stratum in contrast.planned}
            row |= {"ci_low": low[i], "ci_high": high[i], "p_by_paper": p_by_paper[i]}
            row |= {"standard_error": error[i]}
            if row["test"] == "sign flip by paper":
                row["p"] = p_by_paper[i]
            rows.append(row)
    names = (
        "name question stratum planned a b n n_missing n_papers rate_a rate_b gained lost "
        "difference standard_error ci_low ci_high newcombe_low newcombe_high "
        "test p p_by_paper p_holm effect_size mde n_for_5_points"
    ).split()
    frame = pd.DataFrame(rows).reindex(columns=names)
    frame["p_holm"] = holm(frame[["p", "p_by_paper"]].max(axis=1).where(frame["planned"]))
    return frame


def cochran_q(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Cochran's Q per stratum: do the conditions differ at all?

    Only questions judged in every condition count. Returns stratum, n, q, df, p. When no
    question separates the conditions, Q is 0 and p is 1.
    """
    rows = []
    for stratum, table in _by_stratum(verdicts):
        complete = table.dropna().astype(int)
        df = complete.shape[1] - 1
        q, p = 0.0, 1.0
        if (complete.nunique(axis=1) > 1).any():
            result = pingouin.cochran(complete.reset_index(drop=True))
            q, p = float(result["Q"].iloc[0]), float(result["p_unc"].iloc[0])
        rows.append((stratum, len(complete), q, df, p))
    return pd.DataFrame(rows, columns=["stratum", "n", "q", "df", "p"])


def holm(p: "pd.Series[float]") -> Array:
    """Holm's adjusted p values; missing entries stay missing and do not count."""
    adjusted = np.full(len(p), np.nan)
    known = p.notna().to_numpy()
    if known.any():
        adjusted[known] = pingouin.multicomp(p[known].to_numpy(), method="holm")[1]
    return adjusted


def _by_stratum(verdicts: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(stratum, questions x conditions table of 1.0 / 0.0 / NaN) for every stratum present."""
    wide = _wide(verdicts)
    of = wide.index.get_level_values("stratum")
    groups = {name: of == name for name in (*POST_STRATA, "control")}
    groups = {"all_post": of.isin(POST_STRATA), **groups}
    return [(name, wide[rows]) for name, rows in groups.items() if rows.any()]


def _wide(verdicts: pd.DataFrame) -> pd.DataFrame:
    absent = [name for name in COLUMNS if name not in verdicts.columns]
    if absent:
        raise CutoffError(f"The verdicts have no column {', '.join(absent)}.")
    if verdicts.empty:
        raise CutoffError("There are no verdicts to analyse: run 04_evaluate's answering first.")
    unknown = sorted(set(verdicts["stratum"]) - set(STRATA[1:]))
    if unknown:
        raise CutoffError(f"Unknown stratum {unknown[0]!r}; known are {', '.join(STRATA[1:])}.")
    keys = ["question_id", "condition"]
    twice = verdicts[verdicts.duplicated(keys)]
    if len(twice):
        first = twice.iloc[0]
        raise CutoffError(
            f"Question {first['question_id']} was judged twice under {first['condition']}."
        )
    wanted = sorted({c for contrast in CONTRASTS for c in contrast.plus + contrast.minus})
    conditions = list(dict.fromkeys(verdicts["condition"]))
    left_out = [name for name in wanted if name not in conditions]
    if left_out:
        raise CutoffError(f"No verdict at all for the condition {', '.join(left_out)}.")
    numbers = verdicts.assign(passed=verdicts["passed"].astype("boolean").astype("Float64"))
    index = ["paper_id", "question_id", "stratum"]
    answered = verdicts.groupby("question_id")["condition"].nunique()
    incomplete = answered[answered < len(conditions)]
    if len(incomplete):
        raise CutoffError(
            f"{len(incomplete)} questions were not put to every condition, first "
            f"{incomplete.index[0]}: a contrast would compare different questions."
        )
    wide = numbers.pivot(index=index, columns="condition", values="passed")[conditions]
    return wide.astype(float)


def _differences(passed: Mapping[str, Array], contrast: Contrast) -> Array:
    """Per question, plus minus minus; NaN as soon as one of its verdicts is missing."""
    plus = sum((passed[name] for name in contrast.plus), start=np.zeros(1))
    return plus - sum((passed[name] for name in contrast.minus), start=np.zeros(1))


def _contrast_row(
    contrast: Contrast,
    passed: Mapping[str, Array],
    values: Array,
    papers: NDArray[Any],
    standard_error: float,
) -> dict[str, Any]:
    known = ~np.isnan(values)
    d = values[known]
    n = len(d)
    sides = contrast.plus + contrast.minus
    rate = {name: passed[name][known].mean() if n else np.nan for name in sides}
    arcsine = {name: 2 * np.arcsin(rate[name] ** 0.5) for name in sides}
    mde, n_for_5_points = power.of_questions(d, standard_error)
    row: dict[str, Any] = {
        "name": contrast.name,
        "question": contrast.question,
        "n": n,
        "n_missing": len(values) - n,
        "n_papers": len(np.unique(papers[known])),
        "gained": int((d > 0).sum()),
        "lost": int((d < 0).sum()),
        "difference": d.mean() if n else np.nan,
        "effect_size": sum(arcsine[name] for name in contrast.plus)
        - sum(arcsine[name] for name in contrast.minus),
        "mde": mde,
        "n_for_5_points": n_for_5_points,
    }
    if len(contrast.plus) == 1:
        a, b = contrast.minus[0], contrast.plus[0]
        gained, lost = row["gained"], row["lost"]
        p = pairs_of_rates.mcnemar_exact(gained, lost) if n else np.nan
        both = int((passed[a][known] * passed[b][known]).sum())
        low, high = pairs_of_rates.newcombe_interval(both, gained, lost, n - both - gained - lost)
        row |= {"a": a, "b": b, "rate_a": rate[a], "rate_b": rate[b]}
        row |= {"newcombe_low": low, "newcombe_high": high}
        return row | {"test": "exact McNemar", "p": p}
    # (plus0 + plus1) - (minus0 + minus1) = (plus0 - minus0) - (minus1 - plus1)
    with_rag, closed_book = contrast.plus[0], contrast.minus[1]
    row |= {"a": f"{closed_book} - {contrast.plus[1]}", "b": f"{with_rag} - {contrast.minus[0]}"}
    row |= {"rate_a": rate[closed_book] - rate[contrast.plus[1]]}
    row |= {"rate_b": rate[with_rag] - rate[contrast.minus[0]]}
    return row | {"test": "sign flip by paper"}
