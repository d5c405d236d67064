"""Shares, their differences and slopes of questions that come in papers.

``resampling`` compares conditions on the same questions. Here the questions themselves
differ (another month, another number of wordings), so there are no pairs to resample.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


def share(values: Array, papers: NDArray[Any]) -> dict[str, float]:
    """Share of 1 among 0 / 1 ``values`` with a 95 % interval; ``papers`` is one label each.

    Returns n, n_papers, ones (their number), share, ci_low, ci_high. The interval is Wilson's
    with n divided by the design effect that the spread between papers shows (never below 1),
    and shrunk further where few papers carry that estimate, at most to what the papers are
    worth if all questions of one agree. At 0 and 100 % no design effect can be seen and n
    stands; the interval is never empty and stays inside 0..1.

    Korn EL, Graubard BI (1998). Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data. Survey Methodology 24, 193-201.
    """
    n, ones = len(values), int(np.sum(values))
    codes, names = pd.factorize(np.asarray(papers))
    known = {"n": n, "n_papers": len(names), "ones": ones}
    if n == 0:
        return {**known, "share": np.nan, "ci_low": np.nan, "ci_high": np.nan}
    rate = ones / n
    effective = _effective_n(values, codes, rate)
    z2 = stats.norm.ppf(0.975) ** 2
    centre = (rate + z2 / (2 * effective)) / (1 + z2 / effective)
    spread = rate * (1 - rate) / effective + z2 / (4 * effective**2)
    half = z2**0.5 * spread**0.5 / (1 + z2 / effective)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    # rounding must not cut off an end that is exact
    low, high = (0.0 if ones == 0 else low), (1.0 if ones == n else high)
    return {**known, "share": rate, "ci_low": low, "ci_high": high}


def difference(first: dict[str, float], second: dict[str, float]) -> tuple[float, float, float]:
    """``second`` minus ``first``, two results of ``share`` on different papers, with 95 % interval.

    The ends are put together from those of the two shares (Newcombe's method 10), so that
    0 against 100 % has an interval too. Missing where one of them has no question.

    Newcombe RG (1998). Interval estimation for the difference between independent
    proportions. Statistics in Medicine 17, 873-890.
    """
    a, b = first, second
    found = b["share"] - a["share"]
    below = ((b["share"] - b["ci_low"]) ** 2 + (a["ci_high"] - a["share"]) ** 2) ** 0.5
    above = ((b["ci_high"] - b["share"]) ** 2 + (a["share"] - a["ci_low"]) ** 2) ** 0.5
    return found, found - below, found + above


def slope(
    x: Array, y: Array, papers: NDArray[Any], replicates: int, seed: int
) -> tuple[float, float, float]:
    """Least-squares change of ``y`` per unit of ``x`` with a 95 % interval, papers resampled.

    Returns (slope, low, high), all missing where ``x`` does not vary or there is one paper;
    low and high are missing where resampling changes nothing, as when every ``y`` is equal:
    that is no proof of a slope of zero. Percentiles are expanded as in
    ``resampling.bootstrap_intervals``.
    """
    codes, names = pd.factorize(np.asarray(papers))
    g = len(names)
    if g < 2 or len(x) < 2 or np.ptp(x) == 0:
        return (np.nan,) * 3
    x = x - x.mean()  # the sums of squares below would lose digits on calendar years
    columns = np.column_stack([np.ones(len(x)), x, y, x * x, x * y])
    sums = np.zeros((g, columns.shape[1]))
    np.add.at(sums, codes, columns)
    drawn = np.random.default_rng(seed).integers(0, g, size=(replicates, g))
    drawn += np.arange(replicates)[:, None] * g
    weights = np.bincount(drawn.ravel(), minlength=replicates * g).reshape(replicates, g)
    found = _slopes(weights.astype(float) @ sums)
    found = found[~np.isnan(found)]
    if not len(found):
        return (np.nan,) * 3
    estimate = float(_slopes(sums.sum(axis=0)))
    if np.ptp(found) < 1e-12:
        return estimate, np.nan, np.nan
    tail = stats.norm.cdf(stats.t.ppf(0.025, g - 1) * (g / (g - 1)) ** 0.5)
    low, high = np.quantile(found, [tail, 1 - tail])
    return estimate, float(low), float(high)


def _effective_n(values: Array, codes: NDArray[Any], rate: float) -> float:
    """How many independent questions the questions are worth, between papers and n."""
    sizes = np.bincount(codes)
    n, g = len(values), len(sizes)
    least = n**2 / float(np.sum(sizes**2))
    if g < 2:
        return least
    if rate in (0.0, 1.0):
        return float(n)
    independent = rate * (1 - rate) / (n - 1)
    residuals = np.bincount(codes, weights=values - rate)
    clustered = g / (g - 1) * np.sum(residuals**2) / n**2
    uncertainty = stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, g - 1)
    return max(least, n / max(1.0, clustered / independent) * uncertainty**2)


def _slopes(sums: Array) -> Array:
    """Slope from the sums of 1, x, y, x^2, xy; missing where x did not vary."""
    n, x, y, xx, xy = np.moveaxis(sums, -1, 0)
    spread = n * xx - x * x
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (n * xy - x * y) / spread
    return np.where(spread > 1e-9 * np.maximum(n, 1) ** 2, found, np.nan)


def pass_rates(answers: pd.DataFrame, by: Sequence[str], sort: bool = False) -> pd.DataFrame:
    """Pass rate of every group of ``answers`` (columns paper_id, passed, and those of ``by``).

    Columns: those of ``by``, n (judged), judge_failed, n_papers, passed, pass_rate, ci_low,
    ci_high (95 %, see ``share``). A group whose label is missing is a group.
    """
    rows = []
    for labels, part in answers.groupby(list(by), dropna=False, sort=sort):
        judged = part.dropna(subset=["passed"])
        found = share(judged["passed"].to_numpy(dtype=float), judged["paper_id"].to_numpy())
        group = dict(zip(by, labels, strict=True))
        rows.append(group | {"judge_failed": len(part) - len(judged)} | found)
    frame = pd.DataFrame(rows).rename(columns={"ones": "passed", "share": "pass_rate"})
    names = "n judge_failed n_papers passed pass_rate ci_low ci_high".split()
    return frame.reindex(columns=[*by, *names])
