"""Six conditions, training x context, and the answers of every one to every question.

    responses = answering.answer(stage, questions)

Every answer goes to ``responses.jsonl`` as it arrives, so a killed run goes on where it
stood. Answers that other weights, prompts or settings gave are set aside, never mixed in.
Further contexts, seeds, weights and unanswerable questions have files of their own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from cutoff import files, models, prompts
from cutoff.engines import chat, serving
from cutoff.errors import CutoffError
from cutoff.experiment import ALL_CONDITIONS, CONDITIONS, EXTRA_CONDITIONS, EXTRA_CONTEXTS
from cutoff.params import Params
from cutoff.records import Question, Response
from cutoff.run import folders
from cutoff.store import Store

# What a response holds beside its key, condition and text: of its question, and of its completion.
OF_QUESTION = ("question_id", "paper_id", "stratum")
MEASURED = "prompt_tokens completion_tokens latency_seconds finish_reason retries".split()


def answer(
    stage: folders.Run, questions: Sequence[Question], training_seed: int | None = None
) -> list[Response]:
    """Answer every question under every condition, in the order of ``CONDITIONS``.

    Answers that exist are not asked for again. Another ``training_seed`` than the first asks the
    models of that seed, under the four conditions that have been trained. Raises ``CutoffError``
    when a model is missing, a prompt does not fit or the server fails.
    """
    asked = models_asked(stage.params, training_seed)
    return answer_all(stage, questions, asked, seed_suffix(stage.params, training_seed))


def answer_extra(stage: folders.Run, questions: Sequence[Question]) -> list[Response]:
    """``questions`` of ``contexts.add`` with the contexts of ``extra_contexts``, a file each."""
    records = []
    for kind in extra_contexts(stage.params):
        asked = {name: c.model for name, c in EXTRA_CONDITIONS.items() if c.context == kind}
        records += answer_all(stage, questions, asked, f".{kind}")
    return records


def answer_unanswerable(stage: folders.Run, questions: Sequence[Question]) -> list[Response]:
    """Put the questions of ``unanswerable.jsonl`` to the six conditions; [] without any."""
    if not questions:
        return []
    return answer_all(stage, questions, models_asked(stage.params), ".unanswerable")


def extra_contexts(p: Params) -> tuple[str, ...]:
    """The contexts that ``p.extra_contexts`` names: with commas, or ``both``."""
    if p.extra_contexts is None:
        return ()
    names = {name.strip() for name in p.extra_contexts.split(",")} - {""}
    if names == {"both"}:
        return EXTRA_CONTEXTS
    if not names or not names.issubset(EXTRA_CONTEXTS):
        raise CutoffError(
            f"extra_contexts = {p.extra_contexts!r}: must be oracle, distractor, both, or null."
        )
    return tuple(name for name in EXTRA_CONTEXTS if name in names)


def models_asked(p: Params, training_seed: int | None = None) -> dict[str, str]:
    """Condition -> name of the model that answers under it; the base model has one seed only."""
    names = {(variant, seed): name for name, (variant, seed) in models.adapters(p).items()}
    seed = p.training_seed if training_seed is None else training_seed
    return {
        name: names.get((condition.model, seed), "base")
        for name, condition in CONDITIONS.items()
        if condition.model != "base" or seed == p.training_seed
    }


def seed_suffix(p: Params, training_seed: int | None) -> str:
    """What the files of a further training seed have in their names; empty for the first."""
    return "" if training_seed in (None, p.training_seed) else f".seed-{training_seed}"


def made_from(
    p: Params,
    questions: Sequence[Question],
    weights: dict[str, Any],
    conditions: Sequence[str] = tuple(CONDITIONS),
) -> str:
    """Hash of all that an answer depends on: weights, engine, questions, prompts, settings.

    ``conditions`` share one kind of context, or none.
    """
    asked = {name: ALL_CONDITIONS[name] for name in conditions}
    (kind,) = {condition.context for condition in asked.values()} - {"none"}
    parts = [
        weights,
        [(q["question_id"], q["question"], context(kind, q)["context"]) for q in questions],
        {name: asdict(condition) for name, condition in asked.items()},
        prompts.prompts_sha256(),
        (p.max_new_tokens, asdict(serving.options(p))),
    ]
    return hashlib.sha256(files.to_json(parts)).hexdigest()


def served(stage: folders.Run) -> dict[str, str]:
    """Who answered and from what: provider, export_mode, quantization, base_source."""
    p = stage.params
    how = {n: getattr(p, n) for n in ("export_mode", "quantization", "base_source")}
    return {"provider": serving.measured_provider(stage), **how}


def key(condition: str, question_id: str) -> str:
    """What names an answer: ``base_rag|<question id>``."""
    return f"{condition}|{question_id}"


def request(condition: str, question: Question, max_new_tokens: int) -> chat.Request:
    """The request that puts ``question`` to the model under ``condition``."""
    kind = ALL_CONDITIONS[condition].context
    if kind == "none":
        messages = prompts.render_closed_book(question["question"])
    else:
        messages = prompts.render_rag(question["question"], context(kind, question)["context"])
    return chat.Request(key(condition, question["question_id"]), messages, max_new_tokens)


def context(kind: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
    """What holds the passages of a prompt of this ``kind``, in the order of their numbers:
    ``context`` (texts) and ``context_passage_ids``."""
    if kind == "none":
        return {"context": [], "context_passage_ids": []}
    return question if kind == "retrieved" else question["extra_contexts"][kind]


def answer_all(
    stage: folders.Run, questions: Sequence[Question], asked: dict[str, str], suffix: str
) -> list[Response]:
    """Answers under ``asked`` (condition -> model), kept in ``responses<suffix>.jsonl``."""
    p, provider = stage.params, serving.measured_provider(stage)
    # Long prompts first, so that the short ones fill up the cores in the end.
    order = sorted(asked, key=lambda name: ALL_CONDITIONS[name].context == "none")
    named: dict[str, tuple[str, Any]] = {
        key(name, q["question_id"]): (name, q) for name in order for q in questions
    }
    used = dict.fromkeys(asked.values())
    weights = {model: serving.identity(stage, model, provider) for model in used}
    path = stage.folder / f"responses{suffix}.jsonl"
    with Store(path, made_from=made_from(p, questions, weights, tuple(asked))) as store:
        for model in used:
            to_ask = store.missing(k for k, (name, _) in named.items() if asked[name] == model)
            if not to_ask:
                continue
            requests = [request(*named[k], p.max_new_tokens) for k in to_ask]
            how = (serving.options(p), p.parallel, f"answering, {model}")
            with (
                serving.serve(stage, model, provider) as engine,
                closing(chat.complete(requests, engine, *how)) as answers,
            ):
                for done in answers:
                    condition, question = named[done.key]
                    record = {"key": done.key, "condition": condition, "response": done.text}
                    record |= {name: question[name] for name in OF_QUESTION}
                    store.append(record | {name: getattr(done, name) for name in MEASURED})
        records: dict[str, Any] = {record["key"]: record for record in store.records()}
    return [records[key(name, q["question_id"])] for name in asked for q in questions]
