"""Six conditions, training x context, and the answers of every one to every question.

    responses = conditions.answer(stage, questions)

Every answer goes to ``responses.jsonl`` as it arrives, so a killed run goes on where it
stood. Answers that other weights, prompts or settings gave are set aside, never mixed in.
"""

import hashlib
import importlib.metadata
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cutoff import llm, prompts, run
from cutoff.engines import llama_cpp
from cutoff.errors import CutoffError
from cutoff.store import Store

Record = dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """Which weights answer (``base``, ``instruct_ft``, ``rag_ft``), with which context."""

    model: str
    context: str  # none | retrieved


CONDITIONS = {
    "base": Condition("base", "none"),
    "base_rag": Condition("base", "retrieved"),
    "instruct_ft": Condition("instruct_ft", "none"),
    "instruct_ft_rag": Condition("instruct_ft", "retrieved"),
    "rag_ft": Condition("rag_ft", "none"),
    "rag_ft_rag": Condition("rag_ft", "retrieved"),
}
MODELS = tuple(dict.fromkeys(condition.model for condition in CONDITIONS.values()))


def answer(stage: run.Run, questions: Sequence[Record]) -> list[Record]:
    """Answer every question under every condition; returns the records of ``responses.jsonl``.

    ``questions`` are the records of ``eval.jsonl``. Answers that exist are not asked for
    again. The records come back in the order of ``CONDITIONS`` and ``questions``, whatever
    the order in which they arrived. Throughput goes to ``run.json``.
    Raises ``CutoffError`` when a model is missing, a prompt does not fit, the server fails
    for good, or an answer is missing in the end.
    """
    weights = {model: stage.require(model_file(stage, model), "03_export_gguf") for model in MODELS}
    store = Store(stage.folder / "responses.jsonl", made_from=made_from(stage, questions, weights))
    with store:
        for note in (store.set_aside, store.repaired):
            if note:
                print(note)
        kept = len(store)
        throughput = {
            model: figures
            for model in MODELS
            if (figures := _answer_with(stage, model, weights[model], questions, store))
        }
        if throughput:  # a run that found every answer keeps the figures of the one that gave them
            stage.record(answers={"kept": kept, "new": len(store) - kept}, throughput=throughput)
        return complete_records(store.records(), questions)


def made_from(stage: run.Run, questions: Sequence[Record], weights: dict[str, Path]) -> str:
    """Hash of all that an answer depends on: weights, questions, prompts, settings, engine."""
    p = stage.params
    parts = [
        {model: run.sha256_file(path) for model, path in weights.items()},
        [(q["question_id"], q["question"], q["context"]) for q in questions],
        {name: asdict(condition) for name, condition in CONDITIONS.items()},
        prompts.prompts_sha256(),
        (p.provider, p.num_ctx, p.max_new_tokens, p.temperature, p.seed),
        importlib.metadata.version("xllamacpp"),
    ]
    return hashlib.sha256(run.to_json(parts)).hexdigest()


def model_file(stage: run.Run, model: str) -> Path:
    """The quantised weights that 03 exports for ``model``."""
    return stage.folder / "models" / f"{model}.{stage.params.quantization}.gguf"


def n_parameters(weights: Path) -> int:
    """Number of weights in a GGUF file."""
    import gguf

    return sum(int(tensor.n_elements) for tensor in gguf.GGUFReader(weights).tensors)


def key(condition: str, question_id: str) -> str:
    """What names an answer: ``base_rag|<question id>``."""
    return f"{condition}|{question_id}"


def request(condition: str, question: Record, max_new_tokens: int) -> llm.Request:
    """The request that puts ``question`` to the model under ``condition``."""
    if CONDITIONS[condition].context == "retrieved":
        messages = prompts.render_rag(question["question"], question["context"])
    else:
        messages = prompts.render_closed_book(question["question"])
    return llm.Request(key(condition, question["question_id"]), messages, max_new_tokens)


def complete_records(records: Iterable[Record], questions: Sequence[Record]) -> list[Record]:
    """Exactly one record per condition and question, in canonical order, or ``CutoffError``."""
    by_key: dict[str, Record] = {}
    for record in records:
        if record["key"] in by_key:
            raise CutoffError(f"{record['key']} was answered twice; remove responses.jsonl.")
        by_key[record["key"]] = record
    wanted = [key(name, question["question_id"]) for name in CONDITIONS for question in questions]
    missing = [name for name in wanted if name not in by_key]
    if missing:
        raise CutoffError(
            f"{len(missing):,} of {len(wanted):,} answers are missing, first {missing[0]}; "
            "run 04_evaluate again."
        )
    foreign = sorted(set(by_key) - set(wanted))
    if foreign:
        raise CutoffError(
            f"{len(foreign):,} answers belong to no question of this data set, first "
            f"{foreign[0]}; remove responses.jsonl and run 04_evaluate again."
        )
    return [by_key[name] for name in wanted]


def _answer_with(
    stage: run.Run, model: str, weights: Path, questions: Sequence[Record], store: Store
) -> dict[str, float] | None:
    """Ask one model all that is still open; its throughput, or None if nothing was."""
    p = stage.params
    # Long prompts first, so that the short ones fill up the cores in the end.
    names = [name for name, condition in CONDITIONS.items() if condition.model == model]
    names.sort(key=lambda name: CONDITIONS[name].context == "none")
    origin = {
        key(name, question["question_id"]): (name, question)
        for name in names
        for question in questions
    }
    open_keys = store.missing(origin)
    if not open_keys:
        return None
    requests = [request(*origin[name], p.max_new_tokens) for name in open_keys]
    options = llm.Options(p.num_ctx, p.temperature, seed=p.seed)
    started = time.monotonic()
    prompt_tokens = completion_tokens = 0
    with (
        llama_cpp.serve(weights, p.num_ctx, p.parallel) as engine,
        closing(
            llm.complete(requests, engine, options, p.parallel, f"answering, {model}")
        ) as answers,
    ):
        for done in answers:
            name, question = origin[done.key]
            store.append(
                {
                    "key": done.key,
                    "condition": name,
                    "question_id": question["question_id"],
                    "response": done.text,
                    "prompt_tokens": done.prompt_tokens,
                    "completion_tokens": done.completion_tokens,
                    "latency_seconds": done.latency_seconds,
                    "finish_reason": done.finish_reason,
                    "retries": done.retries,
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
