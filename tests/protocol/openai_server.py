"""A loopback server that speaks OpenAI's chat completions in front of real llama.cpp.

From OpenAI's public API reference (``POST /v1/chat/completions``: ``choices``, ``usage``,
``finish_reason``, errors as ``{"error": {"message", "type", "param", "code"}}``), the
documentation of vLLM (``reasoning_content``, ``chat_template_kwargs``) and the errors of
reasoning models: ``max_tokens`` and any temperature but 1 are refused.
"""

from pathlib import Path
from typing import Any

from loopback import Generator, Handler, Loopback, think

FIELDS = set(
    "model messages max_tokens max_completion_tokens temperature top_p seed stream "
    "response_format reasoning_effort chat_template_kwargs".split()
)


class OpenAIHandler(Handler):
    owner: "OpenAIServer"

    def do_POST(self) -> None:
        body, owner = self.body(), self.owner
        if owner.disturbed(self, body):
            return None
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if sent != owner.key:
            return self.error(f"Incorrect API key provided: {sent}.", 401)
        if self.path != "/v1/chat/completions":
            return self.error(f"Invalid URL (POST {self.path})", 404)
        if body["model"] != owner.model:
            return self.error(f"The model `{body['model']}` does not exist", 404)
        if words := owner.objection(body):
            return self.error(words, 400)
        return self.reply(owner.answer(body))


class OpenAIServer(Loopback):
    """Serves ``gguf`` as ``model`` for those who have ``key``.

    ``reasons``: a reasoning model of OpenAI. ``thinks``: the server separates thinking.
    """

    handler = OpenAIHandler

    def __init__(self, gguf: Path, num_ctx: int) -> None:
        self.model = "small-model"
        self.key = "sk-of-the-test-0123456789"
        self.num_ctx = num_ctx
        self.reasons = False
        self.thinks = False
        super().__init__()
        self.generator: Generator = self.load(gguf, num_ctx)

    @property
    def base_url(self) -> str:
        return f"{self.host}/v1"

    def error_body(self, words: str, status: int) -> Any:
        codes = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
        kind = "server_error" if status >= 500 else "invalid_request_error"
        code = codes.get(status)
        return {"error": {"message": words, "type": kind, "param": None, "code": code}}

    def objection(self, body: dict[str, Any]) -> str:
        """Why a request is refused, or nothing."""
        if unknown := sorted(set(body) - FIELDS):
            return f"Unrecognized request argument supplied: {unknown[0]}"
        if self.reasons and "max_tokens" in body:
            return (
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead."
            )
        if self.reasons and body.get("temperature", 1) != 1:
            return (
                f"Unsupported value: 'temperature' does not support {body['temperature']} with "
                "this model. Only the default (1) value is supported."
            )
        needed = len(self.prompt(body)) + self.limit(body)
        if needed > self.num_ctx:
            return (
                f"This model's maximum context length is {self.num_ctx} tokens. However, you "
                f"requested {needed} tokens. Please reduce the length of the messages."
            )
        return ""

    def prompt(self, body: dict[str, Any]) -> list[int]:
        return self.generator.tokens(self.generator.render(body["messages"]))

    def limit(self, body: dict[str, Any]) -> int:
        return body.get("max_completion_tokens") or body.get("max_tokens") or 0

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        tokens = self.prompt(body)
        options = {"top_k": 0, "min_p": 0.0, "temperature": body.get("temperature", 1.0)}
        options |= {name: body[name] for name in ("top_p", "seed") if name in body}
        format_ = body.get("response_format") or {}
        if format_.get("type") == "json_schema":
            options["json_schema"] = format_["json_schema"]["schema"]
        made = self.generator.generate(tokens, self.limit(body), **options)
        message = {"role": "assistant", "content": made["content"], "refusal": None}
        n_written = made["tokens_predicted"]
        if self.thinks:
            thinking = think(self.generator, self.generator.render(body["messages"]), **options)
            message["reasoning_content"] = thinking["content"]
            n_written += thinking["tokens_predicted"]
        return self.completion(message, made["stop_type"] == "limit", len(tokens), n_written)

    def completion(self, message: Any, cut: bool, n_read: int, n_written: int) -> dict[str, Any]:
        reason = "length" if cut else "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        return {
            "id": f"chatcmpl-{len(self.answers)}",
            "object": "chat.completion",
            "created": 0,
            "model": self.model,
            "choices": [choice],
            "usage": {
                "prompt_tokens": n_read,
                "completion_tokens": n_written,
                "total_tokens": n_read + n_written,
            },
        }
