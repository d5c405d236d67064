"""The same chats answered on both sides of the export: by transformers and by llama.cpp.

Both sides are asked for token ids, greedily, because texts can look alike where the ids
differ.
"""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cutoff import llm, prompts
from cutoff.errors import CutoffError
from cutoff.prompts import Message


@dataclass(frozen=True)
class Answer:
    """One prompt and its greedy answer; ``answer_ids`` ends with the end-of-turn token if
    the model ``stopped`` by itself, ``text`` never does."""

    messages: list[Message]
    prompt_ids: list[int]
    answer_ids: list[int]
    text: str
    stopped: bool


def choose_prompts(questions: Sequence[dict[str, Any]], n_prompts: int) -> list[list[Message]]:
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


def answer_with_transformers(
    base: Path, adapter: Path | None, chats: Sequence[list[Message]], max_new_tokens: int
) -> list[Answer]:
    """The reference: greedy answers of the base model with the adapter beside it, in float32."""
    # Imported here: 04 only asks whether the gate is open, and must not wait for torch.
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter).eval()
    answers = []
    for messages in chats:
        prompt_ids = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
        tokens = torch.tensor([prompt_ids])
        generated = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=max_new_tokens,
            do_sample=False,
        )
        answer_ids = generated[0, len(prompt_ids) :].tolist()
        text = tokenizer.decode(answer_ids, skip_special_tokens=True)
        stopped = answer_ids[-1] == tokenizer.eos_token_id
        answers.append(Answer(messages, prompt_ids, answer_ids, text, stopped))
    return answers


def answer_with_llama_cpp(
    weights: Path, chats: Sequence[list[Message]], max_new_tokens: int, num_ctx: int, parallel: int
) -> list[Answer]:
    """The same chats through the servers and the kind of request that the evaluation uses.

    The chat template, the tokenizer and the weights are those inside the GGUF file.
    """
    with llm.llama_server(weights, num_ctx, parallel) as endpoint:
        headers = {"Authorization": f"Bearer {endpoint.api_key}"}
        with (
            httpx.Client(
                headers=headers, timeout=llm.REQUEST_TIMEOUT_SECONDS, trust_env=False
            ) as client,
            ThreadPoolExecutor(parallel) as pool,
        ):
            urls = itertools.cycle(endpoint.base_urls)
            asked = [
                pool.submit(ask, client, url, messages, max_new_tokens)
                for url, messages in zip(urls, chats, strict=False)
            ]
            return [future.result() for future in asked]


def ask(client: httpx.Client, url: str, messages: list[Message], max_new_tokens: int) -> Answer:
    """One chat: the server's prompt token ids and its greedy answer's token ids."""

    def post(path: str, **body: Any) -> Any:
        response = client.post(url + path, json=body)
        if response.status_code != httpx.codes.OK:
            raise CutoffError(f"llama.cpp refused {path}: {response.text[:300]}")
        return response.json()

    text = post("/apply-template", messages=messages)["prompt"]
    tokens = post("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]
    reply = post(
        "/v1/chat/completions",
        messages=messages,
        max_tokens=max_new_tokens,
        temperature=0,
        cache_prompt=False,
        logprobs=True,  # the only way to see token ids of a chat answer
        top_logprobs=1,
    )
    n_read = reply["usage"]["prompt_tokens"]
    if n_read != len(tokens):
        raise CutoffError(
            f"llama.cpp answered a prompt of {n_read} tokens where its own chat template and "
            f"tokenizer make {len(tokens)}."
        )
    choice = reply["choices"][0]
    answer_ids = [token["id"] for token in choice["logprobs"]["content"]]
    text = choice["message"]["content"] or ""
    return Answer(messages, tokens, answer_ids, text, choice["finish_reason"] == "stop")
