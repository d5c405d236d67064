"""The same chats answered on both sides of the export: by transformers and by llama.cpp.

Both sides are asked for token ids, greedily, because texts can look alike where the ids
differ, and for the probabilities of the next token along the answer of transformers. The
repetition penalty is 1 on both sides, whatever the evaluation uses: transformers divides
by it over the whole prompt, llama.cpp over the last 64 tokens only, so that with any other
value two equal models would differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from cutoff import prompts
from cutoff.chat_template import load_tokenizer
from cutoff.engines import chat, connections, llama_cpp
from cutoff.errors import CutoffError
from cutoff.export.parity import divergence
from cutoff.params import Params
from cutoff.prompts import Message

TRANSFORMERS_BATCH = 8  # prompts that transformers answers at a time


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


def prompt_ids(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Token ids of a chat as in training: by the tokenizer's own template."""
    ids: list[int] = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )
    return ids


# --- transformers ------------------------------------------------------------------------


def from_transformers(
    base: Path, adapter: Path | None, chats: Sequence[list[Message]], max_new_tokens: int
) -> list[Transcript]:
    """The reference: greedy answers of the base model with the adapter beside it, unmerged."""
    # Imported here: 04 only asks whether the gate is open, and must not wait for torch.
    import torch

    tokenizer = load_tokenizer(base)
    model, ends = load_reference(base, adapter, tokenizer)
    asked = [prompt_ids(tokenizer, messages) for messages in chats]
    order = sorted(range(len(asked)), key=lambda i: len(asked[i]))  # little padding
    answers: dict[int, Transcript] = {}
    for start in range(0, len(order), TRANSFORMERS_BATCH):
        batch = order[start : start + TRANSFORMERS_BATCH]
        generated = generate(model, [asked[i] for i in batch], max_new_tokens, ends)
        for i, answer_ids in zip(batch, generated, strict=True):
            wanted = divergence.places(len(answer_ids))
            tokens = torch.tensor([asked[i] + answer_ids], device=model.device)
            rows = torch.tensor([len(asked[i]) - 1 + place for place in wanted])
            with torch.inference_mode():
                logits = model(input_ids=tokens, logits_to_keep=rows.to(model.device)).logits[0]
            log_p = logits.float().log_softmax(-1).cpu().numpy()
            answers[i] = Transcript(
                messages=chats[i],
                prompt_ids=asked[i],
                answer_ids=answer_ids,
                text=tokenizer.decode(answer_ids, skip_special_tokens=True),
                stopped=answer_ids[-1] in ends,
                n_read=len(asked[i]),
                next_tokens=dict(zip(wanted, log_p, strict=True)),
            )
    return [answers[i] for i in range(len(asked))]


def reference_format(base: Path) -> str:
    """Number format of the reference: float32 on a CPU and where it fits the GPUs' free memory.

    Sums in 16 bits are rounded more coarsely than what the gate looks for, so they are
    the second choice: bfloat16 where the GPU computes it, else float16.
    """
    import torch

    if not torch.cuda.is_available():
        return "float32"
    stored = sum(path.stat().st_size for path in base.glob("*.safetensors"))  # 16 bits each
    free = sum(torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count()))
    if 2 * stored * 1.2 < free:  # a fifth for activations and the cache
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def load_reference(base: Path, adapter: Path | None, tokenizer: Any) -> tuple[Any, list[int]]:
    """The model in transformers, set to greedy decoding, and the token ids that end its turn."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, GenerationConfig

    spread = {"device_map": "auto"} if torch.cuda.is_available() else {}
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=reference_format(base), **spread)
    own = model.generation_config.eos_token_id
    ends = [tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    ends = sorted({token for token in ends if token is not None})
    pad = ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    # Replaced, not changed: many models bring a penalty and a temperature of their own.
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=pad, eos_token_id=ends)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    return model.eval(), ends


def generate(
    model: Any, asked: Sequence[list[int]], max_new_tokens: int, ends: list[int]
) -> list[list[int]]:
    """Greedy answers to prompts of token ids, in one batch padded on the left."""
    import torch

    width, pad = max(map(len, asked)), model.generation_config.pad_token_id
    tokens = torch.tensor([[pad] * (width - len(ids)) + ids for ids in asked])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in asked])
    generated = model.generate(
        input_ids=tokens.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=max_new_tokens,
    )
    answers = []
    for ids in generated[:, width:].tolist():
        end = next((n for n, token in enumerate(ids, start=1) if token in ends), len(ids))
        answers.append(ids[:end])  # padding follows the end of the shorter answers
    return answers


# --- llama.cpp ---------------------------------------------------------------------------


def from_llama_cpp(
    weights: Path, reference: Sequence[Transcript], p: Params, lora: Path | None = None
) -> list[Transcript]:
    """The chats of ``reference`` through the server and the kind of request of the evaluation.

    The chat template, the tokenizer and the weights are those inside the GGUF file;
    ``lora`` is applied on top of it. One after the other: each goes on where the last began alike.
    """
    with (
        llama_cpp.serve(weights, p.num_ctx, 1, lora) as endpoint,
        httpx.Client(
            base_url=endpoint.base_url,
            headers={"Authorization": f"Bearer {endpoint.api_key}"},
            timeout=connections.REQUEST_TIMEOUT_SECONDS,
            trust_env=False,
        ) as client,
    ):
        return [_ask(client, expected, p.max_new_tokens) for expected in reference]


def _post(client: httpx.Client, path: str, **body: Any) -> Any:
    """The server's JSON; ``None`` where the prompt does not fit, which the gate says."""
    response = client.post(path, json=body)
    if response.status_code == httpx.codes.OK:
        return response.json()
    if "exceed_context_size_error" in response.text:
        return None
    raise CutoffError(f"llama.cpp refused {path}: {response.text[:300]}")


