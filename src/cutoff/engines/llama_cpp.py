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

import openai

from cutoff.engines import chat, failures, openai_api
from cutoff.errors import CutoffError

# Every engine may hold its own copy of the weights; above this total, all cores work
# on one request instead.
WEIGHT_COPIES_BYTES = 2**30
ALL_LAYERS = 10_000  # on the GPU, where the installed build has one; a CPU build ignores it
SERVER = failures.Server("The embedded model server", remedy="Is it running, with memory to spare?")


class Endpoint(openai_api.Engine):
    """Servers of one model that answer alike; ``num_ctx`` tokens for prompt and answer."""

    takes_penalty = True

    def __init__(self, base_urls: tuple[str, ...], client: openai.OpenAI, num_ctx: int) -> None:
        super().__init__(client, "")
        self.base_urls = base_urls
        self.num_ctx = num_ctx
        self.server, self.where = SERVER, SERVER.where
        self.count_prompt_tokens = lambda request: len(self.prompt_ids(request))
        self._in_flight = dict.fromkeys(base_urls, 0)
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str:
        """The first server, for single requests."""
        return self.base_urls[0]

    @property
    def api_key(self) -> str:
        """The random key that every server asks for."""
        return str(self.client.api_key)

    def prompt_ids(self, request: chat.Request) -> list[int]:
        """The prompt as the model reads it, by the template and the tokenizer of the file."""
        template = {"messages": request.messages, **openai_api.thinking(request)}
        with (
            self._least_busy() as url,
            failures.explained(openai, SERVER, request.key, self.num_ctx),
        ):
            text = self._post(url + "/apply-template", template)["prompt"]
            body = {"content": text, "add_special": True, "parse_special": True}
            return list(self._post(url + "/tokenize", body)["tokens"])

    def post(self, path: str, **body: Any) -> Any:
        """One request of llama.cpp's own protocol, to the first server."""
        return self._post(self.base_url + path, body)

    def body(self, request: chat.Request, options: chat.Options) -> dict[str, Any]:
        """The fields of the request, with those of llama.cpp's own."""
        if options.num_ctx > self.num_ctx:
            raise CutoffError(
                f"num_ctx = {options.num_ctx} was asked for, but the model is served with "
                f"num_ctx = {self.num_ctx}."
            )
        own = {"cache_prompt": False, "reasoning_format": "none"}  # text exactly as it was written
        return super().body(request, options) | own | options.sampler()

    def send(self, body: dict[str, Any], key: str, url: str = "/v1/chat/completions") -> chat.Reply:
        """The reply of the least busy server."""
        with self._least_busy() as server:
            return super().send(body, key, server + url)

    def _post(self, url: str, body: dict[str, Any]) -> Any:
        return self.client.post(url, cast_to=object, body=body)

    @contextmanager
    def _least_busy(self) -> Iterator[str]:
        with self._lock:
            url = min(self.base_urls, key=lambda u: self._in_flight[u])
            self._in_flight[url] += 1
        try:
            yield url
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
) -> Iterator[Endpoint]:
    """Serve a GGUF file, with the GGUF adapter ``lora`` applied to it, until the block ends.

    ``parallel``: requests that will be in flight; ``threads``: cores to use, all by default.
    Raises ``CutoffError`` when a file is missing or cannot be served.
    """
    for path in (gguf, lora):
        if path is not None and not path.is_file():
            raise CutoffError(f"There is no model file {path}; run stage 03_export_gguf first.")
    if not threads:
        known = hasattr(os, "sched_getaffinity")
        threads = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    copies = max(1, WEIGHT_COPIES_BYTES // max(1, gguf.stat().st_size))
    n_engines = max(1, min(parallel, threads, copies))
    api_key = secrets.token_hex(16)
    engines: list[Any] = []
    urls: list[str] = []
    with openai_api.open_client("http://127.0.0.1", api_key) as client:
        try:
            for _ in range(n_engines):
                settings = _settings(gguf, lora, api_key, num_ctx_per_request)
                settings.n_threads_http = parallel + 2
                settings.cpuparams.n_threads = threads // n_engines
                settings.cpuparams_batch.n_threads = threads // n_engines
                urls.append(_start(settings, engines, client))
            yield Endpoint(tuple(urls), client, num_ctx_per_request)
        finally:
            client.close()  # before the servers, which would wait for open connections
            engines.clear()  # the server stops with its last reference


def _settings(gguf: Path, lora: Path | None, api_key: str, num_ctx: int) -> Any:
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
    settings.n_parallel = 1
    settings.n_ctx = num_ctx
    settings.kv_unified = False
    settings.fit_params = False  # never shrink the context in silence
    settings.ctx_shift = False
    settings.cache_prompt = False
    settings.cache_ram_mib = 0
    settings.warmup = False
    settings.verbosity = -1
    return settings


def _start(settings: Any, engines: list[Any], client: openai.OpenAI) -> str:
    """Address of a server that has answered once; it is the last of ``engines``."""
    import xllamacpp

    try:
        engines.append(xllamacpp.Server(settings))
        url = str(engines[-1].listening_address)
        # One token: an engine that is dropped before its loop runs would never end.
        first = {"prompt": "a", "n_predict": 1, "cache_prompt": False}
        client.post(url + "/completion", cast_to=object, body=first)
    except (RuntimeError, openai.OpenAIError) as error:
        names = [settings.model.path, *(adapter.path for adapter in settings.lora_adapters)]
        raise CutoffError(
            f"llama.cpp cannot serve {' with '.join(names)} ({error}) Is the file complete, and is "
            "there memory for it? Removing it and running 03_export_gguf makes it again."
        ) from None
    return url
