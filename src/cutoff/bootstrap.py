"""Intervals for questions that come in papers: one bootstrap, one interval of a rate, Holm.

Questions about one paper share its difficulty and its luck in retrieval, so whole papers are
drawn. Every statistic here is a function of *totals*, sums over the questions of each paper:

    found = bootstrap.means(values, papers, replicates, seed)        # means of columns
    found = bootstrap.intervals(totals(columns, papers), statistic, replicates, seed)  # any other
    rate = bootstrap.share(passed, papers)                           # a rate, no draws

In simulation with 24 papers such intervals cover 95 %, and the same bootstrap over single
questions covers 85 % (tests/unit/test_bootstrap.py).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]

CHUNK = 500  # replicates drawn at a time: their weights fit into the cache
FEWEST_PAPERS = 10  # for a slope, or a difference between papers


class Intervals(NamedTuple):
    """Estimates with 95 % intervals and standard errors, an entry per value of a statistic."""

    estimate: Array
    low: Array
    high: Array
    standard_error: Array


# --- any statistic of totals over papers -----------------------------------------------------


def totals(columns: Array, papers: NDArray[Any]) -> Array:
    """Sums of ``columns`` (questions x any shape, no NaN) over each paper: papers x that shape."""
    codes, names = pd.factorize(np.asarray(papers))
    sums = np.zeros((len(names), *columns.shape[1:]))
    np.add.at(sums, codes, columns)
    return sums


def draws(by_paper: Array, statistic: Statistic, replicates: int, seed: int) -> Array:
    """``statistic`` of ``replicates`` draws of whole papers, as many papers as there are.

    ``by_paper``: papers x columns, see ``totals``. ``statistic`` gets rows of summed columns
    and returns a value, or an array of values, per row. All of them see the same draws.
    """
    g = len(by_paper)
    rng = np.random.default_rng(seed)
    found = []
    for start in range(0, replicates, CHUNK):
        rows = min(CHUNK, replicates - start)
        drawn = rng.integers(0, g, size=(rows, g)) + np.arange(rows)[:, None] * g
        counted = np.bincount(drawn.ravel(), minlength=rows * g)
        weights = counted.reshape(rows, g).astype(np.float64)  # BLAS multiplies no integers
        found.append(statistic(weights @ by_paper))
    return np.concatenate(found)


def intervals(by_paper: Array, statistic: Statistic, replicates: int, seed: int) -> Intervals:
    """``statistic`` of all papers with 95 % intervals; arguments as in ``draws``.

    The percentiles are Hesterberg's expanded ones: plain percentiles act as if the spread
    between papers were known and cover about 93 % with 20 papers. An interval is missing with
    fewer than two papers and where no draw changes the value, which proves no certainty;
    draws without a value (NaN) do not count.

    Hesterberg T (2015). What teachers should know about the bootstrap. The American
    Statistician 69, 371-386, section 5.3.
    """
    g = len(by_paper)
    estimate = statistic(by_paper.sum(axis=0)[None])[0]
    low, high, error = (np.full(estimate.shape, np.nan) for _ in range(3))
    if g < 2:
        return Intervals(estimate, low, high, error)
    tail = expanded_tail(g)
    found = draws(by_paper, statistic, replicates, seed)
    for place in np.ndindex(estimate.shape):
        values = found[:, *place]
        values = values[~np.isnan(values)]
        if len(values):
            error[place] = values.std() * (g / (g - 1)) ** 0.5
            if np.ptp(values) >= 1e-12:
                low[place], high[place] = np.quantile(values, [tail, 1 - tail])
    return Intervals(estimate, low, high, error)


def expanded_tail(g: int) -> float:
    """Which quantile of ``g`` papers' bootstrap stands for 2.5 % (Hesterberg)."""
    return float(stats.norm.cdf(stats.t.ppf(0.025, g - 1) * (g / (g - 1)) ** 0.5))


# --- means ---------------------------------------------------------------------------------


def means(values: Array, papers: NDArray[Any], replicates: int, seed: int) -> Intervals:
    """Mean of every column of ``values`` (questions x columns, NaN where unknown).

    Where all papers agree exactly that it is -1, 0 or 1, as verdicts and their differences can,
    Tango's score interval for pairs stands in: "nobody passed" is no perfect certainty. Where
    they agree on another value the interval is missing.

    Tango T (1998). Statistics in Medicine 17, 891-908.
    """
    found = intervals(_sums_and_counts(values, papers), _ratio, replicates, seed)
    alike = np.isnan(found.low) & np.isin(found.estimate, (-1, 0, 1))
    alike &= ~np.isnan(found.standard_error)
    n = (~np.isnan(values)).sum(axis=0)[alike]
    margin = 3.8415 / (n + 3.8415)  # z^2 / (n + z^2)
    found.low[alike] = np.maximum(-1.0, found.estimate[alike] - margin)
    found.high[alike] = np.minimum(1.0, found.estimate[alike] + margin)
    return found


