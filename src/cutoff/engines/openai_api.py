"""Any server that speaks OpenAI's chat completions: OpenAI, vLLM, SGLang, llama.cpp, ...

    with openai_api.connect("Qwen/Qwen2.5-7B-Instruct", "http://gpu:8000/v1", key) as engine: ...

The context is the server's own; it has no field for ``num_ctx``. A server that cuts long
prompts in silence (Ollama's compatible address does) is noticed with ``count_tokens``.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from cutoff.engines import chat, failures
from cutoff.errors import CutoffError

OFFICIAL = "https://api.openai.com/v1"


class Engine:
    """One model of one server; its key is in the client and nowhere else.

    What another protocol needs differently is ``body``, ``send`` and ``adapt``.
    """

    package: ModuleType = openai
    takes_penalty = False  # over the last tokens only

    def __init__(self, client: Any, model: str, count: chat.CountTokens | None = None) -> None:
        self.client = client
        self.model = model
        self.where = f"The server at {client.base_url}"
        self.server = failures.Server(self.where, model, secret=client.api_key or "")
        self.count_prompt_tokens = chat.prompt_counter(count)
        self.official = client.base_url.host == urlsplit(OFFICIAL).hostname
        # OpenAI's reasoning models know the new name only, other servers mostly the old one.
        self.limit = "max_completion_tokens" if self.official else "max_tokens"
        self.takes_temperature = True

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        """One chat answer."""
        if options.repeat_penalty != 1 and not self.takes_penalty:
            raise CutoffError(
                f"{self.where} has no field for repeat_penalty = {options.repeat_penalty} over the "
                f"last {chat.REPEAT_LAST_N} tokens; set repeat_penalty to 1, or serve all models "
                "with llama_cpp or ollama."
            )
        body = self.body(request, options)
        try:
            with failures.explained(self.package, self.server, request.key, options.num_ctx):
                return self.send(body, request.key)
        except failures.Refused as refused:
            if not self.adapt(refused.words, body):
                raise
            return self.ask(request, options)

    def body(self, request: chat.Request, options: chat.Options) -> dict[str, Any]:
        """The fields of the request."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": request.messages,
            self.limit: request.token_limit,
        }
        if self.takes_temperature:
            body["temperature"] = options.temperature
        if options.temperature > 0:
            body |= {"top_p": options.top_p, "seed": options.seed}
        if request.think is not None and self.official:
            body["reasoning_effort"] = "medium" if request.think else "none"
        else:
            body |= thinking(request)
        if request.schema is not None:
            answer = {"name": "answer", "schema": request.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": answer}
        return body

    def send(self, body: dict[str, Any], key: str, url: str = "/chat/completions") -> chat.Reply:
        """The reply to ``body``; raises what the client raises."""
        # Half the time of `chat.completions.create`, which walks through every message.
        reply = self.client.post(url, cast_to=ChatCompletion, body=body)
        if not isinstance(reply, ChatCompletion) or not reply.choices:
            raise failures.Transient("the reply is not a whole chat completion")
        message, reason = reply.choices[0].message, reply.choices[0].finish_reason
        extra, usage = message.model_extra or {}, reply.usage
        return chat.Reply(
            text=message.content or message.refusal or "",
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else 0,
            finish_reason="refused" if message.refusal or reason == "content_filter" else reason,
            thinking=extra.get("reasoning_content") or extra.get("reasoning") or "",
        )

    def adapt(self, words: str, body: dict[str, Any]) -> bool:
        """Whether the same can be asked for in another way; remembered for later requests."""
        if "max_completion_tokens" in words and "max_tokens" in body:
            self.limit = "max_completion_tokens"
            return True
        # Newer models take no temperature. That answers are greedy is a wish, which may be left
        # out with a warning; any other temperature is not.
        if "temperature" not in words or body.get("temperature") != 0:
            return False
        warnings.warn(
            f"{self.model} takes no temperature; its answers may differ from run to run.",
            stacklevel=2,
        )
        self.takes_temperature = False
        return True


def thinking(request: chat.Request) -> dict[str, Any]:
    """Field for the chat template of a server with open weights (vLLM, SGLang, llama.cpp)."""
    if request.think is None:
        return {}
    return {"chat_template_kwargs": {"enable_thinking": request.think}}


def open_client(url: str, api_key: str) -> openai.OpenAI:
    """A client that does not retry (``chat.complete`` does) and needs no proxy on the loopback."""
    return openai.OpenAI(
        api_key=api_key or "none",
        base_url=url,
        timeout=failures.REQUEST_TIMEOUT_SECONDS,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=not failures.is_private(url)),
    )


@contextmanager
def connect(
    model: str, base_url: str | None, api_key: str, count: chat.CountTokens | None = None
) -> Iterator[Engine]:
    """``model`` of the server at ``base_url`` (``None``: OpenAI itself); a server of one's own
    may need no key: ``api_key`` is empty then."""
    with open_client(base_url or OFFICIAL, api_key) as client:
        yield Engine(client, model, count)
