"""Many chat requests in, completions out as they finish.

    with llm.llama_server(model, num_ctx_per_request=1024, parallel=8) as endpoint:
        for completion in llm.complete(requests, endpoint, parallel=8):
            ...

Requests stay in flight up to a limit, over kept-alive connections. Every prompt is
counted before it is sent, in tokens of the model and with its chat template.
"""

import itertools
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import httpx
from tqdm import tqdm

from cutoff.engine import Endpoint as Endpoint
from cutoff.engine import llama_server as llama_server
from cutoff.errors import CutoffError
from cutoff.prompts import Message

TRANSIENT_STATUS = frozenset({429, 500, 502, 503, 504})
MAX_RETRIES = 5
FIRST_PAUSE_SECONDS = 0.5  # doubles with every retry of a request
LONGEST_PAUSE_SECONDS = 30.0
REQUEST_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Request:
    """One chat to be answered. ``schema``: a JSON schema that the answer must obey."""

    key: str
    messages: list[Message]
    max_new_tokens: int
    schema: dict[str, Any] | None = None


@dataclass(frozen=True)
class Completion:
    """The answer to the request ``key``.

    ``latency_seconds`` runs from sending to the last byte of the try that succeeded, so
    it includes waiting for a free engine. ``finish_reason`` is ``stop`` (the model ended
    its turn) or ``length`` (``max_new_tokens`` reached).
    """

    key: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    latency_seconds: float
    finish_reason: str
    retries: int


def complete(
    requests: Sequence[Request],
    endpoint: Endpoint,
    parallel: int,
    temperature: float = 0.0,
    seed: int = 0,
    progress: str | None = None,
) -> Generator[Completion, None, None]:
    """Answer ``requests`` with up to ``parallel`` in flight; yield each as it finishes.

    ``progress`` labels a progress bar (the environment's ``TQDM_DISABLE`` silences it);
    without it there is none. Transient errors (429, 5xx, cut connection, timeout) are
    retried with growing pauses; anything else, and a prompt that does not fit, ends the
    iteration with a ``CutoffError`` that names the request. Leaving the iteration early
    sends no further request.
    """
    waiting = iter(requests)
    send = _Sender(endpoint, parallel, {"temperature": temperature, "seed": seed})
    silent = {} if progress else {"disable": True}  # an explicit False would beat TQDM_DISABLE
    bar = tqdm(total=len(requests), desc=progress, unit=" answers", **silent)
    running: set[Future[Completion]] = set()
    with send, bar, ThreadPoolExecutor(parallel) as pool:
        try:
            running = {pool.submit(send, r) for r in itertools.islice(waiting, parallel)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                # New work first: the engines must not wait for whoever reads the answers.
                running |= {pool.submit(send, r) for r in itertools.islice(waiting, len(done))}
                for future in done:
                    completion = future.result()
                    bar.update()
                    yield completion
        finally:
            send.stopped.set()  # ends the pauses before further tries


class _Sender:
    """Sends single requests over kept-alive connections, each to the least busy server."""

    def __init__(self, endpoint: Endpoint, parallel: int, options: dict[str, Any]) -> None:
        self.endpoint = endpoint
        self.options = options
        self.stopped = threading.Event()
        self.in_flight = dict.fromkeys(endpoint.base_urls, 0)
        self.lock = threading.Lock()
        connections = parallel * len(endpoint.base_urls)
        self.client = httpx.Client(
            headers={"Authorization": f"Bearer {endpoint.api_key}"},
            timeout=REQUEST_TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,  # a proxy has no business between here and the loopback
        )

    def __enter__(self) -> "_Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def __call__(self, request: Request) -> Completion:
        with self.lock:
            url = min(self.in_flight, key=lambda u: self.in_flight[u])
            self.in_flight[url] += 1
        try:
            return self._complete(url, request)
        finally:
            with self.lock:
                self.in_flight[url] -= 1

    def _complete(self, url: str, request: Request) -> Completion:
        prompt_tokens = self._check_length(url, request)
        body: dict[str, Any] = {
            "messages": request.messages,
            "max_tokens": request.max_new_tokens,
            "cache_prompt": False,
            "reasoning_format": "none",  # the text exactly as the model wrote it
            **self.options,
        }
        if request.schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": request.schema},
            }
        reply, latency, retries = self._post(url + "/v1/chat/completions", body, request.key)
        choice, usage = reply["choices"][0], reply["usage"]
        if usage["prompt_tokens"] != prompt_tokens:
            raise CutoffError(
                f"The prompt of {request.key} has {prompt_tokens} tokens, but the server read "
                f"{usage['prompt_tokens']}: the prompt was changed on its way."
            )
        return Completion(
            key=request.key,
            text=choice["message"]["content"] or "",
            prompt_tokens=prompt_tokens,
            completion_tokens=usage["completion_tokens"],
            latency_seconds=round(latency, 4),
            finish_reason=choice["finish_reason"],
            retries=retries,
        )

    def _check_length(self, url: str, request: Request) -> int:
        """Exact number of prompt tokens; an error if the longest answer would not fit too."""
        template = {"messages": request.messages}
        text = self._post(url + "/apply-template", template, request.key)[0]["prompt"]
        body = {"content": text, "add_special": True, "parse_special": True}
        n_tokens = len(self._post(url + "/tokenize", body, request.key)[0]["tokens"])
        if n_tokens + request.max_new_tokens > self.endpoint.num_ctx:
            raise CutoffError(
                f"The prompt of {request.key} has {n_tokens} tokens; with {request.max_new_tokens} "
                f"for the answer it does not fit num_ctx = {self.endpoint.num_ctx}. Raise num_ctx, "
                "or lower top_k or passage_tokens."
            )
        return n_tokens

    def _post(self, url: str, body: dict[str, Any], key: str) -> tuple[Any, float, int]:
        """The JSON reply, the seconds it took and the number of retries before it."""
        for retries in itertools.count():
            started = time.perf_counter()
            pause = min(FIRST_PAUSE_SECONDS * 2**retries, LONGEST_PAUSE_SECONDS)
            try:
                response = self.client.post(url, json=body)
                if response.status_code == httpx.codes.OK:
                    return response.json(), time.perf_counter() - started, retries
                trouble = f"HTTP {response.status_code}: {_message(response)}"
                if response.status_code not in TRANSIENT_STATUS:
                    raise CutoffError(f"{_remedy(response.status_code)} ({url}, {key}: {trouble})")
                pause = _wanted_pause(response, pause)
            except httpx.TransportError as error:
                trouble = str(error) or type(error).__name__
            except ValueError:
                trouble = "the reply is not whole JSON"
            if retries == MAX_RETRIES:
                raise CutoffError(
                    f"The model server at {url} failed {retries + 1} times on {key} ({trouble}). "
                    "Is it running, with memory to spare? Run again: finished answers are kept."
                )
            if self.stopped.wait(pause):
                raise CutoffError(f"Stopped before {key} was answered.")
        raise AssertionError("unreachable")


def _message(response: httpx.Response) -> str:
    """The server's own words, wherever its JSON holds them, at most 300 characters."""
    try:
        error = response.json()["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except (ValueError, KeyError, TypeError):
        text = response.text
    return " ".join(text.split())[:300]


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "The model server refused the API key; check the key."
    if status == 404:
        return "The model server does not know this address or model; check both."
    return "The model server refused the request."


def _wanted_pause(response: httpx.Response, pause: float) -> float:
    """The server's ``Retry-After`` in seconds where it gives one, else ``pause``."""
    try:
        wanted = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return pause
    return min(max(wanted, 0.0), LONGEST_PAUSE_SECONDS)
