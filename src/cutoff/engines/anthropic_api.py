"""Anthropic's messages API.

    with anthropic_api.connect("claude-sonnet-5", api_key) as engine: ...

It has no seed and no count of tokens in advance; a prompt that is too long is an error of
the server. Thinking has tokens of its own, beside ``max_new_tokens`` for the answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
from anthropic.types import Message

from cutoff.engines import chat, failures, openai_api

OFFICIAL = "https://api.anthropic.com"
FINISH_REASONS = {"max_tokens": "length", "refusal": "refused"}  # all others: the turn ended


class Engine(openai_api.Engine):
    """One model, asked as any hosted one, in another protocol."""

    package = anthropic
    thinking = {"type": "enabled", "budget_tokens": chat.THINKING_TOKENS}

    def body(self, request: chat.Request, options: chat.Options) -> dict[str, Any]:
        """The fields of the request."""
        system = "\n\n".join(m["content"] for m in request.messages if m["role"] == "system")
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": request.token_limit,
            "messages": [m for m in request.messages if m["role"] != "system"],
        }
        if system:
            body["system"] = system
        if request.schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": request.schema}}
        if request.think is not None:
            body["thinking"] = self.thinking if request.think else {"type": "disabled"}
        # Older models take a temperature, though not while thinking.
        if not request.think and self.takes_temperature:
            body["temperature"] = options.temperature
            if options.temperature > 0 and options.top_p < 1:
                body["top_p"] = options.top_p
        return body

    def send(self, body: dict[str, Any], key: str, url: str = "/v1/messages") -> chat.Reply:
        """The reply to ``body``; raises what the client raises."""
        # `messages.create` has no argument for a temperature any more.
        reply = self.client.post(url, cast_to=Message, body=body)
        if not isinstance(reply, Message) or not reply.usage:
            raise failures.Transient("the reply is not a whole message")
        if reply.stop_reason == "model_context_window_exceeded":
            raise failures.Overflow(f"{key} with its answer exceeds the context of {self.model}.")
        usage = reply.usage
        cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
        return chat.Reply(
            text="".join(block.text for block in reply.content if block.type == "text"),
            prompt_tokens=usage.input_tokens + cached,
            completion_tokens=usage.output_tokens,
            finish_reason=FINISH_REASONS.get(reply.stop_reason or "", "stop"),
            thinking="".join(b.thinking for b in reply.content if b.type == "thinking"),
        )

    def adapt(self, words: str, body: dict[str, Any]) -> bool:
        """Newer models think as long as they see fit."""
        if "adaptive" in words and body.get("thinking", {}).get("type") == "enabled":
            self.thinking = {"type": "adaptive"}
            return True
        return super().adapt(words, body)


@contextmanager
def connect(model: str, base_url: str | None, api_key: str) -> Iterator[Engine]:
    """``model`` of Anthropic, or of a server that speaks its protocol at ``base_url``."""
    url = base_url or OFFICIAL
    with anthropic.Anthropic(
        api_key=api_key or "none",
        base_url=url,
        timeout=failures.REQUEST_TIMEOUT_SECONDS,
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(trust_env=not failures.is_private(url)),
    ) as client:
        yield Engine(client, model)
