"""The luck of a training: the planned contrasts once more, with models of other seeds.

The intervals of 04 cover which papers were asked about. Another order of the examples and
other initial adapter weights give another model, and that spread is a component of its
own, which only further trainings can show (``training_seeds`` above 1).
"""

from collections.abc import Mapping, Sequence

import pandas as pd
from scipy import stats

from cutoff.evaluate import answering, joined
from cutoff.evaluate.judging import judge
from cutoff.evaluate.stats import effect_table
from cutoff.experiment import CONDITIONS
from cutoff.records import Question
from cutoff.report.wording import points
from cutoff.run import folders


def contrasts(
    stage: folders.Run,
    questions: Sequence[Question],
    answers: pd.DataFrame,
    training_seed: int,
) -> pd.DataFrame:
    """``effect_table.planned_contrasts`` with the models of one further seed.

    Answers and judges what that seed's models are asked; the base model's ``answers`` (see
    ``joined.join``) are those of the first seed, because it has no training.
    """
    p = stage.params
    responses = answering.answer(stage, questions, training_seed)
    judgements = judge.judge(stage, questions, responses, training_seed)
    untrained = [name for name, c in CONDITIONS.items() if c.model == "base"]
    kept = answers[answers["condition"].isin(untrained)]
    both = pd.concat([kept, joined.join(questions, responses, judgements)])
    return effect_table.planned_contrasts(both, p.bootstrap_replicates, p.seed)


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


def reading(table: pd.DataFrame) -> str:
    """What the spread says, in a sentence; with one seed, that it is not known."""
    seeds = table.filter(regex="^seed ")
    if seeds.shape[1] < 2:
        return (
            "**One training seed: how much another training would change is not known here.** "
            "`training_seeds=3` trains, exports and asks three models of each kind."
        )
    without_zero = ((table["ci_low"] > 0) | (table["ci_high"] < 0)).sum()
    return (
        f"**Between {seeds.shape[1]} trainings the contrasts scatter with a standard deviation of "
        f"{points(table['sd'].median(), False)} points (median) and at most "
        f"{points(table['sd'].max(), False)}.** {((seeds > 0).nunique(axis=1) == 1).sum()} of "
        f"{len(table)} contrasts keep their direction in every training; {without_zero} intervals "
        "of the mean over trainings exclude zero."
    )
