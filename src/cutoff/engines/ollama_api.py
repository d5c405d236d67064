"""Ollama, through its client and ``/api/chat``: answering, and the models it holds.

    with ollama.connect("cutoff-7b-rag-ft") as engine: ...

A prompt that is too long is what Ollama cuts without a word: by default it drops messages,
then tokens, down to about half of ``num_ctx``, and ``prompt_eval_count`` counts what is
left. The request fields ``truncate`` and ``shift`` (both true by default, both known since
0.12.6, neither offered by the client's ``chat``) turn that into an error, so they are
always sent as false, and older servers are refused. ``prompt_eval_count`` includes tokens
that came from the prompt cache, except in the first releases of 0.30.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import ollama
from tqdm import tqdm

from cutoff import files
from cutoff.engines import chat, connections, failures
from cutoff.errors import CutoffError
from cutoff.prompts import Message

OLDEST_VERSION = (0, 12, 6)
KEEP_ALIVE = "30m"  # longer than any pause between two requests of a stage
REPEAT_LAST_N = 64
VERSION_TIMEOUT_SECONDS = 5.0
START = "Start it with `ollama serve`, or set base_url to where it runs."


class Client(ollama.Client):
    """The client of the package, with the three things that it has no method for."""

    def __init__(self, host: str | None, timeout: float | None = None) -> None:
        self.host = host or os.environ.get("OLLAMA_HOST") or "http://127.0.0.1:11434"
        super().__init__(
            self.host,
            timeout=timeout or connections.REQUEST_TIMEOUT_SECONDS,
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=connections.MOST_CONNECTIONS
            ),
            trust_env=not connections.is_loopback(self.host),
        )

    def chat_whole(self, body: dict[str, Any]) -> ollama.ChatResponse:
        """``/api/chat`` with fields that ``chat`` does not pass on."""
        return self._request(ollama.ChatResponse, "POST", "/api/chat", json=body)

    def version(self) -> str:
        """Release of the server: ``0.12.6``."""
        return str(self._request_raw("GET", "/api/version").json()["version"])

    def upload(self, path: Path) -> str:
        """Digest of a file that the server now holds; sent only if it did not."""
        digest = f"sha256:{files.sha256_file(path)}"
        try:
            self._request_raw("HEAD", f"/api/blobs/{digest}")
        except ollama.ResponseError:  # not there yet
            with open(path, "rb") as file:
                self._request_raw("POST", f"/api/blobs/{digest}", content=file)
        return digest


class Engine:
    """One model of an Ollama server; ``count_tokens`` counts a prompt where that is known."""

    def __init__(
        self, client: Client, model: str, count_tokens: Callable[[list[Message]], int] | None
    ) -> None:
        self.client = client
        self.model = model
        self.where = f"Ollama at {client.host}"
        self.count_prompt_tokens = connections.prompt_counter(count_tokens)

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        """One chat answer, whole or an error."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": request.messages,
            "stream": False,
            "truncate": False,
            "shift": False,
            "keep_alive": KEEP_ALIVE,
            "options": {
                "num_ctx": options.num_ctx,
                "num_predict": request.token_limit,
                "temperature": options.temperature,
                "top_p": options.top_p,
                "top_k": 0,  # only what is in the options
                "min_p": 0.0,
                "repeat_penalty": options.repeat_penalty,
                "repeat_last_n": REPEAT_LAST_N,
                "seed": options.seed,
            },
        }
        if request.schema is not None:
            body["format"] = request.schema
        if request.think is not None:
            body["think"] = request.think
        with _explained(self.where, request.key, self.model, options.num_ctx):
            reply = self.client.chat_whole(body)
        n_read, n_written = reply.prompt_eval_count, reply.eval_count or 0
        # What a server that does not know `truncate` and `shift` makes of a long prompt.
        if (n_read or 0) >= options.num_ctx or (
            reply.done_reason == "length" and n_written < request.token_limit
        ):
            raise failures.overflow(request.key, options.num_ctx, request.token_limit)
        return chat.Reply(
            text=reply.message.content or "",
            prompt_tokens=n_read,
            completion_tokens=n_written,
            finish_reason=reply.done_reason or "stop",
            thinking=reply.message.thinking or "",
        )


