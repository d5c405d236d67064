"""From verdicts to pass rates and planned contrasts.

Every function takes the tidy frame of ``joined.join``: one row per question and condition, of
which ``question_id``, ``paper_id``, ``stratum``, ``condition`` and ``passed`` (True, False, or
missing when the judge failed) count. A missing verdict is neither a pass nor
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

from cutoff import bootstrap
from cutoff.bootstrap import Array
from cutoff.errors import CutoffError
from cutoff.evaluate.stats import differences
from cutoff.evaluate.stats.averages import by_stratum
from cutoff.experiment import CONTRASTS, Contrast


def pass_rates(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Pass rate of every condition in every stratum, with 95 % intervals.

    Returns stratum (``all_post`` pools the three post-cutoff strata) and the columns of
    ``bootstrap.pass_rates`` by condition; rates are proportions.
    """
    if verdicts.empty:
        raise CutoffError("There are no verdicts to analyse: the data set has no questions.")
    frames = [
        bootstrap.pass_rates(rows, ["condition"]).assign(stratum=stratum)
        for stratum, rows in by_stratum(verdicts)
    ]
    names = "stratum condition n judge_failed n_papers passed pass_rate ci_low ci_high".split()
    return pd.concat(frames, ignore_index=True)[names]


def planned_contrasts(
    verdicts: pd.DataFrame, replicates: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Every planned contrast in every stratum that has questions, one row each.

    Columns: name, question, stratum, planned, a, b, rate_a, rate_b, test, p_holm, effect_size
    (Cohen's h) and those of ``differences.paired`` (difference is b - a). Rates and differences
    are proportions, not points.

    Pairs are tested by the exact McNemar test, interactions by flipping the sign of whole
    papers, which is also ``p_by_paper`` of every row. ``p_holm`` is Holm's adjustment,
    over the planned rows of all strata, of the larger of the two; it is missing in the
    rows that are detail only.
    """
    frames = []
    for stratum, rows in by_stratum(verdicts):
        wide = by_question(rows)
        passed = {name: wide[name].to_numpy() for name in wide.columns}
        values = np.column_stack([contrast_values(passed, contrast) for contrast in CONTRASTS])
        papers = wide.index.get_level_values("paper_id").to_numpy()
        found = differences.paired(values, papers, replicates, seed)
        sides = pd.DataFrame([_sides(contrast, passed) for contrast in CONTRASTS])
        planned = [stratum in contrast.planned for contrast in CONTRASTS]
        frames.append(sides.join(found).assign(stratum=stratum, planned=planned))
    names = (
        "name question stratum planned a b n n_missing n_papers rate_a rate_b gained lost "
        "difference standard_error ci_low ci_high test p p_by_paper p_holm effect_size mde "
        "n_for_5_points"
    ).split()
    frame = pd.concat(frames, ignore_index=True).reindex(columns=names)
    frame["p"] = frame["p"].where(frame["test"] == "exact McNemar", frame["p_by_paper"])
    frame["p_holm"] = bootstrap.holm(frame[["p", "p_by_paper"]].max(axis=1).where(frame["planned"]))
    return frame


def shuffle_conditions(verdicts: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Negative control: the same verdicts, dealt at random to the conditions of each question.

    Keeps how hard every question is and destroys what the conditions did.
    """
    shuffled = verdicts.sample(frac=1, random_state=seed).sort_values("question_id", kind="stable")
    dealt = verdicts.sort_values(["question_id", "condition"], kind="stable")
    return dealt.assign(passed=shuffled["passed"].array).sort_index()


def by_question(frame: pd.DataFrame, measure: str = "passed") -> pd.DataFrame:
    """Questions (index paper_id, question_id) x conditions: ``measure`` as a number or NaN."""
    numbers = frame.assign(value=frame[measure].astype("Float64").astype(float))
    wide = numbers.pivot(index=["paper_id", "question_id"], columns="condition", values="value")
    return wide[list(dict.fromkeys(frame["condition"]))]


def compared(wide: pd.DataFrame, a: str, b: str, replicates: int, seed: int) -> dict[str, Any]:
    """Two columns of ``by_question``: a, b, rate_a, rate_b (of questions known on both sides)
    and ``differences.summary`` of b - a."""
    papers = wide.index.get_level_values("paper_id").to_numpy()
    both = wide[[a, b]].dropna()
    rates = {"a": a, "b": b, "rate_a": both[a].mean(), "rate_b": both[b].mean()}
    values = (wide[b] - wide[a]).to_numpy()
    return rates | differences.summary(values, papers, replicates, seed)


def contrast_values(passed: Mapping[str, Array], contrast: Contrast) -> Array:
    """Per question, plus minus minus; NaN as soon as one of its verdicts is missing."""
    plus = sum((passed[name] for name in contrast.plus), start=np.zeros(1))
    return plus - sum((passed[name] for name in contrast.minus), start=np.zeros(1))


def _sides(contrast: Contrast, passed: Mapping[str, Array]) -> dict[str, Any]:
    """What is compared, the rates on the questions known on all sides, and Cohen's h."""
    known = ~np.isnan(contrast_values(passed, contrast))
    sides = contrast.plus + contrast.minus
    rate = {name: passed[name][known].mean() if known.any() else np.nan for name in sides}
    arcsine = {name: 2 * np.arcsin(rate[name] ** 0.5) for name in sides}
    row: dict[str, Any] = {
        "name": contrast.name,
        "question": contrast.question,
        "effect_size": sum(arcsine[name] for name in contrast.plus)
        - sum(arcsine[name] for name in contrast.minus),
    }
    if len(contrast.plus) == 1:
        a, b = contrast.minus[0], contrast.plus[0]
        return row | {
            "a": a, "b": b, "rate_a": rate[a], "rate_b": rate[b], "test": "exact McNemar"
        }  # fmt: skip
    # (plus0 + plus1) - (minus0 + minus1) = (plus0 - minus0) - (minus1 - plus1)
    with_rag, closed_book = contrast.plus[0], contrast.minus[1]
    return row | {
        "a": f"{closed_book} - {contrast.plus[1]}",
        "b": f"{with_rag} - {contrast.minus[0]}",
        "rate_a": rate[closed_book] - rate[contrast.plus[1]],
        "rate_b": rate[with_rag] - rate[contrast.minus[0]],
        "test": "sign flip by paper",
    }
