"""Six conditions, training x context, and the answers of every one to every question.

    responses = answering.answer(stage, questions)

Every answer goes to ``responses.jsonl`` as it arrives, so a killed run goes on where it
stood. Answers that other weights, prompts or settings gave are set aside, never mixed in.
Beside the six, and in files of their own: the contexts of ``extra_contexts`` (``base_oracle``
and the like) and the questions that the papers do not answer.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any, cast

from cutoff import files, models, prompts
from cutoff.engines import chat, serving
from cutoff.errors import CutoffError
from cutoff.experiment import ALL_CONDITIONS, CONDITIONS, EXTRA_CONDITIONS, EXTRA_CONTEXTS
from cutoff.params import Params
from cutoff.records import Question, Response
from cutoff.run import folders
from cutoff.store import Store

# What a completion says beside its text, see ``Response``.
MEASURED = "prompt_tokens completion_tokens latency_seconds finish_reason retries".split()


def answer(
    stage: folders.Run, questions: Sequence[Question], training_seed: int | None = None
) -> list[Response]:
    """Answer every question under every condition; returns the records of ``responses.jsonl``.

    ``questions`` are the records of ``eval.jsonl``. Another ``training_seed`` than the first
    asks the models of that seed, under the four conditions that have been trained, and
    keeps its answers in a file of their own. Answers that exist are not asked for again.
    The records come back in the order of ``CONDITIONS`` and ``questions``, whatever the
    order in which they arrived. Throughput goes to ``run.json``.
    Raises ``CutoffError`` when a model is missing, a prompt does not fit, the server fails
    for good, or an answer is missing in the end.
    """
    asked = models_asked(stage.params, training_seed)
    return answer_all(stage, questions, asked, seed_suffix(stage.params, training_seed))


def answer_extra(stage: folders.Run, questions: Sequence[Question]) -> list[Response]:
    """The same ``questions`` with the contexts of ``extra_contexts``; [] where it is null.

    ``questions`` come from ``contexts.add``. A file per context (``responses.oracle.jsonl``);
    records and errors as in ``answer``.
    """
    return [
        record
        for kind in extra_contexts(stage.params)
        for record in answer_all(
            stage,
            questions,
            {name: c.model for name, c in EXTRA_CONDITIONS.items() if c.context == kind},
            f".{kind}",
        )
    ]


def answer_unanswerable(stage: folders.Run, questions: Sequence[Question]) -> list[Response]:
    """Put the questions of ``unanswerable.jsonl`` to the six conditions; [] without any.

    The answers lie in ``responses.unanswerable.jsonl``; records and errors as in ``answer``.
    """
    if not questions:
        return []
    return answer_all(stage, questions, models_asked(stage.params), ".unanswerable")


def extra_contexts(p: Params) -> tuple[str, ...]:
    """The contexts that ``p.extra_contexts`` names: with commas, or ``both``."""
    if p.extra_contexts is None:
        return ()
    names = [name.strip() for name in p.extra_contexts.split(",") if name.strip()]
    if names == ["both"]:
        return EXTRA_CONTEXTS
    unknown = [name for name in names if name not in EXTRA_CONTEXTS]
    if unknown or not names:
        raise CutoffError(
            f"extra_contexts = {p.extra_contexts!r}: must be oracle, distractor, both, or null."
        )
    return tuple(name for name in EXTRA_CONTEXTS if name in names)


def models_asked(p: Params, training_seed: int | None = None) -> dict[str, str]:
    """Condition -> name of the model that answers under it, for one training seed.

    The first seed answers under all six conditions; the base model has no further seeds.
    """
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
    names = ("export_mode", "quantization", "base_source")
    return {"provider": serving.measured_provider(stage), **{n: getattr(p, n) for n in names}}


def how_served(stage: folders.Run) -> str:
    """``served`` in words, with a warning where base and trained weights differ in more than
    their training."""
    how = served(stage)
    if how["provider"] == "transformers":
        text = "Answered by `transformers` from the 16-bit weights, the adapter beside them."
    else:
        when = {"merged": "merged before", "adapter": "added after"}[how["export_mode"]]
        text = (
            f"Answered by `{how['provider']}` from {how['quantization']} weights, the adapter "
            f"{when} the quantisation."
        )
    if how["base_source"] == "ollama":
        text += (
            f" **Warning: the base model is the stock `{stage.params.ollama_base_model}`; effects "
            "of training include the difference between its quantisation and ours.**"
        )
    return text


def n_parameters(stage: folders.Run) -> int:
    """Number of weights of the base model, as 03 has counted them."""
    path = stage.require(stage.folder / "parity.json", "03_export_gguf")
    return int(files.read_json(path)["n_parameters"])


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


def complete_records(
    records: Sequence[Mapping[str, Any]],
    questions: Sequence[Question],
    conditions: Sequence[str] = tuple(CONDITIONS),
    file: str = "responses.jsonl",
) -> list[Response]:
    """Exactly one record per condition and question, in canonical order, or ``CutoffError``.

    ``file`` is where they lie, for the message.
    """
    by_key = {record["key"]: record for record in records}
    wanted = [key(name, question["question_id"]) for name in conditions for question in questions]
    missing = [name for name in wanted if name not in by_key]
    if missing:
        raise CutoffError(
            f"{len(missing):,} of {len(wanted):,} answers are missing, first {missing[0]}; "
            "run 04_evaluate again."
        )
    if surplus := Counter(record["key"] for record in records) - Counter(wanted):
        raise CutoffError(
            f"{surplus.total():,} answers stand there twice or belong to no question of this data "
            f"set, first {min(surplus)}; remove {file} and run 04_evaluate again."
        )
    return [cast(Response, by_key[name]) for name in wanted]


def answer_all(
    stage: folders.Run, questions: Sequence[Question], asked: dict[str, str], suffix: str
) -> list[Response]:
    """Answers under ``asked`` (condition -> model), kept in ``responses<suffix>.jsonl``."""
    provider = serving.measured_provider(stage)
    used = tuple(dict.fromkeys(asked.values()))
    weights = {model: serving.identity(stage, model, provider) for model in used}
    path = stage.folder / f"responses{suffix}.jsonl"
    store = Store(path, made_from=made_from(stage.params, questions, weights, tuple(asked)))
    with store:
        kept = len(store)
        throughput = {
            model if model.endswith(suffix) else model + suffix: figures
            for model in used
            if (figures := _answer_with(stage, model, provider, asked, questions, store))
        }
        if throughput:  # a run that found every answer keeps the figures of the one that gave them
            known = folders.read_run(stage.folder)["stages"].get(stage.stage, {}).get("figures", {})
            stage.record(
                **{f"answers{suffix}": {"kept": kept, "new": len(store) - kept}},
                throughput={**known.get("throughput", {}), **throughput},
            )
        return complete_records(store.records(), questions, tuple(asked), path.name)


def _answer_with(
    stage: folders.Run,
    model: str,
    provider: str,
    asked: dict[str, str],
    questions: Sequence[Question],
    store: Store,
) -> dict[str, float] | None:
    """Ask one model all that is still open; its throughput, or None if nothing was."""
    p = stage.params
    # Long prompts first, so that the short ones fill up the cores in the end.
    names = [name for name, of_condition in asked.items() if of_condition == model]
    names.sort(key=lambda name: ALL_CONDITIONS[name].context == "none")
    origin = {
        key(name, question["question_id"]): (name, question)
        for name in names
        for question in questions
    }
    open_keys = store.missing(origin)
    if not open_keys:
        return None
    requests = [request(*origin[name], p.max_new_tokens) for name in open_keys]
    options = serving.options(p)
    started = time.monotonic()
    prompt_tokens = completion_tokens = 0
    with (
        serving.serve(stage, model, provider) as engine,
        closing(
            chat.complete(requests, engine, options, p.parallel, f"answering, {model}")
        ) as answers,
    ):
        for done in answers:
            name, question = origin[done.key]
            store.append(
                {
                    "key": done.key,
                    "condition": name,
                    "question_id": question["question_id"],
                    "paper_id": question["paper_id"],
                    "stratum": question["stratum"],
                    "response": done.text,
                    **{name: getattr(done, name) for name in MEASURED},
                }
            )
            prompt_tokens += done.prompt_tokens
            completion_tokens += done.completion_tokens
    seconds = time.monotonic() - started
    return {
        "answers": len(requests),
        "seconds": round(seconds, 2),
        "prompt_tokens_per_second": round(prompt_tokens / seconds, 1),
        "completion_tokens_per_second": round(completion_tokens / seconds, 1),
    }
