"""How far judges agree beyond chance: Cohen's kappa for two, Fleiss' for all.

    table = agreement.table(judgements, replicates, seed)

Agreement is no evidence that judges are right; the golden set and a person's labels are.

Cohen J (1960). Educational and Psychological Measurement 20, 37-46. Fleiss JL (1971).
Psychological Bulletin 76, 378-382. Landis JR, Koch GG (1977). Biometrics 33, 159-174.
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
from cutoff.report.wording import percent

GIVEN = VERDICTS[:3]  # what a judge says; a failed one says nothing
BANDS = ((0.81, "almost perfect"), (0.61, "substantial"), (0.41, "moderate"), (0.21, "fair"))


def cohen(confusion: Array) -> Array:
    """Cohen's kappa of square tables of counts, shape (..., k, k); rows one judge, columns the
    other. Missing where nothing was judged or chance alone would agree fully."""
    table = np.asarray(confusion, dtype=float)
    n = table.sum(axis=(-2, -1))
    rows, columns = table.sum(axis=-1), table.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(table, axis1=-2, axis2=-1) / n
        return _beyond(observed, (rows * columns).sum(axis=-1) / n**2)


def fleiss(counts: Array, agreeing: Array, n: Array) -> Array:
    """Fleiss' kappa from totals over ``n`` answers: how often each category was given (..., k),
    and the sum of the answers' shares of pairs of judges that agree."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = counts / counts.sum(axis=-1, keepdims=True)
        return _beyond(agreeing / n, (shares**2).sum(axis=-1))


def table(judgements: Sequence[Mapping[str, Any]], replicates: int, seed: int) -> pd.DataFrame:
    """One row per pair of judges and, from three on, one for all; empty with one judge.

    Columns: judges, measure, n (answers with a verdict of each), n_missing, agreement (share of
    equal verdicts), kappa with kappa_low and kappa_high (95 %, papers resampled; missing with
    fewer than two papers). Verdicts are compared, correct, incorrect or not attempted.
    """
    names = list(judgements[0]["verdicts"]) if judgements else []
    if len(names) < 2:
        return pd.DataFrame()
    papers = np.array([judgement["paper_id"] for judgement in judgements])
    number = {verdict: i for i, verdict in enumerate(GIVEN)}
    codes = np.array([[number.get(j["verdicts"][name], -1) for name in names] for j in judgements])
    groups = {f"{names[i]} and {names[j]}": [i, j] for i, j in combinations(range(len(names)), 2)}
    if len(names) > 2:
        groups["all"] = list(range(len(names)))
    rows = []
    for judges, members in groups.items():
        known = (codes[:, members] >= 0).all(axis=1)
        given = codes[known][:, members]
        statistic, columns = (_of_two if len(members) == 2 else _of_many)(given)
        kappa, low, high, _ = bootstrap.intervals(
            bootstrap.totals(columns, papers[known]), statistic, replicates, seed
        )
        rows.append(
            {
                "judges": judges,
                "measure": "Cohen’s kappa" if len(members) == 2 else "Fleiss’ kappa",
                "n": len(given),
                "n_missing": int((~known).sum()),
                "agreement": float((given == given[:, :1]).all(axis=1).mean())
                if len(given)
                else np.nan,
                "kappa": float(kappa),
                "kappa_low": float(low),
                "kappa_high": float(high),
            }
        )
    return pd.DataFrame(rows)


def reading(frame: pd.DataFrame) -> str:
    """What the agreement says, in words."""
    if frame.empty:
        return "**One judge: how far another would agree is not measured here.**"
    row = frame.iloc[-1]
    if pd.isna(row["kappa"]):
        return "**The judges' agreement beyond chance cannot be told:** too few kinds of verdicts."
    band = next((word for least, word in BANDS if row["kappa"] >= least), "slight or no")
    return (
        f"**{row['measure']} of the judges is {row['kappa']:.2f}, {band} agreement beyond chance** "
        f"({row['judges']}; the same verdict on {percent(row['agreement'])} of {row['n']:,} "
        "answers)."
    )


def _of_two(given: NDArray[np.int64]) -> tuple[bootstrap.Statistic, Array]:
    """Cohen's kappa as a statistic of totals: answers x cells of the two judges' table."""
    k = len(GIVEN)
    cells = np.eye(k * k)[k * given[:, 0] + given[:, 1]]
    return lambda sums: cohen(sums.reshape(-1, k, k)), cells


def _of_many(given: NDArray[np.int64]) -> tuple[bootstrap.Statistic, Array]:
    """Fleiss' kappa as a statistic of totals: answers x (counts, agreeing pairs, 1)."""
    k, m = len(GIVEN), given.shape[1]
    counts = np.stack([(given == category).sum(axis=1) for category in range(k)], axis=1)
    agreeing = ((counts**2).sum(axis=1) - m) / (m * (m - 1))
    columns = np.column_stack([counts, agreeing, np.ones(len(counts))])
    return lambda sums: fleiss(sums[:, :k], sums[:, k], sums[:, k + 1]), columns


def _beyond(observed: Array, by_chance: Array) -> Array:
    """Agreement beyond chance; not a number where chance already agrees fully."""
    return np.where(by_chance < 1 - 1e-12, (observed - by_chance) / (1 - by_chance), np.nan)
