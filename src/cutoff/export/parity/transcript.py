"""Prompts of the evaluation and their greedy answers, by transformers and by what serves them.

Both are asked in one way. The repetition penalty is 1, whatever the evaluation uses:
transformers divides by it over the whole prompt, llama.cpp over the last 64 tokens only, so that
with any other value two equal models would differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from cutoff import prompts
from cutoff.chat_template import load_tokenizer
from cutoff.engines import chat, hf_generation, llama_cpp
from cutoff.export.parity import divergence
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
    """``n_prompts`` chats spread evenly over ``eval.jsonl``, closed-book and RAG in turn."""
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
    render = tokenizer.apply_chat_template
    return [
        Transcript(messages, render(messages, add_generation_prompt=True, return_dict=False))
        for messages in chats
    ]


class Uncounted:
    """An engine whose prompt counts are left to the gate, which shows what the client refuses."""

    def __init__(self, engine: chat.Engine) -> None:
        self.where, self.ask = engine.where, engine.ask

    def count_prompt_tokens(self, request: chat.Request) -> None:
        return None


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


def by_transformers(
    base: Path, adapter: Path | None, chats: Sequence[list[Message]], p: Params
) -> list[Transcript]:
    """The reference: ``chats`` answered with the adapter beside the base model, unmerged."""
    spread = {"device_map": "auto"} if torch.cuda.is_available() else {}
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=number_format(base), **spread)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    tokenizer = load_tokenizer(base)
    tokenizer.clean_up_tokenization_spaces = False  # true with Llama 3; no server does it
    engine = hf_generation.Engine(model.eval(), tokenizer, hf_generation.CPU_BATCH_TOKENS)
    given = answered(engine, tokenizer, unanswered(tokenizer, chats), p)
    return [replace(each, next_tokens=_next_tokens(model, each)) for each in given]


def number_format(base: Path) -> str:
    """float32 on a CPU and where it fits the GPUs' free memory.

    Sums in 16 bits are rounded more coarsely than what the gate looks for, so they are
    the second choice: bfloat16 where the GPU computes it, else float16.
    """
    if not torch.cuda.is_available():
        return "float32"
    stored = sum(path.stat().st_size for path in base.glob("*.safetensors"))  # 16 bits each
    free = sum(torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count()))
    if 2 * stored * 1.2 < free:  # a fifth for activations and the cache
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


@torch.inference_mode()
def _next_tokens(model: Any, given: Transcript) -> dict[int, Any]:
    """Place in the answer -> log-probabilities of every token there, an array."""
    wanted = divergence.places(len(given.answer_ids))
    tokens = torch.tensor([given.prompt_ids + given.answer_ids], device=model.device)
    rows = torch.tensor([len(given.prompt_ids) - 1 + place for place in wanted])
    logits = model(input_ids=tokens, logits_to_keep=rows.to(model.device)).logits[0]
    return dict(zip(wanted, logits.float().log_softmax(-1).cpu().numpy(), strict=True))


def by_llama_cpp(
    weights: Path, lora: Path | None, base: Path, reference: Sequence[Transcript], p: Params
) -> list[Transcript]:
    """The chats of ``reference`` through the server and the kind of request of the evaluation.

    The chat template, the tokenizer and the weights are those inside the GGUF file;
    ``lora`` is applied on top of it, ``base`` has the tokenizer that splits the answers.
    """
    tokenizer, answers = load_tokenizer(base), []
    with llama_cpp.serve(weights, p.num_ctx, 1, lora) as engine:
        for expected in reference:  # each in turn: the places go on where its prompt was read
            (given,) = answered(engine, tokenizer, [expected], p)
            after = _most_probable(engine, expected) if given.n_read else {}
            ids = engine.prompt_ids(chat.Request("", expected.messages, 1))
            answers.append(replace(given, prompt_ids=ids, next_tokens=after))
    return answers


def _most_probable(engine: llama_cpp.Endpoint, expected: Transcript) -> dict[int, dict[int, float]]:
    """Log-probabilities of the most probable tokens at the places of ``expected``.

    The server continues the token ids of transformers, so that only the weights can differ.
    The probabilities are those of the model, before any sampler.
    """
    found = {}
    for place in expected.next_tokens:
        reply = engine.post(
            "/completion",
            prompt=expected.prompt_ids + expected.answer_ids[:place],
            n_predict=1,
            n_probs=divergence.TOP_TOKENS,
            # An end token or half a character would come without probabilities. A bias acts
            # after they were taken, so it changes what is chosen and not what is compared.
            logit_bias=[["a", 1e6]],
            temperature=0,
            cache_prompt=True,  # the places of one answer share all but its last tokens
        )
        top = reply["completion_probabilities"][0]["top_logprobs"]
        found[place] = {token["id"]: token["logprob"] for token in top}
    return found
