"""A loopback server that speaks Anthropic's messages API in front of real llama.cpp.

From Anthropic's public API reference (``POST /v1/messages``: the key as ``x-api-key`` or, as
the client of version 2 sends it, ``Authorization: Bearer``, an ``anthropic-version`` header,
``system`` apart from ``messages``, content in blocks, ``stop_reason``, ``usage`` whose
``input_tokens`` leave out cached ones, errors as ``{"type": "error", "error": {"type",
"message"}}``, status 529 for overloaded, thinking with ``budget_tokens`` of at least 1024 and
below ``max_tokens``, structured outputs through ``output_config.format``). Models of the
newest generation take adaptive thinking only and no temperature.
"""

from pathlib import Path
from typing import Any

from loopback import Generator, Handler, Loopback, think

FIELDS = set("model messages max_tokens system temperature top_p thinking output_config".split())
ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
CACHED_TOKENS = 4  # of every prompt, as if an earlier one had begun alike


class AnthropicHandler(Handler):
    owner: "AnthropicServer"

    def do_POST(self) -> None:
        body, owner = self.body(), self.owner
        if owner.disturbed(self, body):
            return None
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if owner.key not in (self.headers.get("x-api-key"), bearer):
            return self.error("invalid x-api-key", 401)
        if self.path != "/v1/messages" or not self.headers.get("anthropic-version"):
            return self.error("Not found", 404)
        if body["model"] != owner.model:
            return self.error(f"model: {body['model']}", 404)
        if words := owner.objection(body):
            return self.error(words, 400)
        return self.reply(owner.answer(body))


class AnthropicServer(Loopback):
    """Serves ``gguf`` as ``model`` for those who have ``key``; ``newest``: see above."""

    handler = AnthropicHandler

    def __init__(self, gguf: Path, num_ctx: int) -> None:
        self.model = "claude-small"
        self.key = "sk-ant-of-the-test-0123456789"
        self.num_ctx = num_ctx
        self.newest = False
        super().__init__()
        self.generator: Generator = self.load(gguf, num_ctx)

    def error_body(self, words: str, status: int) -> Any:
        error = {"type": ERRORS.get(status, "api_error"), "message": words}
        return {"type": "error", "error": error, "request_id": "req_1"}

    def objection(self, body: dict[str, Any]) -> str:
        """Why a request is refused, or nothing."""
        if unknown := sorted(set(body) - FIELDS):
            return f"{unknown[0]}: Extra inputs are not permitted"
        if any(message["role"] == "system" for message in body["messages"]):
            return 'messages: Unexpected role "system".'
        thinking = body.get("thinking", {"type": "disabled"})
        if self.newest and body.get("temperature", 1) != 1:
            return "`temperature` is deprecated for this model."
        if self.newest and thinking["type"] == "enabled":
            return (
                '"thinking.type.enabled" is not supported for this model. Use '
                '"thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
            )
        if thinking["type"] != "disabled" and body.get("temperature", 1) != 1:
            return "`temperature` may only be set to 1 when thinking is enabled."
        if thinking["type"] == "enabled" and not 1024 <= thinking["budget_tokens"]:
            return "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        if thinking["type"] == "enabled" and thinking["budget_tokens"] >= body["max_tokens"]:
            return "`max_tokens` must be greater than `thinking.budget_tokens`."
        n_tokens = len(self.prompt(body))
        if n_tokens > self.num_ctx:
            return f"prompt is too long: {n_tokens} tokens > {self.num_ctx} maximum"
        return ""

    def messages(self, body: dict[str, Any]) -> list[dict[str, str]]:
        system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
        return [*system, *body["messages"]]

    def prompt(self, body: dict[str, Any]) -> list[int]:
        return self.generator.tokens(self.generator.render(self.messages(body)))

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        tokens = self.prompt(body)
        options: dict[str, Any] = {"top_k": 0, "temperature": body.get("temperature", 1.0)}
        if "top_p" in body:
            options["top_p"] = body["top_p"]
        if format_ := body.get("output_config", {}).get("format"):
            options["json_schema"] = format_["schema"]
        content, n_written, room = [], 0, body["max_tokens"]
        thinking = body.get("thinking", {"type": "disabled"})
        if thinking["type"] != "disabled":
            made = think(self.generator, self.generator.render(self.messages(body)), **options)
            content.append({"type": "thinking", "thinking": made["content"], "signature": "s"})
            n_written += made["tokens_predicted"]
            # Thinking that uses its budget up leaves what is beside it.
            room -= thinking.get("budget_tokens", made["tokens_predicted"])
        made = self.generator.generate(tokens, room, **options)
        content.append({"type": "text", "text": made["content"], "citations": None})
        return {
            "id": f"msg_{len(self.answers)}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": "max_tokens" if made["stop_type"] == "limit" else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": len(tokens) - CACHED_TOKENS,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": CACHED_TOKENS,
                "output_tokens": n_written + made["tokens_predicted"],
            },
        }
