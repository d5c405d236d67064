"""Every response judged blind, and what its citations were worth.

    judgements = judge.judge(stage, questions, responses)

The judge sees question, reference answer and response, and nothing else: no condition,
no passages, no citation markers. Whether a response passes follows from the verdict in
code. Citations and retrieval are diagnostics beside the verdict, in RAG conditions only.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from cutoff import run
from cutoff.evaluate import grounding, reference
from cutoff.evaluate.conditions import seed_suffix
from cutoff.store import Store

Record = dict[str, Any]

# Raise this when the same response could get another verdict: 05 refuses to put runs
# with different scoring side by side, and earlier judgements are made again.
SCORING_VERSION = 1
SCORING = f"reference rules, version {SCORING_VERSION}"
VERDICTS = ("correct", "incorrect", "not_attempted", "judge_failed")


def judge(
    stage: run.Run,
    questions: Sequence[Record],
    responses: Sequence[Record],
    training_seed: int | None = None,
) -> list[Record]:
    """Judge every response; returns the records of ``judgements.jsonl``, in order.

    Judgements that exist for exactly these responses and this scoring are kept, those of a
    further ``training_seed`` in a file of their own.
    """
    name = stage.params.judge_model
    asked = {question["question_id"]: question for question in questions}
    path = stage.folder / f"judgements{seed_suffix(stage.params, training_seed)}.jsonl"
    with Store(path, made_from=made_from(name, responses)) as store:
        for response in responses:
            key = f"{name}|{response['key']}"
            if key not in store:
                store.append({"key": key, "judge": name, **judge_one(asked, response)})
        wanted = [f"{name}|{response['key']}" for response in responses]
        by_key = {record["key"]: record for record in store.records()}
    return [by_key[key] for key in wanted]


def judge_one(asked: dict[str, Record], response: Record) -> Record:
    """Verdict, pass and diagnostics of one response, without the judge's name."""
    question = asked[response["question_id"]]
    text = without_citations(response["response"])
    verdict, rule = reference.decide(question["question"], question["reference"], text)
    return {
        "condition": response["condition"],
        "question_id": response["question_id"],
        "verdict": verdict,
        "passed": passes(verdict),
        "rule": rule,
        **grounding.citations(question, response),
    }


def passes(verdict: str) -> bool | None:
    """What a verdict is worth: only a correct answer passes; no verdict is neither."""
    if verdict not in VERDICTS:
        raise ValueError(f"unknown verdict {verdict!r}")
    return None if verdict == "judge_failed" else verdict == "correct"


def without_citations(text: str) -> str:
    """``text`` as the judge sees it: without markers such as ``[2]`` or ``[1, 3]``."""
    return re.sub(r"[ \t]+", " ", reference.CITATION.sub(" ", text)).strip()


def made_from(name: str, responses: Sequence[Record]) -> str:
    """Hash of the scoring and of every response that is judged."""
    texts = [(response["key"], response["response"]) for response in responses]
    return hashlib.sha256(run.to_json([SCORING, name, texts])).hexdigest()