@contextmanager
def connect(
    model: str,
    host: str | None = None,
    count_tokens: Callable[[list[Message]], int] | None = None,
) -> Iterator[Engine]:
    """The model ``model`` of the server at ``host`` (its own default, or ``OLLAMA_HOST``).

    Raises ``CutoffError`` when the server does not run, is too old, or lacks the model.
    """
    with Client(host) as client:
        engine = Engine(client, model, count_tokens)
        with _in_a_sentence(client, model):
            release = client.version()
            client.show(model)
        numbers = tuple(int(n) for n in release.split("-")[0].split(".") if n.isdigit())
        if (0, 0, 0) < numbers < OLDEST_VERSION:  # 0.0.0 was built from source
            raise CutoffError(
                f"{engine.where} is version {release}, which cuts long prompts without a word; "
                f"update it to {'.'.join(map(str, OLDEST_VERSION))} or later."
            )
        yield engine


def version(host: str | None = None) -> str | None:
    """Release of the Ollama server at ``host``, or ``None`` if none answers there."""
    with Client(host, VERSION_TIMEOUT_SECONDS) as client:
        try:
            return client.version()
        except (OSError, ollama.ResponseError, httpx.HTTPError, ValueError, KeyError):
            return None


def models(host: str | None = None) -> list[str]:
    """Names of the models that the server holds, with their tags."""
    with _client(host) as client:
        return [str(model.model) for model in client.list().models]


def show(model: str, host: str | None = None) -> dict[str, Any]:
    """What the server says of a model: ``template``, ``parameters``, ``details``, ..."""
    with _client(host, model) as client:
        return client.show(model).model_dump(mode="json")


def pull(model: str, host: str | None = None) -> None:
    """Download a model of Ollama's library, with a progress bar; at once if it is there."""
    with _client(host, model) as client, tqdm(unit="B", unit_scale=True, desc=model) as bar:
        for step in client.pull(model, stream=True):
            if step.total:  # one file after the other
                bar.total, bar.n = step.total, step.completed or 0
                bar.refresh()


def create(
    model: str,
    host: str | None,
    gguf: Path,
    lora: Path | None,
    template: str,
    parameters: Mapping[str, Any],
) -> None:
    """Make a model of a GGUF file, with a GGUF adapter if there is one; replaces an old one.

    Files that the server holds are not sent again. ``template`` is in Go's form,
    ``parameters`` as in a Modelfile (``{"num_ctx": 4096, "stop": ["<|im_end|>"]}``).
    """
    for path in filter(None, (gguf, lora)):
        if not path.is_file():
            raise CutoffError(f"There is no model file {path}; run stage 03_export_gguf first.")
    with _client(host, model) as client:
        files = {gguf.name: client.upload(gguf)}
        adapters = {lora.name: client.upload(lora)} if lora is not None else None
        for _ in client.create(
            model,
            files=files,
            adapters=adapters,
            template=template,
            parameters=dict(parameters),
            stream=True,
        ):
            pass


@contextmanager
def _client(host: str | None, model: str = "") -> Iterator[Client]:
    with Client(host) as client, _in_a_sentence(client, model):
        yield client


@contextmanager
def _in_a_sentence(client: Client, model: str) -> Iterator[None]:
    """For calls that nobody tries again: whatever fails in the block is a ``CutoffError``."""
    where = f"Ollama at {client.host}"
    try:
        with _explained(where, model or "the server", model):
            yield
    except failures.Transient as trouble:
        raise CutoffError(f"{where} failed ({trouble}). {trouble.remedy}") from None


@contextmanager
def _explained(where: str, key: str, model: str, num_ctx: int = 0) -> Iterator[None]:
    """Turns the client's exceptions into one to retry or one sentence."""
    try:
        yield
    except ollama.ResponseError as error:
        words = failures.error_text(error.error)
        if num_ctx and failures.OVERFLOW.search(words):
            raise failures.Overflow(
                f"The prompt of {key} does not fit num_ctx = {num_ctx} ({failures.plain(words)}). "
                "Raise num_ctx, or lower top_k or passage_tokens."
            ) from None
        cause = error.__context__  # the client keeps the text only
        headers = cause.response.headers if isinstance(cause, httpx.HTTPStatusError) else {}
        server = failures.Server(
            where,
            model,
            missing=f"get it with `ollama pull {model}`, or make it with 03_export_gguf",
            secret=os.environ.get("OLLAMA_API_KEY", ""),
        )
        wanted = headers.get("Retry-After")
        raise failures.refusal(_status(error), words, server, key, wanted) from None
    except ConnectionError:
        raise failures.Transient("nobody answers", remedy=START) from None
    except httpx.TransportError as error:
        raise failures.Transient(str(error) or type(error).__name__, remedy=START) from None
    except ValueError:
        raise failures.Transient("the reply is not whole JSON") from None


def _status(error: ollama.ResponseError) -> int:
    """The HTTP status; an error in a stream that began well has none of its own."""
    if error.status_code > 0:
        return error.status_code
    return 404 if "does not exist" in error.error or "not found" in error.error else 400