def _ask(client: httpx.Client, expected: Transcript, max_new_tokens: int) -> Transcript:
    """One chat: the server's prompt, its greedy answer, and the next tokens along ``expected``."""
    messages = expected.messages
    text = _post(client, "/apply-template", messages=messages)["prompt"]
    body = {"content": text, "add_special": True, "parse_special": True}
    tokens = _post(client, "/tokenize", **body)["tokens"]
    reply = _post(
        client,
        "/v1/chat/completions",
        messages=messages,
        max_tokens=max_new_tokens,
        temperature=0,
        repeat_penalty=1.0,
        cache_prompt=False,
        reasoning_format="none",  # the text exactly as the model wrote it
        verbose=True,  # with the token ids, which the format of OpenAI has no place for
        return_tokens=True,
    )
    if reply is None:
        return Transcript(messages, tokens, [], "", stopped=False, n_read=0)
    choice = reply["choices"][0]
    return Transcript(
        messages,
        prompt_ids=tokens,
        answer_ids=reply["__verbose"]["tokens"],
        text=choice["message"]["content"] or "",
        stopped=choice["finish_reason"] == "stop",
        n_read=reply["usage"]["prompt_tokens"],
        next_tokens=_next_tokens(client, expected),
    )


def _next_tokens(client: httpx.Client, expected: Transcript) -> dict[int, dict[int, float]]:
    """Log-probabilities of the most probable tokens at the places of ``expected``.

    The server continues the token ids of transformers, so that only the weights can differ.
    The probabilities are those of the model, before any sampler.
    """
    found = {}
    for place in expected.next_tokens:
        reply = _post(
            client,
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
        if reply is not None:
            top = reply["completion_probabilities"][0]["top_logprobs"]
            found[place] = {token["id"]: token["logprob"] for token in top}
    return found


# --- any server --------------------------------------------------------------------------


class Uncounted:
    """An engine whose prompt counts are left to the gate, which shows what the client refuses."""

    def __init__(self, engine: chat.Engine) -> None:
        self.engine = engine
        self.where = engine.where

    def count_prompt_tokens(self, request: chat.Request) -> None:
        return None

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        return self.engine.ask(request, options)


def from_engine(
    engine: chat.Engine | chat.BatchEngine, base: Path, reference: Sequence[Transcript], p: Params
) -> list[Transcript]:
    """The chats of ``reference``, asked through an engine as 04 asks, but without a penalty.

    Token ids are those of the answer's text; ``n_read`` is what the server counts.
    """
    options = chat.Options(num_ctx=p.num_ctx, temperature=0.0, repeat_penalty=1.0)
    requests = [
        chat.Request(str(i), expected.messages, p.max_new_tokens)
        for i, expected in enumerate(reference)
    ]
    asked = engine if isinstance(engine, chat.BatchEngine) else Uncounted(engine)
    done = {c.key: c for c in chat.complete(requests, asked, options, p.parallel)}
    served = [
        replace(
            expected,
            text=done[str(i)].text,
            stopped=done[str(i)].finish_reason == "stop",
            n_read=done[str(i)].prompt_tokens,
            next_tokens={},
        )
        for i, expected in enumerate(reference)
    ]
    return retokenised(base, served)


def retokenised(base: Path, given: Sequence[Transcript]) -> list[Transcript]:
    """The same answers with the token ids of their texts, which another server's text can match."""
    tokenizer = load_tokenizer(base)
    return [
        replace(a, answer_ids=tokenizer(a.text, add_special_tokens=False).input_ids) for a in given
    ]
