"""The luck of a training: the planned contrasts once more, with models of other seeds.

The intervals of 04 cover which papers were asked about. Another order of the examples and
other initial adapter weights give another model, and that spread is a component of its
own, which only further trainings can show (``training_seeds`` above 1).
"""

from collections.abc import Mapping, Sequence

import pandas as pd
from scipy import stats

from cutoff.evaluate import answering
from cutoff.evaluate.answering import Record
from cutoff.evaluate.judging import judge, scoring
from cutoff.evaluate.stats import effect_table
from cutoff.experiment import CONDITIONS
from cutoff.report.wording import percent, points
from cutoff.run import folders


def contrasts(
    stage: folders.Run,
    questions: Sequence[Record],
    judgements: Sequence[Record],
    training_seed: int,
) -> pd.DataFrame:
    """``statistics.planned_contrasts`` with the models of one further seed.

    Answers and judges what that seed's models are asked; the base model's ``judgements``
    are those of the first seed, because it has no training.
    """
    p = stage.params
    responses = answering.answer(stage, questions, training_seed)
    new = judge.judge(stage, questions, responses, training_seed)
    kept = [j for j in judgements if CONDITIONS[j["condition"]].model == "base"]
    verdicts = scoring.verdicts(questions, [*kept, *new])
    return effect_table.planned_contrasts(verdicts, p.bootstrap_replicates, p.seed)


def spread(by_seed: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """One row per planned contrast of trained models, with the luck of training as a part of it.

    ``by_seed`` maps a training seed to its contrasts. Columns: name, stratum, difference by
    seed, n_papers, mean (over seeds), sd (between seeds, n - 1 in the denominator), ci_low and
    ci_high (95 %, of the mean, papers *and* trainings being drawn), seed_share (of the variance
    of one training's difference, the part that another training would change). sd, interval
    and share are missing with one seed.

    The variance of the mean is that of the papers, averaged over the seeds' bootstraps, plus
    sd^2 / seeds; the degrees of freedom are Satterthwaite's. The seeds answer the same
    questions, so the papers' variance does not shrink with their number. It already holds a
    little of the seeds' own, so the interval is rather too wide than too narrow.

    Satterthwaite FE (1946). An approximate distribution of estimates of variance components.
    Biometrics Bulletin 2, 110-114.
    """
    differences, errors, papers = {}, {}, {}
    for seed, frame in by_seed.items():
        planned = frame[frame["planned"] & (frame["name"] != "rag")]
        planned = planned.set_index(["name", "stratum"])
        differences[f"seed {seed}"] = planned["difference"]
        errors[seed], papers[seed] = planned["standard_error"], planned["n_papers"]
    table = pd.DataFrame(differences)
    n_seeds = len(by_seed)
    mean, sd = table.mean(axis=1), table.std(axis=1, ddof=1)
    of_papers = (pd.DataFrame(errors) ** 2).mean(axis=1)
    of_seeds = sd**2 / n_seeds
    table["n_papers"] = pd.DataFrame(papers).min(axis=1)
    table["mean"], table["sd"] = mean, sd
    variance = of_papers + of_seeds
    freedom = variance**2 / (
        of_papers**2 / (table["n_papers"] - 1) + of_seeds**2 / max(n_seeds - 1, 1)
    )
    half = stats.t.ppf(0.975, freedom.where(variance > 0)) * variance**0.5
    table["ci_low"], table["ci_high"] = mean - half, mean + half
    table["seed_share"] = sd**2 / (of_papers + sd**2)
    return table.reset_index()


def written(table: pd.DataFrame) -> pd.DataFrame:
    """``spread`` for reading: labels, and differences in percentage points."""
    seeds = [name for name in table.columns if name.startswith("seed ")]
    numbers = table[[*seeds, "mean"]].map(points)
    numbers["sd"] = table["sd"].map(lambda sd: points(sd, sign=False))
    ends = table[["ci_low", "ci_high"]]
    share = table["seed_share"].map(percent).rename("due to training")
    return pd.concat([table[["name", "stratum"]], numbers, ends, share], axis=1)


def reading(table: pd.DataFrame) -> str:
    """What the spread says, in a sentence; with one seed, that it is not known."""
    seeds = table.filter(regex="^seed ")
    n_seeds = seeds.shape[1]
    if n_seeds < 2:
        return (
            "**One training seed: how much another training would change is not known here.** "
            "`training_seeds=3` trains, exports and asks three models of each kind."
        )
    largest = table.loc[table["sd"].idxmax()]
    signs = (seeds > 0).nunique(axis=1)
    without_zero = ((table["ci_low"] > 0) | (table["ci_high"] < 0)).sum()
    return (
        f"**Between {n_seeds} trainings the contrasts scatter with a standard deviation of "
        f"{points(table['sd'].median(), False)} points (median) and at most "
        f"{points(largest['sd'], False)}.** Of the variance of one training's difference, "
        f"{percent(table['seed_share'].median())} (median) is the luck of the training, the rest "
        f"the choice of papers. {(signs == 1).sum()} of {len(table)} contrasts keep their "
        f"direction in every training; {without_zero} of {len(table)} intervals of the mean over "
        "trainings, which include this spread, exclude zero."
        + (
            " Two trainings tell little about their spread: these intervals are very wide."
            if n_seeds == 2
            else ""
        )
    )
