"""Anthropic's messages API.

    with anthropic.connect("claude-sonnet-5", api_key) as engine: ...

It has no seed and no count of tokens in advance; a prompt that is too long is an error of
the server. Thinking has tokens of its own, beside ``max_new_tokens`` for the answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
from anthropic.types import Message

from cutoff.engines import chat, connections, failures

OFFICIAL = "https://api.anthropic.com"
FINISH_REASONS = {"max_tokens": "length", "refusal": "refused"}  # all others: the turn ended


class Engine:
    """One model; its key is in the client and nowhere else."""

    def __init__(self, client: anthropic.Anthropic, model: str) -> None:
        self.client = client
        self.model = model
        self.where = f"The server at {client.base_url}"
        self.server = failures.Server(self.where, model, secret=client.api_key or "")
        self._takes_temperature = True
        self._thinking: dict[str, Any] = {
            "type": "enabled",
            "budget_tokens": chat.THINKING_TOKENS,
        }

    def __repr__(self) -> str:
        return f"Engine({self.model!r} of {self.where})"

    def count_prompt_tokens(self, request: chat.Request) -> None:
        """Not known in advance: the tokenizer is the server's secret."""
        return None

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        """One answer."""
        connections.refuse_repeat_penalty(options, self.where)
        body = self._body(request, options)
        try:
            with connections.explained(anthropic, self.server, request, options.num_ctx):
                # `messages.create` has no argument for a temperature any more.
                reply = self.client.post("/v1/messages", cast_to=Message, body=body)
        except failures.Refused as refusal:
            if not self._adapt(refusal.words, body, options):
                raise
            return self.ask(request, options)
        if not isinstance(reply, Message) or not reply.usage:
            raise failures.Transient("the reply is not a whole message")
        if reply.stop_reason == "model_context_window_exceeded":
            raise failures.overflow(request.key, options.num_ctx, request.token_limit)
        usage = reply.usage
        cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
        return chat.Reply(
            text="".join(block.text for block in reply.content if block.type == "text"),
            prompt_tokens=usage.input_tokens + cached,
            completion_tokens=usage.output_tokens,
            finish_reason=FINISH_REASONS.get(reply.stop_reason or "", "stop"),
            thinking="".join(b.thinking for b in reply.content if b.type == "thinking"),
        )

    def _body(self, request: chat.Request, options: chat.Options) -> dict[str, Any]:
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
            body["thinking"] = self._thinking if request.think else {"type": "disabled"}
        # Older models take a temperature, though not while thinking.
        if not request.think and self._takes_temperature:
            body["temperature"] = options.temperature
            if options.temperature > 0 and options.top_p < 1:
                body["top_p"] = options.top_p
        return body

    def _adapt(self, words: str, body: dict[str, Any], options: chat.Options) -> bool:
        """Whether the same can be asked for in another way; remembered for later requests."""
        if "adaptive" in words and body.get("thinking", {}).get("type") == "enabled":
            self._thinking = {"type": "adaptive"}
            return True
        if connections.leave_out_temperature(words, "temperature" in body, options, self.model):
            self._takes_temperature = False
            return True
        return False


@contextmanager
def connect(model: str, api_key: str, base_url: str | None = None) -> Iterator[Engine]:
    """``model`` of Anthropic, or of a server that speaks its protocol at ``base_url``."""
    url = base_url or OFFICIAL
    with anthropic.Anthropic(
        api_key=connections.check_key(api_key, "Anthropic", "ANTHROPIC_API_KEY"),
        base_url=url,
        timeout=connections.REQUEST_TIMEOUT_SECONDS,
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(trust_env=not connections.is_loopback(url)),
    ) as client:
        yield Engine(client, model)
