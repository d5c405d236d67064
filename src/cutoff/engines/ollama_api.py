"""Ollama, through its client and ``/api/chat``: answering, and the models it holds.

    with ollama.connect("cutoff-7b-rag-ft") as engine: ...

A prompt that is too long is what Ollama cuts without a word: by default down to about half of
``num_ctx``, and ``prompt_eval_count`` counts what is left. The request fields ``truncate`` and
``shift`` (known since 0.12.6, not offered by the client's ``chat``) turn that into an error, so
they are always sent as false, and older servers are refused.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import ollama
from tqdm import tqdm

from cutoff import files
from cutoff.engines import chat, failures
from cutoff.errors import CutoffError

OLDEST_VERSION = (0, 12, 6)
KEEP_ALIVE = "30m"  # longer than any pause between two requests of a stage
VERSION_TIMEOUT_SECONDS = 5.0
MOST_CONNECTIONS = 256  # kept alive: the highest ``parallel``
START = "Start it with `ollama serve`, or set base_url to where it runs."


class Client(ollama.Client):
    """The client of the package, with the three things that it has no method for."""

    def __init__(self, host: str | None, timeout: float | None = None) -> None:
        self.host = host or os.environ.get("OLLAMA_HOST") or "http://127.0.0.1:11434"
        super().__init__(
            self.host,
            timeout=timeout or failures.REQUEST_TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=MOST_CONNECTIONS),
            trust_env=not failures.is_private(self.host),
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
    """One model of an Ollama server; ``count`` counts a prompt where that is known."""

    def __init__(self, client: Client, model: str, count: chat.CountTokens | None) -> None:
        self.client = client
        self.model = model
        self.where = f"Ollama at {client.host}"
        self.count_prompt_tokens = chat.prompt_counter(count)

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        """One chat answer, whole or an error."""
        settings = {"num_ctx": options.num_ctx, "num_predict": request.token_limit}
        body: dict[str, Any] = {
            "model": self.model,
            "messages": request.messages,
            "stream": False,
            "truncate": False,
            "shift": False,
            "keep_alive": KEEP_ALIVE,
            "options": settings | options.sampler(),
        }
        if request.schema is not None:
            body["format"] = request.schema
        if request.think is not None:
            body["think"] = request.think
        with _explained(self.client, self.model, request.key, options.num_ctx):
            reply = self.client.chat_whole(body)
        n_read, n_written = reply.prompt_eval_count, reply.eval_count or 0
        # What a server that does not know `truncate` and `shift` makes of a long prompt.
        if (n_read or 0) >= options.num_ctx or (
            reply.done_reason == "length" and n_written < request.token_limit
        ):
            raise failures.overflow(request.key, options.num_ctx)
        return chat.Reply(
            text=reply.message.content or "",
            prompt_tokens=n_read,
            completion_tokens=n_written,
            finish_reason=reply.done_reason or "stop",
            thinking=reply.message.thinking or "",
        )


@contextmanager
def connect(
    model: str, host: str | None = None, count: chat.CountTokens | None = None
) -> Iterator[Engine]:
    """The model ``model`` of the server at ``host`` (its own default, or ``OLLAMA_HOST``).

    Raises ``CutoffError`` when the server does not run, is too old, or lacks the model.
    """
    with _client(host, model) as client:
        release = client.version()
        client.show(model)
    numbers = tuple(int(n) for n in release.split("-")[0].split(".") if n.isdigit())
    if (0, 0, 0) < numbers < OLDEST_VERSION:  # 0.0.0 was built from source
        raise CutoffError(
            f"Ollama at {client.host} is version {release}, which cuts long prompts without a "
            f"word; update it to {'.'.join(map(str, OLDEST_VERSION))} or later."
        )
    with Client(host) as client:
        yield Engine(client, model, count)


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
        made_of: Any = {
            "files": {gguf.name: client.upload(gguf)},
            "adapters": {lora.name: client.upload(lora)} if lora is not None else None,
            "template": template,
            "parameters": dict(parameters),
        }
        for _ in client.create(model, **made_of, stream=True):
            pass


@contextmanager
def _client(host: str | None, model: str = "") -> Iterator[Client]:
    """For calls that nobody tries again: whatever fails in the block is a ``CutoffError``."""
    with Client(host) as client:
        try:
            with _explained(client, model, model or "the server"):
                yield client
        except failures.Transient as trouble:
            where = f"Ollama at {client.host}"
            raise CutoffError(f"{where} failed ({trouble}). {trouble.remedy}") from None


@contextmanager
def _explained(client: Client, model: str, key: str, num_ctx: int = 0) -> Iterator[None]:
    """Turns the client's exceptions into one to retry or one sentence."""
    server = failures.Server(
        f"Ollama at {client.host}",
        model,
        missing=f"get it with `ollama pull {model}`, or make it with 03_export_gguf",
        secret=os.environ.get("OLLAMA_API_KEY", ""),
    )
    try:
        yield
        return
    except ollama.ResponseError as error:
        status = error.status_code
        if status <= 0:  # in a stream that began well
            missing = "does not exist" in error.error or "not found" in error.error
            status = 404 if missing else 400
        cause = error.__context__  # the client keeps the text only
        headers = cause.response.headers if isinstance(cause, httpx.HTTPStatusError) else {}
        wanted = headers.get("Retry-After")
        problem = failures.refusal(server, key, num_ctx, status, error.error, wanted)
    except ConnectionError:
        problem = failures.Transient("nobody answers", remedy=START)
    except httpx.TransportError as error:
        problem = failures.Transient(str(error) or type(error).__name__, remedy=START)
    except ValueError:
        problem = failures.Transient("the reply is not whole JSON")
    raise problem from None
