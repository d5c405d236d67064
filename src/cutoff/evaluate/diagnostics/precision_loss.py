"""What fewer bits cost: pass rates in pairs, facts against skills, size and speed.

effects = precision_loss.effects(quantisation.verdicts(...), p)
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cutoff import bootstrap, models
from cutoff.evaluate.diagnostics.quantisation import compared_conditions, under
from cutoff.evaluate.stats.averages import by_stratum
from cutoff.evaluate.stats.effect_table import by_question, compared
from cutoff.experiment import CONDITIONS
from cutoff.params import Params
from cutoff.records import Response
from cutoff.report.claims import established
from cutoff.report.wording import evidence, label, with_interval
from cutoff.run import folders

# What is held against each other: injected facts, and reading papers that were not trained on.
OWN_STRATUM = {"none": "seen", "retrieved": "unseen_paper"}


def effects(frame: pd.DataFrame, p: Params) -> pd.DataFrame:
    """What the served weights gain or lose against each compared quantisation, by stratum.

    ``frame``: see ``quantisation.verdicts``. Columns: condition, stratum, planned, changed (share
    of answers with another text) and those of ``effect_table.compared`` (a is compared, b
    served), p_holm over the planned rows: all new papers, ``seen`` without retrieval and
    ``unseen_paper`` with it.
    """
    rows = []
    others = [name for name in frame["quantization"].unique() if name != p.quantization]
    for name, condition in itertools.product(others, frame["condition"].unique()):
        own = OWN_STRATUM[CONDITIONS[condition].context]
        for stratum, part in by_stratum(frame[frame["condition"] == condition]):
            wide = by_question(part.assign(condition=part["quantization"]))
            changed = part.loc[part["quantization"] == name, "changed"].mean()
            row = {"condition": condition, "stratum": stratum, "changed": changed}
            row |= {"planned": stratum in ("all_post", own)}
            rows.append(row | compared(wide, name, p.quantization, p.bootstrap_replicates, p.seed))
    names = (
        "condition stratum a b planned n n_missing n_papers changed rate_a rate_b gained lost "
        "difference ci_low ci_high p p_by_paper p_holm mde"
    ).split()
    table = pd.DataFrame(rows).reindex(columns=names)
    larger = table[["p", "p_by_paper"]].astype(float).max(axis=1)
    table["p_holm"] = bootstrap.holm(larger.where(table["planned"].eq(True)))
    return table


def facts_and_skills(table: pd.DataFrame) -> pd.DataFrame:
    """Do fewer bits cost injected facts more than reading? One row per compared quantisation.

    ``table``: see ``effects``. Facts: the first condition without retrieval on trained facts;
    skills: the first with retrieval on papers not trained on. Columns: a, b, facts and skills
    (differences of rates), difference (facts - skills) with ci_low, ci_high (95 %; the two are
    about different papers, so independent); no row where one is absent.
    """
    rows = []
    contexts = table["condition"].map(lambda name: CONDITIONS[name].context)
    own = table[table["stratum"] == contexts.map(OWN_STRATUM)]
    ends = ["difference", "ci_low", "ci_high"]
    for (a, b), part in own.groupby(["a", "b"], sort=False):
        sides = [part.loc[contexts == context, ends] for context in ("none", "retrieved")]
        if any(side.empty for side in sides):
            continue
        facts, skills = (side.iloc[0] for side in sides)
        row = {"a": a, "b": b, "facts": facts["difference"], "skills": skills["difference"]}
        rows.append(row | dict(zip(ends, bootstrap.difference(skills, facts), strict=True)))
    return pd.DataFrame(rows, columns=["a", "b", "facts", "skills", *ends])


def costs(
    stage: folders.Run, responses: Sequence[Response], others: Mapping[str, Sequence[Response]]
) -> pd.DataFrame:
    """Size and speed of every quantisation under every compared condition.

    Columns: quantization, condition, megabytes (what a server needs of this model), n
    (answers), latency (median seconds of an answer), tokens_per_second (of one answer, from
    sending to the last byte). Measured once on this machine with ``parallel`` requests in
    flight, waiting included, which is no benchmark of an idle server.
    """
    given = {stage.params.quantization: responses, **others} if others else {}
    rows = []
    for name, condition in itertools.product(given, compared_conditions(stage.params)):
        own = [r for r in given[name] if r["condition"] == condition]
        seconds = [r["latency_seconds"] for r in own]
        tokens = sum(r["completion_tokens"] for r in own)
        model = CONDITIONS[condition].model
        paths = models.files_of(stage.folder, model, under(stage, name).params).paths
        size = sum(path.stat().st_size for path in paths if path.is_file()) / 1e6
        speed = tokens / sum(seconds) if sum(seconds) else np.nan
        latency = float(np.median(seconds)) if own else np.nan
        rows.append((name, condition, size, len(own), latency, speed))
    names = "quantization condition megabytes n latency tokens_per_second".split()
    return pd.DataFrame(rows, columns=names)


def reading(table: pd.DataFrame, split: pd.DataFrame, cost: pd.DataFrame) -> str:
    """What the tables say: pass rates, facts against skills, size; "" without any.

    ``table``, ``split``, ``cost``: of ``effects``, ``facts_and_skills`` and ``costs``.
    """
    size = cost.groupby("quantization")["megabytes"].max()
    pairs: dict[Any, dict[str, Any]] = {
        (row["a"], row["b"]): row for row in split.to_dict("records")
    }
    paragraphs = []
    for (a, b), part in table.groupby(["a", "b"], sort=False):
        pooled = part[part["stratum"] == "all_post"]
        told = [f"{label(row['condition'])} {evidence(row)}" for row in pooled.to_dict("records")]
        text = (
            f"**On new papers {b} differs from {a} under {int(established(pooled).sum())} of "
            f"{len(pooled)} conditions**: {'; '.join(told)}."
        )
        if row := pairs.get((a, b)):
            more = with_interval(row["difference"], row["ci_low"], row["ci_high"])
            text += f" Trained facts change by {more} more than reading does."
        text += f" A {b} model takes {size[b]:,.1f}\u00a0MB, one of {a} {size[a]:,.1f}."
        paragraphs.append(text)
    return "\n\n".join(paragraphs)
