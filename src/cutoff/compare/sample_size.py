"""How many questions a decision would take."""

import math

from scipy import stats

Z_ALPHA, Z_POWER = float(stats.norm.isf(0.025)), float(stats.norm.isf(0.2))
MOST = 1_000_000  # beyond this a number of questions is no plan


def questions(n: float, value: float, low: float, high: float, edges: tuple[float, ...]) -> float:
    """Questions at which a 95 % interval clears all ``edges`` with 80 % power.

    ``value`` and its interval ``low`` to ``high`` were measured on ``n`` questions. Takes the
    present estimate for the truth and lets the interval shrink with the square root of the
    number of questions, papers growing with them. Infinite where the estimate lies on an edge,
    missing without an interval.

    Chow SC, Shao J, Wang H, Lokhnygina Y (2017). Sample size calculations in clinical research,
    third edition, section 3.1 (normal approximation).
    """
    if any(math.isnan(number) for number in (n, value, low, high)):
        return math.nan
    most = 0.0
    for edge in edges:
        if math.isinf(edge):
            continue
        error = (high - value if edge > value else value - low) / Z_ALPHA
        distance = abs(edge - value)
        ratio = (Z_ALPHA + Z_POWER) * error / distance if distance else math.inf
        most = max(most, n * ratio**2)
    return most


def written(n: float) -> str:
    """``about 1,900 questions``, two digits; words where no number would help."""
    if math.isnan(n):
        return "number of questions unknown"
    if n > MOST:
        return "more questions than can be asked: the estimate lies on the edge"
    digits = max(0, math.ceil(math.log10(max(n, 1))) - 2)
    return f"about {math.ceil(n / 10**digits) * 10**digits:,} questions"
