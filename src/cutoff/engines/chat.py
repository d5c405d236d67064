"""Many chat requests in, completions out as they finish, whoever generates them.

    with llama_cpp.serve(model, num_ctx_per_request=1024, parallel=8) as engine:
        for completion in chat.complete(requests, engine, chat.Options(num_ctx=1024), parallel=8):
            ...

Requests stay in flight up to a limit, over kept-alive connections. A prompt is counted before it
is sent wherever the engine can do that exactly, and nothing that was cut counts as an answer.
"""

import itertools
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tqdm import tqdm

from cutoff import deadline
from cutoff.engines import failures
from cutoff.errors import CutoffError, DeadlineReached
from cutoff.prompts import Message

MAX_RETRIES = 5
FIRST_PAUSE_SECONDS = 0.5  # doubles with every retry of a request
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_WANTED_SECONDS = 300.0  # a server that wants a longer pause is not coming back today
THINKING_TOKENS = 2048  # for thinking, beside ``max_new_tokens`` for the answer
REPEAT_LAST_N = 64  # tokens that ``repeat_penalty`` looks at, prompt included

CountTokens = Callable[[list[Message]], int]  # of the rendered prompt


@dataclass(frozen=True)
class Request:
    """One chat to be answered.

    ``schema``: a JSON schema that the answer must obey. ``think``: let the model think
    first, with ``THINKING_TOKENS`` of its own; ``None`` leaves it to the model.
    """

    key: str
    messages: list[Message]
    max_new_tokens: int
    schema: dict[str, Any] | None = None
    think: bool | None = None

    @property
    def token_limit(self) -> int:
        """Most tokens to generate, thinking and answer together."""
        return self.max_new_tokens + (THINKING_TOKENS if self.think else 0)

    def check_length(self, n_tokens: int, num_ctx: int) -> None:
        """Raises ``failures.Overflow`` where ``n_tokens`` of prompt leave no room to answer."""
        if n_tokens + self.token_limit > num_ctx:
            length = f"has {n_tokens} tokens, {self.token_limit} more are for the answer"
            raise failures.overflow(self.key, num_ctx, length)


@dataclass(frozen=True)
class Options:
    """How to generate. ``num_ctx`` tokens hold prompt and answer; a server with a context of
    its own is not asked for more. ``repeat_penalty`` 1 is none. At temperature 0 neither
    ``top_p`` nor ``seed`` has an effect.
    """

    num_ctx: int
    temperature: float = 0.0
    top_p: float = 1.0
    repeat_penalty: float = 1.0
    seed: int = 0

    def sampler(self) -> dict[str, Any]:
        """All of llama.cpp's samplers that matter, so that no default of a server counts."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "repeat_penalty": self.repeat_penalty,
            "repeat_last_n": REPEAT_LAST_N,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Reply:
    """What an engine gives back for one request; ``prompt_tokens`` is ``None`` if it does not
    say. ``thinking`` is what the server has separated from the answer by itself."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int
    finish_reason: str
    thinking: str = ""


@dataclass(frozen=True)
class Completion:
    """The answer to the request ``key``.

    ``latency_seconds`` runs from sending to the last byte of the try that succeeded, waiting for
    a free engine included. ``finish_reason``: ``stop`` (the model ended its turn), ``length``
    (``max_new_tokens`` reached) or ``refused``. ``completion_tokens`` includes those of
    ``thinking``, which is never part of ``text``.
    """

    key: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    latency_seconds: float
    finish_reason: str
    retries: int
    thinking: str = ""


def prompt_counter(count: CountTokens | None) -> Callable[[Request], int | None]:
    """An engine's ``count_prompt_tokens`` by ``count``, where that is known.

    It works for one thread at a time, as a tokenizer may refuse to work for two. Thinking
    changes the template, so a request that asks for it is not counted.
    """
    lock = threading.Lock()

    def counted(request: Request) -> int | None:
        if count is None or request.think is not None:
            return None
        with lock:
            return count(request.messages)

    return counted


class Engine(Protocol):
    """Answers single requests, from several threads at once.

    ``ask`` raises ``failures.Transient`` where another try may help, else ``CutoffError``.
    ``count_prompt_tokens`` is exact, or ``None`` where that cannot be known in advance.
    """

    where: str  # the server as a person knows it: "Ollama at http://127.0.0.1:11434"

    def count_prompt_tokens(self, request: Request) -> int | None: ...

    def ask(self, request: Request, options: Options) -> Reply: ...


@runtime_checkable
class BatchEngine(Protocol):
    """Answers many requests in one go, one batch after the other."""

    def batches(self, requests: Sequence[Request], options: Options) -> list[list[Request]]: ...

    def ask_together(self, batch: Sequence[Request], options: Options) -> list[Reply]: ...


