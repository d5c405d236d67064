"""The embedded engine: llama.cpp with its own HTTP server, inside this process.

    with engine.llama_server(model, num_ctx_per_request=1024, parallel=8) as endpoint: ...

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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cutoff.errors import CutoffError

# Every engine may hold its own copy of the weights; above this total, all cores work
# on one request instead.
WEIGHT_COPIES_BYTES = 2**30
FIRST_REQUEST_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Endpoint:
    """Servers of one model that answer alike; ``num_ctx`` tokens for prompt and answer."""

    base_urls: tuple[str, ...]
    api_key: str = field(repr=False)
    num_ctx: int

    @property
    def base_url(self) -> str:
        """The first server, for single requests."""
        return self.base_urls[0]


@contextmanager
def llama_server(
    gguf: Path,
    num_ctx_per_request: int,
    parallel: int,
    threads: int | None = None,
    slots: int = 1,
) -> Iterator[Endpoint]:
    """Serve a GGUF file with llama.cpp until the block ends.

    ``parallel``: requests that will be in flight; ``threads``: cores to use, all by
    default. ``slots`` above 1 lets an engine work on that many requests in one batch,
    which gives up answers that are the same every time.
    Raises ``CutoffError`` when the file is missing or cannot be served.
    """
    import xllamacpp  # here: the client is also used where only a remote server is

    if not gguf.is_file():
        raise CutoffError(f"There is no model file {gguf}; run stage 03_export_gguf first.")
    threads = threads or _available_cores()
    copies = max(1, WEIGHT_COPIES_BYTES // max(1, gguf.stat().st_size))
    n_engines = max(1, min(parallel // slots, threads, copies))
    api_key = secrets.token_hex(16)
    engines: list[Any] = []
    urls: list[str] = []
    try:
        for _ in range(n_engines):
            settings = xllamacpp.CommonParams()
            settings.model.path = str(gguf)
            settings.api_keys = [api_key]
            settings.hostnames = ["127.0.0.1"]
            settings.port = 0  # the system picks a free one, so no port can be taken
            settings.cors_origins = "http://127.0.0.1"
            settings.ui = False
            settings.endpoint_slots = False
            settings.n_parallel = slots
            settings.n_ctx = num_ctx_per_request * slots
            settings.kv_unified = False
            settings.fit_params = False  # never shrink the context in silence
            settings.ctx_shift = False
            settings.cache_prompt = False
            settings.cache_ram_mib = 0
            settings.n_threads_http = parallel + 2
            settings.cpuparams.n_threads = threads // n_engines
            settings.cpuparams_batch.n_threads = threads // n_engines
            settings.warmup = False
            settings.verbosity = -1
            try:
                engines.append(xllamacpp.Server(settings))
                urls.append(engines[-1].listening_address)
                _first_request(urls[-1], api_key)
            except (RuntimeError, httpx.HTTPError) as error:
                raise CutoffError(
                    f"llama.cpp cannot serve {gguf} ({error}) Is the file complete, and is "
                    "there memory for it? Removing it and running 03_export_gguf makes it again."
                ) from None
        yield Endpoint(tuple(urls), api_key, num_ctx_per_request)
    finally:
        engines.clear()  # the server stops with its last reference


def _first_request(url: str, api_key: str) -> None:
    """One token. An engine that is dropped before its loop runs would never end."""
    httpx.post(
        url + "/completion",
        json={"prompt": "a", "n_predict": 1, "cache_prompt": False},
        headers={"Authorization": f"Bearer {api_key}"},
        timeout=FIRST_REQUEST_TIMEOUT_SECONDS,
        trust_env=False,
    ).raise_for_status()


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
