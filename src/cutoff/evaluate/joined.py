"""The one join: every answer with its question, the passages of its prompt and its verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cutoff.errors import CutoffError
from cutoff.evaluate.answering import context, key
from cutoff.experiment import ALL_CONDITIONS

OF_QUESTION = "question_id paper_id stratum question reference statement gold_passage_ids".split()
OF_CONTEXT = ["context", "context_passage_ids"]
OF_RESPONSE = "response finish_reason prompt_tokens completion_tokens latency_seconds".split()
FLAGS = ["passed", "retrieval_hit", "citation_present", "citation_right"]


def join(
    questions: Sequence[Mapping[str, Any]],
    responses: Sequence[Mapping[str, Any]],
    judgements: Sequence[Mapping[str, Any]],
) -> pd.DataFrame:
    """One row per answer, in the order of ``ALL_CONDITIONS`` and ``questions``.

    Columns: condition; those of ``OF_QUESTION``; context and context_passage_ids (what the prompt
    held, in the order of its numbers); those of ``OF_RESPONSE``; verdict and the ``FLAGS``: True,
    False or missing, never filled in.

    Raises ``CutoffError`` unless every condition that occurs has every question, answered and
    judged.
    """
    answered, judged = (
        {key(r["condition"], r["question_id"]): r for r in records}
        for records in (responses, judgements)
    )
    occur = {response["condition"] for response in responses}
    rows = []
    for condition in (name for name in ALL_CONDITIONS if name in occur):
        for question in questions:
            name = key(condition, question["question_id"])
            for done, records in (("answered", answered), ("judged", judged)):
                if name not in records:
                    raise CutoffError(f"{name} was not {done}; run 04_evaluate again.")
            held = context(ALL_CONDITIONS[condition].context, question)
            parts = ((question, OF_QUESTION), (held, OF_CONTEXT), (answered[name], OF_RESPONSE))
            row = {c: record[c] for record, columns in parts for c in columns}
            verdict = {c: judged[name][c] for c in ("verdict", *FLAGS)}
            rows.append({"condition": condition, **row, **verdict})
    columns = ["condition", *OF_QUESTION, *OF_CONTEXT, *OF_RESPONSE, "verdict", *FLAGS]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(FLAGS, "boolean"))
