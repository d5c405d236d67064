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
from cutoff.report.wording import evidence, label, points, with_interval
from cutoff.run import folders

FACTS, SKILLS = "seen", "unseen_paper"  # injected facts, and what reading new papers asks for


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
        asked = frame[frame["condition"] == condition]
        own = {"none": FACTS, "retrieved": SKILLS}[CONDITIONS[condition].context]
        for stratum, part in by_stratum(asked):
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

    ``table``: see ``effects``. Facts: the first condition without retrieval, on trained facts.
    Skills: the first with retrieval, on papers that were not trained. Columns: a, b,
    facts_condition, facts (difference of rates), facts_rate (with ``a``), facts_n, the same for
    skills, difference (facts - skills) with ci_low, ci_high (95 %); no row where one is absent.
    The two are about different papers, so they are independent (``bootstrap.difference``).
    """
    rows = []
    for (a, b), part in table.groupby(["a", "b"], sort=False):
        context = part["condition"].map(lambda name: CONDITIONS[name].context)
        facts = part[(context == "none") & (part["stratum"] == FACTS)].to_dict("records")
        skills = part[(context == "retrieved") & (part["stratum"] == SKILLS)].to_dict("records")
        if not facts or not skills:
            continue
        row = {"a": a, "b": b}
        for kind, one in (("facts", facts[0]), ("skills", skills[0])):
            row |= {f"{kind}_condition": one["condition"], kind: one["difference"]}
            row |= {f"{kind}_rate": one["rate_a"], f"{kind}_n": one["n"]}
        ends = "difference", "ci_low", "ci_high"
        both = ([one[e] for e in ends] for one in (skills[0], facts[0]))
        rows.append(row | dict(zip(ends, bootstrap.difference(*both), strict=True)))
    names = (
        "a b facts_condition facts facts_rate facts_n skills_condition skills skills_rate "
        "skills_n difference ci_low ci_high"
    ).split()
    return pd.DataFrame(rows, columns=names)


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
    for name, answers in given.items():
        for condition in compared_conditions(stage.params):
            own = [r for r in answers if r["condition"] == condition]
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
    paragraphs = []
    for (a, b), part in table.groupby(["a", "b"], sort=False):
        pooled = part[part["stratum"] == "all_post"]
        told = [f"{label(row['condition'])} {evidence(row)}" for row in pooled.to_dict("records")]
        n_effects = int(established(pooled).sum())
        count = f"{n_effects} of {len(pooled)} conditions" if n_effects else "no condition"
        own = split[(split["a"] == a) & (split["b"] == b)].to_dict("records")
        paragraphs.append(
            f"**On new papers {b} is shown to differ from {a} under {count}**: {'; '.join(told)}. "
            f"{_split(own[0]) if own else NO_SPLIT} A {b} model takes {size[b]:,.1f}\u00a0MB, one "
            f"of {a} {size[a]:,.1f}."
        )
    return "\n\n".join(paragraphs)


NO_SPLIT = (
    "Whether fewer bits lose facts rather than skills is not measured: `compare_conditions` needs "
    "a condition without retrieval, on trained facts, and one with it, on papers not trained on."
)


def _split(row: Mapping[str, Any]) -> str:
    numbers = (
        f"{points(row['facts'])} points ({label(row['facts_condition'])}, trained facts) against "
        f"{points(row['skills'])} ({label(row['skills_condition'])}, papers not trained on), a "
        f"difference of {with_interval(row['difference'], row['ci_low'], row['ci_high'])}"
    )
    if pd.isna(row["ci_low"]) or row["ci_low"] <= 0 <= row["ci_high"]:
        return f"**Whether fewer bits lose facts rather than skills cannot be told**: {numbers}."
    more = "more" if row["difference"] < 0 else "less"
    return (
        f"**Fewer bits seem to cost injected facts {more} than skills**: {numbers}; one comparison "
        "by its interval, outside the planned contrasts."
    )
