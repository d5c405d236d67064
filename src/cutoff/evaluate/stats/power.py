"""What a number of questions can show: smallest detectable effect, and questions needed."""

import math

from scipy import optimize, stats

from cutoff.bootstrap import Array

WORTH_FINDING = 0.05  # a difference of 5 points: what "n needed" is computed for


def minimum_detectable_effect(
    n: float, discordance: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Smallest difference of two paired proportions that ``n`` pairs detect, as a proportion.

    ``discordance`` (psi) is the share of pairs on which the two conditions disagree. Solves
    Connor's sample size for the McNemar test, sqrt(n) d = z_alpha sqrt(psi) + z_power
    sqrt(psi - d^2), for d. A difference cannot exceed the discordance, so where psi is too
    small all discordant pairs are taken to point one way (psi = d): no disagreement seen is
    no proof that none exists. For an interaction psi is the mean squared difference.
    Missing when ``n`` is too small to detect anything.

    Connor RJ (1987). Sample size for testing differences in proportions for the
    paired-sample design. Biometrics 43, 207-211.
    """
    z_alpha, z_power = stats.norm.isf(alpha / 2), stats.norm.isf(1 - power)
    if not n > z_alpha**2:
        return float("nan")

    def excess(d: float) -> float:
        psi = max(discordance, d)
        return d * n**0.5 - z_alpha * psi**0.5 - z_power * max(psi - d * d, 0.0) ** 0.5

    return float(optimize.brentq(excess, 1e-9, 1.0)) if excess(1.0) > 0 else float("nan")


def sample_size(
    difference: float, discordance: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Pairs that detect ``difference`` (a proportion above 0), not rounded: Connor's formula.

    The inverse of ``minimum_detectable_effect``, and like it never with a discordance
    below the difference.
    """
    psi = max(discordance, difference)
    z_alpha, z_power = stats.norm.isf(alpha / 2), stats.norm.isf(1 - power)
    root = z_alpha * psi**0.5 + z_power * max(psi - difference**2, 0.0) ** 0.5
    return float((root / difference) ** 2)


def of_questions(d: Array, standard_error: float) -> tuple[float, float]:
    """(smallest detectable effect, questions needed for 5 points) of a contrast as clustered.

    ``d``: the difference of every question; ``standard_error``: that of its mean with papers
    drawn. Questions are worth n divided by the design effect (never below 1) that the two
    show, and as many more are needed. The second is rounded up; both missing without pairs.
    """
    if len(d) == 0:
        return float("nan"), float("nan")
    independent = d.var() / len(d)
    design_effect = standard_error**2 / independent if independent > 0 else 1.0
    design_effect = max(1.0, design_effect) if math.isfinite(design_effect) else 1.0
    psi = float((d**2).mean())
    needed = math.ceil(design_effect * sample_size(WORTH_FINDING, psi))
    return minimum_detectable_effect(len(d) / design_effect, psi), float(needed)
