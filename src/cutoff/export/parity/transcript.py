"""One prompt and its greedy answer, token by token, and the prompts that the gate asks.

Token ids are compared, because texts can look alike where the ids differ, and the probabilities
of the next token along the answer of the reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cutoff import prompts
from cutoff.prompts import Message
from cutoff.records import Question


@dataclass(frozen=True)
class Transcript:
    """One prompt and its greedy answer.

    ``answer_ids`` ends with the end-of-turn token if the model ``stopped`` by itself,
    ``text`` never does. ``n_read``: tokens of the prompt that were read, 0 where it was
    refused as too long. ``next_tokens``: place in the answer of transformers ->
    log-probabilities of the token there, of all tokens (an array) or the most probable.
    """

    messages: list[Message]
    prompt_ids: list[int]
    answer_ids: list[int]
    text: str
    stopped: bool
    n_read: int
    next_tokens: dict[int, Any] = field(default_factory=dict, compare=False, repr=False)


def choose_prompts(questions: Sequence[Question], n_prompts: int) -> list[list[Message]]:
    """``n_prompts`` chats from ``eval.jsonl``, spread evenly over it.

    Closed-book and RAG prompts alternate, because the gate must see both.
    """
    n_prompts = min(n_prompts, len(questions))
    picked = [questions[i * len(questions) // n_prompts] for i in range(n_prompts)]
    return [
        prompts.render_rag(question["question"], question["context"])
        if number % 2
        else prompts.render_closed_book(question["question"])
        for number, question in enumerate(picked)
    ]
