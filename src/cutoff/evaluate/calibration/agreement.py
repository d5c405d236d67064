"""How far judges agree beyond chance: Cohen's kappa, with an interval over papers.

Agreement is no evidence that judges are right; the golden set and a person's labels are.

Cohen J (1960). Educational and Psychological Measurement 20, 37-46.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cutoff import bootstrap
from cutoff.bootstrap import Array
from cutoff.evaluate.judging.rubric import VERDICTS

GIVEN = VERDICTS[:3]  # what a judge says; a failed one says nothing


def cohen(confusion: Array) -> Array:
    """Cohen's kappa of square tables of counts, shape (..., k, k); rows one judge, columns the
    other. Missing where nothing was judged or chance alone would agree fully."""
    table = np.asarray(confusion, dtype=float)
    n = table.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(table, axis1=-2, axis2=-1) / n
        by_chance = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1) / n**2
        kappas = (observed - by_chance) / (1 - by_chance)
    return np.where(by_chance < 1 - 1e-12, kappas, np.nan)


def kappa(
    given: NDArray[np.int64], papers: NDArray[Any], replicates: int, seed: int
) -> dict[str, float]:
    """kappa of two judges with kappa_low and kappa_high (95 %, papers resampled).

    ``given``: answers x 2, the numbers of the verdicts in ``GIVEN``. The interval is missing with
    fewer than two papers and where the two never disagree, which proves no certainty.
    """
    k = len(GIVEN)
    cells = np.eye(k * k)[k * given[:, 0] + given[:, 1]]
    value, low, high, _ = bootstrap.intervals(
        bootstrap.totals(cells, papers),
        lambda sums: cohen(sums.reshape(-1, k, k)),
        replicates,
        seed,
    )
    return {"kappa": float(value), "kappa_low": float(low), "kappa_high": float(high)}


def table(judgements: Sequence[Mapping[str, Any]], replicates: int, seed: int) -> pd.DataFrame:
    """One row per pair of judges; empty with one judge.

    Columns: judges, n (answers with a verdict of both), n_missing, agreement (share of equal
    verdicts), and those of ``kappa``. Verdicts are compared: correct, incorrect, not attempted.
    """
    names = list(judgements[0]["verdicts"]) if judgements else []
    papers = np.array([judgement["paper_id"] for judgement in judgements])
    number = {verdict: i for i, verdict in enumerate(GIVEN)}
    codes = np.array([[number.get(j["verdicts"][name], -1) for name in names] for j in judgements])
    rows = []
    for pair in combinations(range(len(names)), 2):
        known = (codes[:, pair] >= 0).all(axis=1)
        given = codes[known][:, pair]
        rows.append(
            {
                "judges": " and ".join(names[i] for i in pair),
                "n": len(given),
                "n_missing": int((~known).sum()),
                "agreement": (given[:, 0] == given[:, 1]).mean() if len(given) else np.nan,
                **kappa(given, papers[known], replicates, seed),
            }
        )
    return pd.DataFrame(rows)


def reading(frame: pd.DataFrame) -> str:
    """What the agreement says, in words."""
    if frame.empty:
        return "**One judge: how far another would agree is not measured here.**"
    least = frame.sort_values("kappa", na_position="first").iloc[0]
    if pd.isna(least["kappa"]):
        return "**The judges' agreement beyond chance cannot be told:** too few kinds of verdicts."
    return (
        f"**The judges agree beyond chance with a kappa of at least {least['kappa']:.2f}** "
        f"({least['judges']})."
    )
