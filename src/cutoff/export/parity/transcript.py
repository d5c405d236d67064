"""Prompts of the evaluation and their greedy answers, asked in one way of every engine.

The repetition penalty is 1, whatever the evaluation uses: transformers divides by it over the
whole prompt, llama.cpp over the last 64 tokens only, so that with any other value two equal
models would differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cutoff import prompts
from cutoff.engines import chat
from cutoff.params import Params
from cutoff.prompts import Message
from cutoff.records import Question


@dataclass(frozen=True)
class Transcript:
    """One prompt and its greedy answer.

    ``answer_ids`` are the tokens of the answer's ``text``, with the end of turn if the model
    ``stopped`` by itself. ``n_read``: tokens of the prompt that were read, 0 where it is too
    long to be asked. ``next_tokens``: place in the reference's answer -> log-probabilities of
    the token there, of all tokens (an array) or of the most probable.
    """

    messages: list[Message]
    prompt_ids: list[int]
    answer_ids: list[int] = field(default_factory=list)
    text: str = ""
    stopped: bool = False
    n_read: int = 0
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


def unanswered(tokenizer: Any, chats: Sequence[list[Message]]) -> list[Transcript]:
    """The prompts of ``chats`` as the model was trained on them, by the tokenizer's template."""
    return [
        Transcript(
            messages,
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False),
        )
        for messages in chats
    ]


class Uncounted:
    """An engine whose prompt counts are left to the gate, which shows what the client refuses."""

    def __init__(self, engine: chat.Engine) -> None:
        self.engine = engine
        self.where = engine.where

    def count_prompt_tokens(self, request: chat.Request) -> None:
        return None

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        return self.engine.ask(request, options)


def answered(
    engine: chat.Engine | chat.BatchEngine, tokenizer: Any, asked: Sequence[Transcript], p: Params
) -> list[Transcript]:
    """``asked``, answered by ``engine`` as 04 asks, but greedily and without a penalty."""
    options = chat.Options(num_ctx=p.num_ctx, temperature=0.0, repeat_penalty=1.0)
    requests = [
        chat.Request(str(i), a.messages, p.max_new_tokens)
        for i, a in enumerate(asked)
        if len(a.prompt_ids) + p.max_new_tokens <= p.num_ctx
    ]
    client = engine if isinstance(engine, chat.BatchEngine) else Uncounted(engine)
    found = [Transcript(a.messages, a.prompt_ids) for a in asked]
    for done in chat.complete(requests, client, options, p.parallel):
        stopped, i = done.finish_reason == "stop", int(done.key)
        ids = tokenizer(done.text, add_special_tokens=False).input_ids
        found[i] = replace(
            found[i],
            answer_ids=ids + [tokenizer.eos_token_id] * stopped,
            text=done.text,
            stopped=stopped,
            n_read=done.prompt_tokens,
        )
    return found
