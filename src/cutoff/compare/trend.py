"""A trend over sizes: how an effect changes when a model has ten times the parameters.

Bayesian random-effects meta-regression. At size i the effect is a + b log10(parameters) + u,
u normal with standard deviation tau, and was measured with a known covariance. Tau stands for
everything that makes one size stray from the line: the luck of a training, its settings,
curvature. It gets a half-normal prior; a and b get flat ones. Given tau, b is normal in closed
form, so that one integral over a grid of tau is all there is: no sampling, equal results for
equal input. With two sizes the data say nothing about tau, and the prior alone keeps the
interval honest; with three they begin to.

Röver C, Friede T (2023). Using the bayesmeta R package for Bayesian random-effects
meta-regression. Computer Methods and Programs in Biomedicine 229, 107303.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special

from cutoff.compare.between_sizes import contrasts, covariance
from cutoff.compare.runs import Run, families_of
from cutoff.report.wording import interval, label, points

Array = NDArray[np.float64]
# Scale of tau's prior, as a proportion: 95 % of it lies below 10 points. Two trainings of one
# model on the same data differ by some points; a tau beyond ten would be no trend at all.
TAU_SCALE = 0.05
GRID = 400


@dataclass(frozen=True)
class Line:
    """Posterior of a line: a mixture of normals over tau. ``x`` is log10 of the parameters."""

    centre: float  # of x, where the intercept is taken
    tau: Array  # grid
    weight: Array  # posterior probability of each tau
    mean: Array  # tau x (intercept, slope)
    covariance: Array  # tau x 2 x 2

    def quantiles(self, at: tuple[float, float]) -> tuple[float, float, float]:
        """(median, low, high) of at[0] x intercept + at[1] x slope; the interval holds 95 %."""
        direction = np.array(at)
        mean = self.mean @ direction
        spread = np.sqrt(np.einsum("i,tij,j->t", direction, self.covariance, direction))
        low, high = float((mean - 12 * spread).min()), float((mean + 12 * spread).max())

        def quantile(share: float) -> float:
            def excess(value: float) -> float:
                return float(self.weight @ special.ndtr((value - mean) / spread)) - share

            return float(optimize.brentq(excess, low, high, xtol=1e-9))

        return quantile(0.5), quantile(0.025), quantile(0.975)

    def height(self, x: float) -> tuple[float, float, float]:
        """(median, low, high) of the line at ``x``."""
        return self.quantiles((1.0, x - self.centre))


def fit(x: Array, y: Array, errors: Array, tau_scale: float = TAU_SCALE) -> Line:
    """The posterior of the line through ``y`` at ``x``, of covariance ``errors``.

    Needs two different ``x`` at least. ``tau_scale`` is in the unit of ``y``.
    """
    design = np.column_stack([np.ones_like(x), x - x.mean()])
    tau = (np.arange(GRID) + 0.5) * 5 * tau_scale / GRID
    total = errors + tau[:, None, None] ** 2 * np.eye(len(x))
    inverse = np.linalg.inv(total)
    information = design.T @ inverse @ design
    covariances = np.linalg.inv(information)
    means = covariances @ design.T @ inverse @ y
    residual = y - means @ design.T
    logs = -0.5 * (
        np.linalg.slogdet(total)[1]
        + np.linalg.slogdet(information)[1]
        + np.einsum("ti,tij,tj->t", residual, inverse, residual)
        + (tau / tau_scale) ** 2
    )
    weight = np.exp(logs - logs.max())
    return Line(float(x.mean()), tau, weight / weight.sum(), means, covariances)


def lines(
    runs: list[Run], tables: Mapping[str, pd.DataFrame], size: str, tau_scale: float = TAU_SCALE
) -> dict[tuple[str, str], tuple[Line, list[str]]]:
    """(contrast, stratum) -> the line and the sizes it rests on, within the family of ``size``.

    Only planned contrasts that were measured at two sizes of different numbers of parameters.
    """
    families = families_of(runs)
    related = [found for found in runs if families[found["size"]] == families[size]]
    parameters = {found["size"]: found["n_parameters"] for found in related}
    fitted = {}
    for key, rows in contrasts(related).items():
        x = np.log10([parameters[name] for name in rows])
        if len(set(x)) > 1:
            y = np.array([row["difference"] for row in rows.values()])
            fitted[key] = (fit(x, y, covariance(rows, tables), tau_scale), list(rows))
    return fitted


def slopes(
    runs: list[Run], tables: Mapping[str, pd.DataFrame], size: str, tau_scale: float = TAU_SCALE
) -> pd.DataFrame:
    """Change of every planned contrast per tenfold number of parameters.

    Columns: name, stratum, sizes, slope, ci_low, ci_high (95 % credible interval;
    proportions), narrow and wide: the same interval with half and with twice the prior scale
    of tau, as (low, high).
    """
    names = "name stratum sizes slope ci_low ci_high narrow wide".split()
    by_scale = [lines(runs, tables, size, tau_scale * factor) for factor in (1.0, 0.5, 2.0)]
    rows = []
    for (name, stratum), (line, used) in by_scale[0].items():
        slope, low, high = line.quantiles((0.0, 1.0))
        narrow, wide = (f[name, stratum][0].quantiles((0.0, 1.0))[1:] for f in by_scale[1:])
        rows.append((name, stratum, len(used), slope, low, high, narrow, wide))
    return pd.DataFrame(rows, columns=names)


def written(table: pd.DataFrame) -> pd.DataFrame:
    """``slopes`` for reading: points per tenfold number of parameters."""
    return pd.DataFrame(
        {
            "name": table["name"],
            "stratum": table["stratum"],
            "sizes": table["sizes"],
            "points per tenfold": table["slope"].map(points),
            "interval": [interval(r.ci_low, r.ci_high) for r in table.itertuples()],
            "with half the prior": [interval(*ends) for ends in table["narrow"]],
            "with twice the prior": [interval(*ends) for ends in table["wide"]],
        }
    )


def reading(table: pd.DataFrame) -> str:
    """Which effects change with size, and whether that rests on the prior."""
    if table.empty:
        return (
            "**A trend needs two sizes of one family.** Two give a slope whose interval rests on "
            "the prior, three begin to test the line, and only more could show that it bends."
        )
    n = int(table["sizes"].max())
    moves = table[(table["ci_low"] > 0) | (table["ci_high"] < 0)]
    sentences = []
    for row in moves.to_dict("records"):
        low, high = row["wide"]
        caution = "" if low > 0 or high < 0 else " (not with twice the prior scale)"
        sentences.append(
            f"{label(row['name'])} ({label(row['stratum']).lower()}) "
            f"{'grows' if row['slope'] > 0 else 'shrinks'} ({points(row['slope'])} points per "
            f"tenfold, {interval(row['ci_low'], row['ci_high'])}){caution}"
        )
    what = (
        "Two sizes always lie on a line: how far a third would stray from it is the prior's word "
        "alone, and no such slope may be carried beyond the two."
        if n == 2
        else f"The {n} sizes say something about how far one strays from the line, but little: "
        "compare the columns with half and twice the prior."
    )
    head = f"**{len(moves)} of {len(table)} planned contrasts change with size** (95 % interval "
    return head + f"without zero). {'; '.join(sentences)}{'. ' if sentences else ''}{what}"
