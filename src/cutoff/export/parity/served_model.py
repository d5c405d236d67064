"""What llama.cpp makes of a model file: the answers, its own prompts, and the next tokens."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from cutoff.chat_template import load_tokenizer
from cutoff.engines import connections, llama_cpp
from cutoff.errors import CutoffError
from cutoff.export.parity import divergence
from cutoff.export.parity.transcript import Transcript, answered
from cutoff.params import Params


def answer(
    weights: Path, lora: Path | None, base: Path, reference: Sequence[Transcript], p: Params
) -> list[Transcript]:
    """The chats of ``reference`` through the server and the kind of request of the evaluation.

    The chat template, the tokenizer and the weights are those inside the GGUF file;
    ``lora`` is applied on top of it, ``base`` has the tokenizer that splits the answers.
    """
    tokenizer = load_tokenizer(base)
    with (
        llama_cpp.serve(weights, p.num_ctx, 1, lora) as endpoint,
        httpx.Client(
            base_url=endpoint.base_url,
            headers={"Authorization": f"Bearer {endpoint.api_key}"},
            timeout=connections.REQUEST_TIMEOUT_SECONDS,
            trust_env=False,
        ) as client,
    ):
        answers = []
        for expected in reference:  # each in turn: the places go on where its prompt was read
            (given,) = answered(endpoint, tokenizer, [expected], p)
            after = _next_tokens(client, expected) if given.n_read else {}
            ids = _prompt_ids(client, expected)
            answers.append(replace(given, prompt_ids=ids, next_tokens=after))
    return answers


def _post(client: httpx.Client, path: str, **body: Any) -> Any:
    response = client.post(path, json=body)
    if response.status_code != httpx.codes.OK:
        raise CutoffError(f"llama.cpp refused {path}: {response.text[:300]}")
    return response.json()


def _prompt_ids(client: httpx.Client, asked: Transcript) -> list[int]:
    """The prompt by the template and the tokenizer of the file."""
    text = _post(client, "/apply-template", messages=asked.messages)["prompt"]
    body = {"content": text, "add_special": True, "parse_special": True}
    ids: list[int] = _post(client, "/tokenize", **body)["tokens"]
    return ids


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
        top = reply["completion_probabilities"][0]["top_logprobs"]
        found[place] = {token["id"]: token["logprob"] for token in top}
    return found