def mean_draws(values: Array, papers: NDArray[Any], replicates: int, seed: int) -> Array:
    """Means of the columns of ``values`` in every draw: replicates x columns; see ``means``."""
    return draws(_sums_and_counts(values, papers), _ratio, replicates, seed)


def _sums_and_counts(values: Array, papers: NDArray[Any]) -> Array:
    known = ~np.isnan(values)
    return totals(np.hstack([np.where(known, values, 0.0), known]), papers)


def _ratio(sums: Array) -> Array:
    k = sums.shape[1] // 2
    with np.errstate(invalid="ignore"):
        return np.asarray(sums[:, :k] / sums[:, k:])


# --- slopes --------------------------------------------------------------------------------


def slope(
    x: Array, y: Array, papers: NDArray[Any], replicates: int, seed: int
) -> tuple[float, float, float]:
    """(slope, low, high): least-squares change of ``y`` per unit of ``x``, 95 % interval.

    All missing where ``x`` does not vary. The interval is missing with fewer than
    ``FEWEST_PAPERS`` papers, over which a bootstrap promises too much, and where every ``y`` is
    equal: that is no proof of a slope of zero.
    """
    if len(x) < 2 or np.ptp(x) == 0:
        return (np.nan,) * 3
    x = x - x.mean()  # the sums of squares would lose digits on calendar years
    columns = np.column_stack([np.ones(len(x)), x, y, x * x, x * y])
    found = intervals(totals(columns, papers), _slopes, replicates, seed)
    if len(set(papers)) < FEWEST_PAPERS:
        return float(found.estimate), np.nan, np.nan
    return float(found.estimate), float(found.low), float(found.high)


def _slopes(sums: Array) -> Array:
    """Slope from the sums of 1, x, y, x^2, xy; missing where x did not vary."""
    n, x, y, xx, xy = sums.T
    spread = n * xx - x * x
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (n * xy - x * y) / spread
    return np.where(spread > 1e-9 * np.maximum(n, 1) ** 2, found, np.nan)


# --- rates ---------------------------------------------------------------------------------


def share(values: Array, papers: "NDArray[Any] | pd.Series[str]") -> dict[str, float]:
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
    effective = effective_n(values, codes, rate)
    z2 = stats.norm.ppf(0.975) ** 2
    centre = (rate + z2 / (2 * effective)) / (1 + z2 / effective)
    spread = rate * (1 - rate) / effective + z2 / (4 * effective**2)
    half = z2**0.5 * spread**0.5 / (1 + z2 / effective)
    # rounding must not cut off an end that is exact
    low = 0.0 if ones == 0 else max(0.0, centre - half)
    high = 1.0 if ones == n else min(1.0, centre + half)
    return {**known, "share": rate, "ci_low": low, "ci_high": high}


def effective_n(values: Array, codes: NDArray[Any], rate: float) -> float:
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


# --- two results, many tests --------------------------------------------------------------


def difference(first: Iterable[float], second: Iterable[float]) -> tuple[float, float, float]:
    """``second`` minus ``first``, two independent (estimate, low, high), with 95 % interval.

    Square-and-add: the ends keep the asymmetry of the two intervals, so that 0 against 100 %
    has an interval too. With Wilson's intervals of two shares it is Newcombe's method 10.

    Zou GY, Donner A (2008). Construction of confidence limits about effect measures: a general
    approach. Statistics in Medicine 27, 1693-1702.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    found = b - a
    return (
        found,
        found - float(np.hypot(b - b_low, a_high - a)),
        found + float(np.hypot(b_high - b, a - a_low)),
    )


def holm(p: "pd.Series[float]") -> Array:
    """Holm's adjusted p values; missing entries stay missing and do not count."""
    import pingouin  # seconds to import, and most users of this module need no p

    adjusted = np.full(len(p), np.nan)
    known = p.notna().to_numpy()
    if known.any():
        adjusted[known] = pingouin.multicomp(p[known].to_numpy(dtype=float), method="holm")[1]
    return adjusted
