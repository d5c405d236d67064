"""Any server that speaks OpenAI's chat completions: OpenAI, vLLM, SGLang, llama.cpp, ...

    with openai_api.connect("Qwen/Qwen2.5-7B-Instruct", "http://gpu:8000/v1", key) as engine: ...

The context is the server's own; it has no field for ``num_ctx``. A server that cuts long
prompts in silence (Ollama's compatible address does) is noticed with ``count_tokens``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from cutoff.engines import chat, connections, failures
from cutoff.prompts import Message

OFFICIAL = "https://api.openai.com/v1"
FINISH_REASONS = {"content_filter": "refused"}


class Engine:
    """One model of one server; its key is in the client and nowhere else."""

    def __init__(
        self,
        client: openai.OpenAI,
        model: str,
        count_tokens: Callable[[list[Message]], int] | None,
    ) -> None:
        self.client = client
        self.model = model
        self.where = f"The server at {client.base_url}"
        self.server = failures.Server(self.where, model, secret=client.api_key)
        self.count_prompt_tokens = connections.prompt_counter(count_tokens)
        self._official = client.base_url.host == urlsplit(OFFICIAL).hostname
        # OpenAI's reasoning models know the new name only, other servers mostly the old one.
        self._limit = "max_completion_tokens" if self._official else "max_tokens"
        self._takes_temperature = True

    def __repr__(self) -> str:
        return f"Engine({self.model!r} of {self.where})"

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        """One chat answer."""
        connections.refuse_repeat_penalty(options, self.where)
        body = self._body(request, options)
        try:
            with connections.explained(openai, self.server, request, options.num_ctx):
                return send(self.client, "/chat/completions", body)
        except failures.Refused as refusal:
            if not self._adapt(refusal.words, body, options):
                raise
            return self.ask(request, options)

    def _body(self, request: chat.Request, options: chat.Options) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": request.messages,
            self._limit: request.token_limit,
        }
        if self._takes_temperature:
            body["temperature"] = options.temperature
        if options.temperature > 0:
            body |= {"top_p": options.top_p, "seed": options.seed}
        if request.think is not None and self._official:
            body["reasoning_effort"] = "medium" if request.think else "none"
        else:
            body |= thinking(request)
        return body | schema(request)

    def _adapt(self, words: str, body: dict[str, Any], options: chat.Options) -> bool:
        """Whether the same can be asked for in another way; remembered for later requests."""
        if "max_completion_tokens" in words and "max_tokens" in body:
            self._limit = "max_completion_tokens"
            return True
        if connections.leave_out_temperature(words, "temperature" in body, options, self.model):
            self._takes_temperature = False
            return True
        return False


def thinking(request: chat.Request) -> dict[str, Any]:
    """Field for the chat template of a server with open weights (vLLM, SGLang, llama.cpp)."""
    if request.think is None:
        return {}
    return {"chat_template_kwargs": {"enable_thinking": request.think}}


def schema(request: chat.Request) -> dict[str, Any]:
    """Field that holds the answer to the schema of ``request``, if it has one."""
    if request.schema is None:
        return {}
    answer = {"name": "answer", "schema": request.schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": answer}}


def send(client: openai.OpenAI, url: str, body: dict[str, Any]) -> chat.Reply:
    """The reply to a chat completion, sent to ``url``; raises what ``client`` raises."""
    # Half the time of `chat.completions.create`, which walks through every message.
    reply = client.post(url, cast_to=ChatCompletion, body=body)
    if not isinstance(reply, ChatCompletion) or not reply.choices:
        raise failures.Transient("the reply is not a whole chat completion")
    choice, usage = reply.choices[0], reply.usage
    extra = choice.message.model_extra or {}
    return chat.Reply(
        text=choice.message.content or choice.message.refusal or "",
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else 0,
        finish_reason="refused"
        if choice.message.refusal
        else FINISH_REASONS.get(choice.finish_reason, choice.finish_reason),
        thinking=extra.get("reasoning_content") or extra.get("reasoning") or "",
    )


def open_client(url: str, api_key: str) -> openai.OpenAI:
    """A client that does not retry (``chat.complete`` does) and needs no proxy on the loopback."""
    return openai.OpenAI(
        api_key=api_key or "none",
        base_url=url,
        timeout=connections.REQUEST_TIMEOUT_SECONDS,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=not connections.is_loopback(url)),
    )


@contextmanager
def connect(
    model: str,
    base_url: str | None,
    api_key: str,
    count_tokens: Callable[[list[Message]], int] | None = None,
) -> Iterator[Engine]:
    """``model`` of the server at ``base_url`` (``None``: OpenAI itself).

    A server of one's own may need no key: ``api_key`` is empty then.
    """
    url = base_url or OFFICIAL
    if api_key.strip() or url == OFFICIAL:
        api_key = connections.check_key(api_key, f"The server at {url}", "OPENAI_API_KEY")
    with open_client(url, api_key) as client:
        yield Engine(client, model, count_tokens)
