"""The embedded engine: llama.cpp with its own HTTP server, inside this process.

    with llama_cpp.serve(model, num_ctx_per_request=1024, parallel=8) as engine: ...

It listens on the loopback interface only and asks for a random key.

Greedy answers must not depend on what else is being answered. In a batch that several
requests share, llama.cpp picks other matrix kernels than for one request, sums come out
differently in the last bits, and answers change from run to run. So an engine here
works on one request at a time, and small models get one single-threaded engine per core:
every core is busy, no thread waits for another, and the same prompt always takes the
same arithmetic. The prompt cache is off for the same reason.
"""

import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cutoff.engines import chat, connections, failures
from cutoff.errors import CutoffError

# Every engine may hold its own copy of the weights; above this total, all cores work
# on one request instead.
WEIGHT_COPIES_BYTES = 2**30
ALL_LAYERS = 10_000  # on the GPU, where the installed build has one; a CPU build ignores it
REPEAT_LAST_N = 64


class Endpoint:
    """Servers of one model that answer alike; ``num_ctx`` tokens for prompt and answer."""

    where = "The embedded model server"

    def __init__(self, base_urls: tuple[str, ...], api_key: str, num_ctx: int) -> None:
        self.base_urls = base_urls
        self.api_key = api_key
        self.num_ctx = num_ctx
        self._in_flight = dict.fromkeys(base_urls, 0)
        self._lock = threading.Lock()
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=connections.REQUEST_TIMEOUT_SECONDS,
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=connections.MOST_CONNECTIONS
            ),
            trust_env=False,  # a proxy has no business between here and the loopback
        )

    def __repr__(self) -> str:
        return f"Endpoint({self.base_urls}, num_ctx={self.num_ctx})"  # never the key

    @property
    def base_url(self) -> str:
        """The first server, for single requests."""
        return self.base_urls[0]

    def close(self) -> None:
        """Close the kept-alive connections."""
        self._client.close()

    def count_prompt_tokens(self, request: chat.Request) -> int:
        """Exact number of prompt tokens, by the model's own template and tokenizer."""
        template = {"messages": request.messages, **_thinking(request)}
        text = self._post("/apply-template", template, request.key)["prompt"]
        body = {"content": text, "add_special": True, "parse_special": True}
        return len(self._post("/tokenize", body, request.key)["tokens"])

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        """One chat answer from the least busy server."""
        if options.num_ctx > self.num_ctx:
            raise CutoffError(
                f"num_ctx = {options.num_ctx} was asked for, but the model is served with "
                f"num_ctx = {self.num_ctx}."
            )
        body: dict[str, Any] = {
            "messages": request.messages,
            "max_tokens": request.token_limit,
            "cache_prompt": False,
            "reasoning_format": "none",  # the text exactly as the model wrote it
            "temperature": options.temperature,
            "top_p": options.top_p,
            "top_k": 0,  # only what is in the options
            "min_p": 0.0,
            "repeat_penalty": options.repeat_penalty,
            "repeat_last_n": REPEAT_LAST_N,
            "seed": options.seed,
            **_thinking(request),
        }
        if request.schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": request.schema},
            }
        reply = self._post("/v1/chat/completions", body, request.key)
        choice, usage = reply["choices"][0], reply["usage"]
        return chat.Reply(
            text=choice["message"]["content"] or "",
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
            finish_reason=choice["finish_reason"],
        )

    def _post(self, path: str, body: dict[str, Any], key: str) -> Any:
        with self._lock:
            url = min(self.base_urls, key=lambda u: self._in_flight[u])
            self._in_flight[url] += 1
        try:
            response = self._client.post(url + path, json=body)
            if response.status_code == httpx.codes.OK:
                return response.json()
            words = failures.error_text(response.text)
            wanted = response.headers.get("Retry-After")
            raise failures.refusal(response.status_code, words, self.where, key, retry_after=wanted)
        except httpx.TransportError as error:
            raise failures.Transient(
                str(error) or type(error).__name__, remedy="Is it running, with memory to spare?"
            ) from None
        except ValueError:
            raise failures.Transient("the reply is not whole JSON") from None
        finally:
            with self._lock:
                self._in_flight[url] -= 1


