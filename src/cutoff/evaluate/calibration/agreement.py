"""How far judges agree beyond chance: Cohen's kappa for two, Fleiss' for all.

    table = agreement.table(judgements, questions, replicates, seed)

Agreement is no evidence that judges are right; the golden set and a person's labels are.

Cohen J (1960). Educational and Psychological Measurement 20, 37-46. Fleiss JL (1971).
Psychological Bulletin 76, 378-382. Landis JR, Koch GG (1977). Biometrics 33, 159-174.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cutoff.report.wording import percent

Record = dict[str, Any]
Array = NDArray[np.float64]
GIVEN = ("correct", "incorrect", "not_attempted")
BANDS = ((0.81, "almost perfect"), (0.61, "substantial"), (0.41, "moderate"), (0.21, "fair"))


def cohen(confusion: Array) -> Array:
    """Cohen's kappa of square tables of counts, shape (..., k, k); rows one judge, columns the
    other. Missing where nothing was judged or chance alone would agree fully."""
    table = np.asarray(confusion, dtype=float)
    n = table.sum(axis=(-2, -1))
    observed = np.trace(table, axis1=-2, axis2=-1)
    rows, columns = table.sum(axis=-1), table.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_chance = (rows * columns).sum(axis=-1) / n**2
        return np.asarray(_beyond(observed / n, by_chance))


def fleiss(counts: Array) -> float:
    """Fleiss' kappa of counts, answers x categories; every answer has equally many judges."""
    table = np.asarray(counts, dtype=float)
    if not len(table):
        return float("nan")
    m = table.sum(axis=1)
    if m.min() != m.max() or m[0] < 2:
        raise ValueError("every answer needs equally many judges, at least two")
    observed = ((table**2).sum(axis=1) - m) / (m * (m - 1))
    shares = table.sum(axis=0) / table.sum()
    return float(_beyond(observed.mean(), np.asarray((shares**2).sum())))


def table(
    judgements: Sequence[Record], questions: Sequence[Record], replicates: int, seed: int
) -> pd.DataFrame:
    """One row per pair of judges and, from three on, one for all; empty with one judge.

    Columns: judges, measure, n (answers with a verdict of each), n_missing, agreement (share of
    equal verdicts), kappa, ci_low, ci_high (95 %, percentile bootstrap over papers; missing with
    fewer than two papers). Verdicts are compared, correct, incorrect or not attempted.
    """
    names = list(judgements[0]["verdicts"]) if judgements else []
    if len(names) < 2:
        return pd.DataFrame()
    paper_of = {question["question_id"]: question["paper_id"] for question in questions}
    papers, cluster = np.unique(
        [paper_of[judgement["question_id"]] for judgement in judgements], return_inverse=True
    )
    codes = np.array(
        [[_code(judgement["verdicts"][name]) for name in names] for judgement in judgements]
    )
    drawn = np.random.default_rng(seed).multinomial(
        len(papers), np.full(len(papers), 1 / len(papers)), size=replicates
    )
    rows = []
    for i, j in combinations(range(len(names)), 2):
        rows.append(_row(f"{names[i]} and {names[j]}", codes[:, [i, j]], cluster, drawn))
    if len(names) > 2:
        rows.append(_row("all", codes, cluster, drawn))
    return pd.DataFrame(rows)


def written(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` for people: kappa with its interval as one text, shares as percentages."""
    frame = table.drop(columns=["ci_low", "ci_high"])
    kappas = [_written(row) for row in table.to_dict("records")]
    return frame.assign(agreement=frame["agreement"].map(percent), kappa=kappas)


def reading(frame: pd.DataFrame) -> str:
    """What the agreement says, in words."""
    if frame.empty:
        return (
            "**One judge: how far another would agree is not measured here.** Name several in "
            "`judge_model`, with commas; their votes are counted."
        )
    row = frame.iloc[-1]
    others = frame["kappa"].dropna()
    if pd.isna(row["kappa"]):
        return "**The judges' agreement beyond chance cannot be told:** too few kinds of verdicts."
    text = (
        f"**{row['measure']} is {_written(row)}, {_band(row['kappa'])} agreement beyond chance** "
        f"({row['judges']}; the same verdict on {percent(row['agreement'])} of {row['n']:,} "
        "answers)."
    )
    if len(frame) > 1:
        text += f" Over all rows kappa runs from {others.min():.2f} to {others.max():.2f}."
    if row["n_missing"]:
        text += f" {row['n_missing']:,} answers lack a verdict of at least one judge."
    return (
        text
        + " The words are those of Landis and Koch; that judges agree does not make them right."
    )


def _row(judges: str, codes: NDArray[np.int64], cluster: NDArray[Any], drawn: NDArray[Any]) -> Any:
    """``codes``: answers x judges, -1 for no verdict; ``drawn``: replicates x papers."""
    known = (codes >= 0).all(axis=1)
    given, of_paper, k, n_papers = codes[known], cluster[known], len(GIVEN), drawn.shape[1]
    n_judges = codes.shape[1]
    if n_judges == 2:
        cells = np.zeros((n_papers, k, k))
        np.add.at(cells, (of_paper, given[:, 0], given[:, 1]), 1)
        kappa = float(cohen(cells.sum(axis=0)))
        replicates = cohen((drawn @ cells.reshape(n_papers, -1)).reshape(-1, k, k))
    else:
        counts = np.stack([(given == category).sum(axis=1) for category in range(k)], axis=1)
        kappa = fleiss(counts)
        # Per paper: how often each category was given, pairs that agree, and answers.
        agreeing = ((counts**2).sum(axis=1) - n_judges) / (n_judges * (n_judges - 1))
        sums = np.zeros((n_papers, k + 2))
        np.add.at(sums, of_paper, np.column_stack([counts, agreeing, np.ones(len(counts))]))
        totals = drawn @ sums
        with np.errstate(invalid="ignore", divide="ignore"):
            n = totals[:, -1]
            shares = totals[:, :k] / (n * n_judges)[:, None]
            replicates = _beyond(totals[:, k] / n, (shares**2).sum(axis=1))
    replicates = replicates[~np.isnan(replicates)]
    enough = len(np.unique(of_paper)) > 1 and len(replicates)
    low, high = np.quantile(replicates, [0.025, 0.975]) if enough else (np.nan, np.nan)
    same = (given == given[:, :1]).all(axis=1)
    return {
        "judges": judges,
        "measure": "Cohen’s kappa" if n_judges == 2 else "Fleiss’ kappa",
        "n": int(known.sum()),
        "n_missing": int((~known).sum()),
        "agreement": float(same.mean()) if len(same) else float("nan"),
        "kappa": kappa,
        "ci_low": float(low),
        "ci_high": float(high),
    }


def _beyond(observed: Any, by_chance: Any) -> Any:
    """Agreement beyond chance; not a number where chance already agrees fully."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(by_chance < 1 - 1e-12, (observed - by_chance) / (1 - by_chance), np.nan)


def _code(verdict: str) -> int:
    return GIVEN.index(verdict) if verdict in GIVEN else -1


def _band(kappa: float) -> str:
    return next((word for least, word in BANDS if kappa >= least), "slight or no")


def _written(row: Any) -> str:
    if pd.isna(row["kappa"]):
        return "–"
    kappa = f"{row['kappa']:.2f}".replace("-", "−")
    if pd.isna(row["ci_low"]):
        return kappa
    interval = f"{row['ci_low']:.2f} to {row['ci_high']:.2f}".replace("-", "−")
    return f"{kappa} (95\u00a0% interval {interval})"
