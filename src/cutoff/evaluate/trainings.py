"""The luck of a training: the planned contrasts once more, with models of other seeds.

The intervals of 04 cover which papers were asked about. Another order of the examples and
other initial adapter weights give another model, and that spread is a component of its
own, which only further trainings can show (``training_seeds`` above 1).
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from cutoff import run
from cutoff.evaluate import conditions, judge, scoring, statistics
from cutoff.evaluate.conditions import CONDITIONS, Record
from cutoff.wording import points


def contrasts(
    stage: run.Run, questions: Sequence[Record], judgements: Sequence[Record], training_seed: int
) -> pd.DataFrame:
    """``statistics.planned_contrasts`` with the models of one further seed.

    Answers and judges what that seed's models are asked; the base model's ``judgements``
    are those of the first seed, because it has no training.
    """
    p = stage.params
    responses = conditions.answer(stage, questions, training_seed)
    new = judge.judge(stage, questions, responses, training_seed)
    kept = [j for j in judgements if CONDITIONS[j["condition"]].model == "base"]
    verdicts = scoring.verdicts(questions, [*kept, *new])
    return statistics.planned_contrasts(verdicts, p.bootstrap_replicates, p.seed)


def spread(by_seed: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """One row per planned contrast of trained models: name, stratum, difference by seed, sd.

    ``by_seed`` maps a training seed to its contrasts. ``sd`` is the standard deviation of
    the differences between seeds (n - 1 in the denominator), missing with one seed.
    """
    columns = {}
    for seed, frame in by_seed.items():
        planned = frame[frame["planned"] & (frame["name"] != "rag")]
        columns[f"seed {seed}"] = planned.set_index(["name", "stratum"])["difference"]
    table = pd.DataFrame(columns)
    table["sd"] = table.std(axis=1, ddof=1)
    return table.reset_index()


def written(table: pd.DataFrame) -> pd.DataFrame:
    """``spread`` for reading: labels, and differences in percentage points."""
    numbers = table.drop(columns=["name", "stratum"]).map(points)
    numbers["sd"] = table["sd"].map(lambda sd: points(sd, sign=False))
    return pd.concat([table[["name", "stratum"]], numbers], axis=1)


def reading(table: pd.DataFrame) -> str:
    """What the spread says, in a sentence; with one seed, that it is not known."""
    n_seeds = table.columns.str.startswith("seed ").sum()
    if n_seeds < 2:
        return (
            "**One training seed: how much another training would change is not known here.** "
            "`training_seeds=3` trains, exports and asks three models of each kind."
        )
    largest = table.loc[table["sd"].idxmax()]
    signs = (table.filter(regex="^seed ") > 0).nunique(axis=1)
    return (
        f"**Between {n_seeds} trainings the contrasts scatter with a standard deviation of "
        f"{points(table['sd'].median(), False)} points (median) and at most "
        f"{points(largest['sd'], False)}.** {(signs == 1).sum()} of {len(table)} keep their "
        "direction in every training. The intervals above do not include this spread."
    )
