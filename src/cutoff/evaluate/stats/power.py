"""What a number of questions can show: smallest detectable effect, and questions needed.

All is for 80 % power at the 5 % level, two-sided.
"""

import math

from scipy import optimize, stats

from cutoff.bootstrap import Array

WORTH_FINDING = 0.05  # a difference of 5 points: what "n needed" is computed for
Z_ALPHA, Z_POWER = float(stats.norm.isf(0.025)), float(stats.norm.isf(0.2))


def sample_size(difference: float, discordance: float) -> float:
    """Pairs on which the McNemar test finds ``difference`` (a proportion above 0), not rounded.

    ``discordance`` (psi) is the share of pairs on which the two conditions disagree. Connor's
    formula: sqrt(n) d = z_alpha sqrt(psi) + z_power sqrt(psi - d^2). A difference cannot exceed
    the discordance, so where psi is too small all discordant pairs are taken to point one way
    (psi = d): no disagreement seen is no proof that none exists. For an interaction psi is the
    mean squared difference.

    Connor RJ (1987). Sample size for testing differences in proportions for the
    paired-sample design. Biometrics 43, 207-211.
    """
    psi = max(discordance, difference)
    root = Z_ALPHA * psi**0.5 + Z_POWER * max(psi - difference**2, 0.0) ** 0.5
    return (root / difference) ** 2


def minimum_detectable_effect(n: float, discordance: float) -> float:
    """Smallest difference that ``n`` pairs detect, as a proportion: ``sample_size`` turned round.

    Missing when ``n`` is too small to detect anything.
    """
    if not n > sample_size(1.0, discordance):
        return math.nan
    return float(optimize.brentq(lambda d: sample_size(d, discordance) - n, 1e-9, 1.0))


def of_questions(d: Array, standard_error: float) -> tuple[float, float]:
    """(smallest detectable effect, questions needed for 5 points) of a contrast as clustered.

    ``d``: the difference of every question; ``standard_error``: that of its mean with papers
    drawn. Questions are worth n divided by the design effect (never below 1) that the two
    show, and as many more are needed. The second is rounded up; both missing without pairs.
    """
    if len(d) == 0:
        return math.nan, math.nan
    independent = d.var() / len(d)
    design_effect = standard_error**2 / independent if independent > 0 else 1.0
    design_effect = max(1.0, design_effect) if math.isfinite(design_effect) else 1.0
    psi = float((d**2).mean())
    needed = math.ceil(design_effect * sample_size(WORTH_FINDING, psi))
    return minimum_detectable_effect(len(d) / design_effect, psi), float(needed)