def complete(
    requests: Sequence[Request],
    engine: Engine | BatchEngine,
    options: Options,
    parallel: int,
    progress: str | None = None,
) -> Generator[Completion, None, None]:
    """Answer ``requests`` with up to ``parallel`` in flight; yield each as it finishes.

    An engine that works in batches takes one after the other instead. ``progress`` labels a bar.
    Transient errors (429, 5xx, cut connection, timeout) are retried with growing pauses. Anything
    else, a prompt that does not fit, and the end of ``deadline_minutes`` (``DeadlineReached``)
    send nothing more; what is in flight is still yielded before the error is raised, which names
    the request. Leaving the iteration early sends no further request.
    """
    silent = {} if progress else {"disable": True}  # an explicit False would beat TQDM_DISABLE
    if isinstance(engine, BatchEngine):
        answers = _in_batches(requests, engine, options)
    else:
        answers = _one_by_one(requests, engine, options, parallel)
    bar, answered = tqdm(total=len(requests), desc=progress, unit=" answers", **silent), 0
    with bar, closing(answers):
        for completion in answers:
            answered += 1
            bar.update()
            yield completion
    if answered < len(requests):
        raise DeadlineReached(
            f"deadline_minutes reached: {answered:,} of {len(requests):,} requests were answered. "
            "Run again to continue."
        )


def _one_by_one(
    requests: Sequence[Request], engine: Engine, options: Options, parallel: int
) -> Generator[Completion, None, None]:
    unsent = iter(requests)
    stopped = threading.Event()  # nothing more is sent, no pause before a further try goes on
    failure: BaseException | None = None
    done: set[Future[Completion | None]] = set()
    running: set[Future[Completion | None]] = set()
    with ThreadPoolExecutor(parallel) as pool:
        try:
            while True:
                failure = failure or next((f.exception() for f in done if f.exception()), None)
                if failure or _time_is_up():
                    stopped.set()
                else:  # new work first: the engines must not wait for whoever reads the answers
                    more = itertools.islice(unsent, parallel - len(running))
                    running |= {pool.submit(_answer, r, engine, options, stopped) for r in more}
                for future in done:
                    if not future.exception() and (completion := future.result()):
                        yield completion
                if not running:
                    break
                left = None if stopped.is_set() else deadline.seconds_left()
                done, running = wait(running, left, return_when=FIRST_COMPLETED)
        finally:
            stopped.set()
    if failure:
        raise failure


def _in_batches(
    requests: Sequence[Request], engine: BatchEngine, options: Options
) -> Generator[Completion, None, None]:
    for batch in engine.batches(requests, options):
        if _time_is_up():
            return
        started = time.perf_counter()
        replies = engine.ask_together(batch, options)
        seconds = time.perf_counter() - started
        for request, reply in zip(batch, replies, strict=True):
            yield _completion(request, reply, None, seconds, 0)


def _answer(
    request: Request, engine: Engine, options: Options, stopped: threading.Event
) -> Completion | None:
    """Ask until there is an answer; ``None`` if the end came before a further try."""
    for retries in itertools.count():
        try:
            expected = engine.count_prompt_tokens(request)
            if expected is not None:
                request.check_length(expected, options.num_ctx)
            started = time.perf_counter()
            reply = engine.ask(request, options)
            seconds = time.perf_counter() - started
            return _completion(request, reply, expected, seconds, retries)
        except failures.Transient as trouble:
            if retries == MAX_RETRIES:
                raise CutoffError(
                    f"{engine.where} failed {retries + 1} times on {request.key} ({trouble}). "
                    f"{trouble.remedy} Run again: finished answers are kept."
                ) from None
            pause = min(FIRST_PAUSE_SECONDS * 2**retries, LONGEST_PAUSE_SECONDS)
            wanted = min(trouble.wanted_seconds, LONGEST_WANTED_SECONDS)
        if stopped.wait(max(pause, wanted)):
            return None
    raise AssertionError("unreachable")


def _completion(
    request: Request, reply: Reply, expected: int | None, seconds: float, retries: int
) -> Completion:
    n_read = expected if reply.prompt_tokens is None else reply.prompt_tokens
    if n_read is None:
        raise CutoffError(
            f"The server does not say how many tokens of {request.key} it read, so a cut prompt "
            "could not be seen. Update the server."
        )
    if expected is not None and n_read != expected:
        raise CutoffError(
            f"The prompt of {request.key} has {expected} tokens, but the server read {n_read}: "
            "the prompt was changed on its way."
        )
    thinking, text = reply.thinking, reply.text
    if not thinking:
        thinking, text = split_thinking(text)
    counts = n_read, reply.completion_tokens, round(seconds, 4)
    return Completion(request.key, text, *counts, reply.finish_reason, retries, thinking)


def split_thinking(text: str) -> tuple[str, str]:
    """Thinking and answer of a text that begins with ``<think>``, as some servers leave it."""
    head, opening, rest = text.partition("<think>")
    if not opening or head.strip():
        return "", text
    thinking, _, answer = rest.partition("</think>")
    return thinking.strip(), answer.lstrip()


def _time_is_up() -> bool:
    left = deadline.seconds_left()
    return left is not None and left <= 0
