"""Two conditions on the same questions, one question as good as another.

Textbook methods that know nothing of papers. They stand beside the ones that resample papers
(``resampling``): where few questions disagree or a rate is 0 or 100 %, they are the sounder.
"""

import math

from scipy import stats


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact McNemar p from the discordant pairs; 1 when no pair disagrees."""
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost).pvalue)


def newcombe_interval(both: int, gained: int, lost: int, neither: int) -> tuple[float, float]:
    """95 % interval of the difference of two paired proportions, method 10 of Newcombe.

    Pairs that pass under both conditions, under the second only, the first only, neither.
    The difference is (gained - lost) / n. Built from Wilson's intervals of the two rates, so
    it is never empty, and stays within -1 and 1; missing without pairs.

    Newcombe RG (1998). Improved confidence intervals for the difference between binomial
    proportions based on paired data. Statistics in Medicine 17, 2635-2650.
    """
    n = both + gained + lost + neither
    if n == 0:
        return float("nan"), float("nan")
    first, second = both + lost, both + gained
    a, b = first / n, second / n
    (low_a, high_a), (low_b, high_b) = _wilson(first, n), _wilson(second, n)
    margins = first * (n - first) * second * (n - second)
    excess = float(both * neither - gained * lost)
    if excess > 0:
        excess = max(excess - n / 2, 0.0)
    phi = excess / math.sqrt(margins) if margins else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one * one - 2 * phi * one * other + other * other, 0.0))

    return b - a - reach(b - low_b, high_a - a), b - a + reach(high_b - b, a - low_a)


def _wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval; ``scipy.stats.binomtest`` computes a slow p value beside it."""
    z2 = stats.norm.isf(0.025) ** 2
    centre = (hits + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (hits * (n - hits) / n + z2 / 4)) / (n + z2)
    return centre - half, centre + half
