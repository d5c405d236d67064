"""The same weights with fewer and more bits: what does quantisation cost in answers?

    others = quantisation.answer(stage, questions)
    frame = quantisation.verdicts(stage, questions, answers, others)
    effects = precision_loss.effects(frame, stage.params)

``compare_conditions`` are answered once more by the weights of ``compare_quantizations``, by the
same engine, from the same prompts, and judged by the same judge. An answer that came out with
the same text keeps its judgement: asked twice, a judge could contradict itself, and that would
count as a difference between the weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from cutoff import models
from cutoff.engines import serving
from cutoff.errors import CutoffError
from cutoff.evaluate import answering
from cutoff.evaluate.answering import key
from cutoff.evaluate.judging import judge, rubric
from cutoff.experiment import CONDITIONS
from cutoff.params import Params, nearest
from cutoff.run import folders


def obstacle(stage: folders.Run) -> str:
    """A sentence that says why nothing can be compared; empty where it can.

    Raises ``CutoffError`` for parameters that name no quantisation or condition.
    """
    p = stage.params
    names, provider = models.compared_quantizations(p), serving.measured_provider(stage)
    compared_conditions(p)
    why = {
        "transformers": "it answers from unquantised weights; ask with provider=llama_cpp",
        "openai": "the server at base_url has its own; ask with provider=llama_cpp or ollama",
    }.get(provider, "")
    if not names:
        why = f"compare_quantizations names nothing beside {p.quantization}, which answers"
    elif provider == "ollama":
        why = _missing_on_ollama(p, names)
    return f"**What quantisation costs in answers is not measured**: {why}." if why else ""


def compared_conditions(p: Params) -> tuple[str, ...]:
    """The conditions of ``compare_conditions``; one of them has retrieval, or ``CutoffError``."""
    names = tuple(dict.fromkeys(n.strip() for n in p.compare_conditions.split(",") if n.strip()))
    for name in names:
        if name not in CONDITIONS:
            raise CutoffError(
                f"compare_conditions = {p.compare_conditions!r} names {name!r}; "
                + nearest(name, CONDITIONS)
            )
    if not any(CONDITIONS[name].context == "retrieved" for name in names):
        raise CutoffError(
            f"compare_conditions = {p.compare_conditions!r} needs a condition with retrieval "
            "beside any without: reading passages is what facts are compared with."
        )
    return names


def answer(stage: folders.Run, questions: Sequence[Any]) -> dict[str, list[Any]]:
    """Answers of every compared quantisation, from ``responses.<quantisation>.jsonl``.

    Records and resume as in ``answering.answer``; {} where there is an ``obstacle``.
    """
    if obstacle(stage):
        return {}
    on_ollama = serving.measured_provider(stage) == "ollama"
    given = {}
    for name in models.compared_quantizations(stage.params):
        asked = {c: CONDITIONS[c].model for c in compared_conditions(stage.params)}
        if on_ollama:  # there a quantisation is a model of its own
            asked = {c: _on_ollama(model, name) for c, model in asked.items()}
        given[name] = answering.answer_all(under(stage, name), questions, asked, f".{name}")
    return given


def verdicts(
    stage: folders.Run,
    questions: Sequence[Any],
    answers: pd.DataFrame,
    others: Mapping[str, Sequence[Any]],
) -> pd.DataFrame:
    """One row per quantisation, condition and question; the served quantisation comes too.

    ``answers``: those of the served weights with their verdicts, see ``joined.join``. Columns:
    question_id, paper_id, stratum, condition, quantization, passed (True, False or missing),
    changed (the judge sees another text than that of the served weights).
    """
    names = ["question_id", "paper_id", "stratum", "condition", "passed"]
    served = answers[answers["condition"].isin(compared_conditions(stage.params))]
    keys = [key(*both) for both in zip(served["condition"], served["question_id"], strict=True)]
    shown = dict(zip(keys, map(rubric.without_citations, served["response"]), strict=True))
    frames = [served[names].assign(quantization=stage.params.quantization, changed=False)]
    for name, given in others.items():
        new = [r for r in given if rubric.without_citations(r["response"]) != shown[r["key"]]]
        judged = judge.judge(stage, questions, new, label=name) if new else []
        passed = {r["key"]: j["passed"] for r, j in zip(new, judged, strict=True)}
        both = zip(keys, served["passed"], strict=True)
        frames.append(
            served[names].assign(
                quantization=name,
                changed=[k in passed for k in keys],
                passed=[passed.get(k, before) for k, before in both],
            )
        )
    frame = pd.concat(frames if others else [frames[0][:0]], ignore_index=True)
    return frame.astype({"passed": "boolean"})


def under(stage: folders.Run, quantization: str) -> folders.Run:
    """The same run, as if these weights were the ones that answer."""
    changed = {"quantization": quantization, "compare_quantizations": None}
    return replace(stage, params=stage.params.model_copy(update=changed))


def _on_ollama(model: str, quantization: str) -> str:
    return f"{model}-{quantization}"


def _missing_on_ollama(p: Params, names: Sequence[str]) -> str:
    """The commands that make the models which Ollama lacks, as a reason; empty if none."""
    from cutoff.engines import ollama_api

    known, commands = set(ollama_api.models(p.base_url)), []
    for name in names:
        kind, served = (p.export_dtype if n == "F16" else n for n in (name, p.quantization))
        for model in dict.fromkeys(CONDITIONS[c].model for c in compared_conditions(p)):
            full = serving.name_on_server(_on_ollama(model, name), p)
            if f"{full}:latest" not in known:
                commands.append(
                    f"sed '/^FROM/s/{served}/{kind}/' Modelfile.{model} > Modelfile.{full} && "
                    f"ollama create {full} -f Modelfile.{full}"
                )
    if not commands:
        return ""
    return (
        f"Ollama does not hold the models of {' and '.join(names)}. Make them in the run's folder "
        f"with `{'` and `'.join(commands)}`, or ask with provider=llama_cpp, and run 04 again"
    )