@contextmanager
def serve(
    gguf: Path,
    num_ctx_per_request: int,
    parallel: int,
    lora: Path | None = None,
    threads: int | None = None,
    slots: int = 1,
) -> Iterator[Endpoint]:
    """Serve a GGUF file, with the GGUF adapter ``lora`` applied to it, until the block ends.

    ``parallel``: requests that will be in flight; ``threads``: cores to use, all by
    default. ``slots`` above 1 lets an engine work on that many requests in one batch,
    which gives up answers that are the same every time.
    Raises ``CutoffError`` when a file is missing or cannot be served.
    """
    for path in (gguf, lora):
        if path is not None and not path.is_file():
            raise CutoffError(f"There is no model file {path}; run stage 03_export_gguf first.")
    threads = threads or _available_cores()
    copies = max(1, WEIGHT_COPIES_BYTES // max(1, gguf.stat().st_size))
    n_engines = max(1, min(parallel // slots, threads, copies))
    api_key = secrets.token_hex(16)
    engines: list[Any] = []
    urls: list[str] = []
    endpoint = None
    try:
        for _ in range(n_engines):
            settings = _settings(gguf, lora, api_key, num_ctx_per_request, slots)
            settings.n_threads_http = parallel + 2
            settings.cpuparams.n_threads = threads // n_engines
            settings.cpuparams_batch.n_threads = threads // n_engines
            _start(settings, engines, urls, api_key)
        endpoint = Endpoint(tuple(urls), api_key, num_ctx_per_request)
        yield endpoint
    finally:
        if endpoint is not None:
            endpoint.close()
        engines.clear()  # the server stops with its last reference


def _settings(gguf: Path, lora: Path | None, api_key: str, num_ctx: int, slots: int) -> Any:
    import xllamacpp  # here: the client is also used where only a remote server is

    settings = xllamacpp.CommonParams()
    settings.model.path = str(gguf)
    if lora is not None:
        settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 1.0)]
    settings.api_keys = [api_key]
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0  # the system picks a free one, so no port can be taken
    settings.cors_origins = "http://127.0.0.1"
    settings.ui = False
    settings.endpoint_slots = False
    settings.n_gpu_layers = ALL_LAYERS
    settings.n_parallel = slots
    settings.n_ctx = num_ctx * slots
    settings.kv_unified = False
    settings.fit_params = False  # never shrink the context in silence
    settings.ctx_shift = False
    settings.cache_prompt = False
    settings.cache_ram_mib = 0
    settings.warmup = False
    settings.verbosity = -1
    return settings


def _start(settings: Any, engines: list[Any], urls: list[str], api_key: str) -> None:
    import xllamacpp

    try:
        engines.append(xllamacpp.Server(settings))
        urls.append(engines[-1].listening_address)
        _first_request(urls[-1], api_key)
    except (RuntimeError, httpx.HTTPError) as error:
        names = [settings.model.path, *(adapter.path for adapter in settings.lora_adapters)]
        raise CutoffError(
            f"llama.cpp cannot serve {' with '.join(names)} ({error}) Is the file complete, and is "
            "there memory for it? Removing it and running 03_export_gguf makes it again."
        ) from None


def _first_request(url: str, api_key: str) -> None:
    """One token. An engine that is dropped before its loop runs would never end."""
    httpx.post(
        url + "/completion",
        json={"prompt": "a", "n_predict": 1, "cache_prompt": False},
        headers={"Authorization": f"Bearer {api_key}"},
        timeout=connections.REQUEST_TIMEOUT_SECONDS,
        trust_env=False,
    ).raise_for_status()


def _thinking(request: chat.Request) -> dict[str, Any]:
    """What templates with a thinking mode read (Qwen3); the others ignore it."""
    if request.think is None:
        return {}
    return {"chat_template_kwargs": {"enable_thinking": request.think}}


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
