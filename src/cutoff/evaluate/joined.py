"""The one join: every answer with its question, the passages of its prompt and its verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cutoff.errors import CutoffError
from cutoff.evaluate.answering import context, key
from cutoff.experiment import ALL_CONDITIONS

OF_QUESTION = ("question_id", "paper_id", "stratum", "question", "reference", "statement")
OF_RESPONSE = ("response", "finish_reason", "prompt_tokens", "completion_tokens", "latency_seconds")
FLAGS = ("passed", "retrieval_hit", "citation_present", "citation_right")


def join(
    questions: Sequence[Mapping[str, Any]],
    responses: Sequence[Mapping[str, Any]],
    judgements: Sequence[Mapping[str, Any]],
) -> pd.DataFrame:
    """One row per answer, in the order of ``ALL_CONDITIONS`` and ``questions``.

    Columns: question_id, paper_id, stratum, condition; question, reference, statement,
    gold_passage_ids; context and context_passage_ids (what the prompt held, in the order of its
    numbers); response, finish_reason, prompt_tokens, completion_tokens, latency_seconds; verdict
    and the flags passed, retrieval_hit, citation_present, citation_right: True, False or
    missing, never filled in.

    Raises ``CutoffError`` unless every condition that occurs has every question once, answered
    and judged.
    """
    judged, answered = _once(judgements, "judged"), _once(responses, "answered")
    occur = {response["condition"] for response in responses}
    rows = []
    for condition in (name for name in ALL_CONDITIONS if name in occur):
        for question in questions:
            name = key(condition, question["question_id"])
            response, judgement = answered.get(name), judged.get(name)
            if response is None or judgement is None:
                what = "answer" if response is None else "judgement"
                raise CutoffError(
                    f"{question['question_id']} has no {what} under {condition}; "
                    "run 04_evaluate again."
                )
            held = context(ALL_CONDITIONS[condition].context, question)
            rows.append(
                {column: question[column] for column in OF_QUESTION}
                | {"condition": condition, "gold_passage_ids": question["gold_passage_ids"]}
                | {column: held[column] for column in ("context", "context_passage_ids")}
                | {column: response[column] for column in OF_RESPONSE}
                | {column: judgement[column] for column in ("verdict", *FLAGS)}
            )
    columns = [*OF_QUESTION, "condition", "gold_passage_ids", "context", "context_passage_ids"]
    frame = pd.DataFrame(rows, columns=[*columns, *OF_RESPONSE, "verdict", *FLAGS])
    return frame.astype(dict.fromkeys(FLAGS, "boolean"))


def _once(records: Sequence[Mapping[str, Any]], done: str) -> dict[str, Mapping[str, Any]]:
    by_key: dict[str, Mapping[str, Any]] = {}
    for record in records:
        name = key(record["condition"], record["question_id"])
        if name in by_key:
            raise CutoffError(f"{record['question_id']} was {done} twice: {name}.")
        by_key[name] = record
    return by_key
