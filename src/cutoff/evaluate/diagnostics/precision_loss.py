"""What fewer bits cost: pass rates in pairs, facts against skills, size and speed.

effects = bits.effects(quantisation.verdicts(...), p)
report.say(bits.reading(effects, bits.facts_and_skills(effects), bits.costs(...)))
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cutoff import bootstrap, models
from cutoff.evaluate.diagnostics.quantisation import compared_conditions, under
from cutoff.evaluate.stats import differences
from cutoff.experiment import CONDITIONS, POST_STRATA, STRATA
from cutoff.params import Params
from cutoff.report.claims import is_effect
from cutoff.report.wording import interval, label, p_value, percent, points
from cutoff.run import folders

Record = dict[str, Any]

FACTS, SKILLS = "seen", "unseen_paper"  # injected facts, and what reading new papers asks for


def effects(frame: pd.DataFrame, p: Params) -> pd.DataFrame:
    """What the served weights gain or lose against each compared quantisation, by stratum.

    ``frame``: see ``verdicts``. Columns: condition, stratum, a (compared), b (served), planned,
    changed (share of answers with another text), rate_a, rate_b and those of
    ``differences.summary`` (difference is b - a), p_holm over the planned rows: all new
    papers, ``seen`` without retrieval and ``unseen_paper`` with it.
    """
    rows = []
    for (name, condition), part in _compared(frame, p):
        for stratum in STRATA:
            rows_of = part[part["stratum"].isin(_within(stratum))]
            if rows_of.empty:
                continue
            found = differences.summary(
                (rows_of["b"] - rows_of["a"]).to_numpy(dtype=float),
                rows_of["paper_id"].to_numpy(),
                p.bootstrap_replicates,
                p.seed,
            )
            known = rows_of.dropna(subset=["a", "b"])
            own = {"none": FACTS, "retrieved": SKILLS}[CONDITIONS[condition].context]
            found |= {"condition": condition, "stratum": stratum, "a": name, "b": p.quantization}
            found |= {"planned": stratum in ("all_post", own)}
            found |= {"changed": rows_of["changed"].mean()}
            found |= {f"rate_{side}": known[side].mean() for side in "ab"}
            rows.append(found)
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

    The two are about different papers, so they are independent, and their intervals (papers
    resampled) are combined by the square-and-add method, which keeps their asymmetry.
    Zou GY, Donner A (2008). Construction of confidence limits about effect measures: a general
    approach. Statistics in Medicine 27, 1693-1702.
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
    stage: folders.Run, responses: Sequence[Record], others: Mapping[str, Sequence[Record]]
) -> pd.DataFrame:
    """Size and speed of every quantisation under every compared condition.

    Columns: quantization, condition, megabytes (what a server needs of this model), n
    (answers), latency (median seconds of an answer), tokens_per_second (of one answer, from
    sending to the last byte). Measured once on this machine with ``parallel`` requests in
    flight, waiting included, which is no benchmark of an idle server.
    """
    p = stage.params
    given = {name: list(answers) for name, answers in others.items()}
    given = {p.quantization: list(responses), **given} if others else {}
    rows = []
    for name, answers in given.items():
        for condition in compared_conditions(p):
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


def written(table: pd.DataFrame) -> pd.DataFrame:
    """The planned rows of ``effects`` for reading."""
    shown = table[table["planned"].eq(True)]
    return pd.DataFrame(
        {
            "condition": shown["condition"],
            "stratum": shown["stratum"],
            "From": shown["a"],
            "To": shown["b"],
            "n": shown["n"],
            "n_missing": shown["n_missing"],
            "other texts": shown["changed"].map(percent),
            "rate_from": shown["rate_a"].map(percent),
            "rate_to": shown["rate_b"].map(percent),
            **{name: shown[name] for name in ("gained", "lost", "difference", "ci_low", "ci_high")},
            **{name: shown[name] for name in ("p_holm", "mde")},
        }
    ).rename(columns={"rate_from": "passes before", "rate_to": "passes after"})


def reading(table: pd.DataFrame, split: pd.DataFrame, cost: pd.DataFrame) -> str:
    """What the tables say: pass rates, facts against skills, size and speed; "" without any.

    ``table``, ``split``, ``cost``: of ``effects``, ``facts_and_skills`` and ``costs``.
    """
    paragraphs = []
    for (a, b), part in table.groupby(["a", "b"], sort=False):
        pooled = part[part["stratum"] == "all_post"].to_dict("records")
        parts = "; ".join(_effect(row) for row in pooled)
        n_effects = sum(is_effect(row) for row in pooled)
        count = f"{n_effects} of {len(pooled)} conditions" if n_effects else "no condition"
        head = f"On new papers {b} is shown to differ from {a} under {count}"
        text = f"**{head}**: {parts}."
        own = split[(split["a"] == a) & (split["b"] == b)].to_dict("records")
        text += " " + (_split(own[0]) if own else _no_split())
        paragraphs.append(text + " " + _cost(cost, a, b))
    return "\n\n".join(paragraphs)


def _effect(row: Mapping[str, Any]) -> str:
    p = p_value(row["p_holm"])
    text = (
        f"{label(row['condition'])} passes {percent(row['rate_b'])} instead of "
        f"{percent(row['rate_a'])} ({points(row['difference'])} points, 95\u00a0% interval "
        f"{interval(row['ci_low'], row['ci_high'])}, "
        f"p\u00a0{p if p.startswith('<') else '= ' + p}, n\u00a0=\u00a0{row['n']:,}"
    )
    if row["n_missing"]:
        text += f", {row['n_missing']} left out without a verdict"
    if not is_effect(dict(row)):
        text += f", smallest detectable {points(row['mde'], False)} points"
    return text + ")"


def _split(row: Mapping[str, Any]) -> str:
    numbers = (
        f"trained facts without retrieval change by {points(row['facts'])} points (from "
        f"{percent(row['facts_rate'])}, n\u00a0=\u00a0{row['facts_n']:,}, "
        f"{label(row['facts_condition'])}), reading of papers not trained on by "
        f"{points(row['skills'])} (from {percent(row['skills_rate'])}, "
        f"n\u00a0=\u00a0{row['skills_n']:,}, {label(row['skills_condition'])}); the difference is "
        f"{points(row['difference'])} points, 95\u00a0% interval "
        f"{interval(row['ci_low'], row['ci_high'])}"
    )
    if pd.isna(row["ci_low"]) or row["ci_low"] <= 0 <= row["ci_high"]:
        return f"**Whether fewer bits lose facts rather than skills cannot be told**: {numbers}."
    more = "more" if row["difference"] < 0 else "less"
    return (
        f"**Fewer bits seem to cost injected facts {more} than skills**: {numbers}. This is one "
        "comparison by its interval, outside the planned contrasts."
    )


def _no_split() -> str:
    return (
        "Whether fewer bits lose facts rather than skills is not measured: that needs trained "
        "facts under a condition without retrieval and untrained papers under one with it in "
        "`compare_conditions`."
    )


def _cost(cost: pd.DataFrame, a: str, b: str) -> str:
    size = cost.groupby("quantization")["megabytes"].max()
    times = cost.pivot(index="condition", columns="quantization", values="latency")
    seconds = "; ".join(
        f"{label(condition)} {row[b]:.2g}\u00a0s instead of {row[a]:.2g}\u00a0s"
        for condition, row in times.iterrows()
    )
    return (
        f"A {b} model takes {size[b]:,.1f}\u00a0MB, {percent(size[b] / size[a])} of the "
        f"{size[a]:,.1f}\u00a0MB of {a}. Median time of an answer, measured once beside whatever "
        f"else ran, waiting included: {seconds}."
    )


def _compared(frame: pd.DataFrame, p: Params) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """((compared quantisation, condition), a row per question with a, b and changed)."""
    numbers = frame.assign(passed=frame["passed"].astype("Float64").astype(float))
    index = ["question_id", "paper_id", "stratum"]
    found = []
    for (name, condition), part in numbers.groupby(["quantization", "condition"], sort=False):
        if name == p.quantization:
            continue
        served = numbers[
            (numbers["quantization"] == p.quantization) & (numbers["condition"] == condition)
        ].set_index(index)["passed"]
        both = part.set_index(index).rename(columns={"passed": "a"}).assign(b=served)
        found.append(((name, condition), both.reset_index()))
    return found


def _within(stratum: str) -> tuple[str, ...]:
    return POST_STRATA if stratum == "all_post" else (stratum,)
