"""The chats of the reference answered by a server: llama.cpp with token ids, any other with texts.

The repetition penalty is 1 on both sides, whatever the evaluation uses: transformers divides
by it over the whole prompt, llama.cpp over the last 64 tokens only, so that with any other
value two equal models would differ.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from cutoff.chat_template import load_tokenizer
from cutoff.engines import chat, connections, llama_cpp
from cutoff.errors import CutoffError
from cutoff.export.parity import divergence
from cutoff.export.parity.transcript import Transcript
from cutoff.params import Params


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
