"""120 calls of 100 ms each, 8 in flight, against what they must take. Prints, asserts no times.

pytest -m bench -s tests/bench/test_scheduler.py
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from loopback import Handler, Loopback

from cutoff import prompts
from cutoff.engines import anthropic_api, chat, ollama_api, openai_api

pytestmark = pytest.mark.bench

N_CALLS = 120
LATENCY_SECONDS = 0.1
PARALLEL = 8
OPTIONS = chat.Options(num_ctx=512)
SAID = {"role": "assistant", "content": "Yes."}
CHOICE = {"index": 0, "message": SAID, "finish_reason": "stop"}
USAGE = {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32}
COMPLETION = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
OLLAMA = {"model": "m", "message": SAID, "done": True, "done_reason": "stop"}
MESSAGE = {"id": "1", "type": "message", "role": "assistant", "model": "m"}
ANTHROPIC = {"content": [{"type": "text", "text": "Yes."}], "stop_reason": "end_turn"}
REPLIES: dict[str, dict[str, Any]] = {
    "/api/version": {"version": "0.34.0"},
    "/api/show": {"model_info": {}},
    "/api/chat": OLLAMA | {"prompt_eval_count": 30, "eval_count": 2},
    "/v1/chat/completions": COMPLETION | {"choices": [CHOICE], "usage": USAGE},
    "/v1/messages": MESSAGE | ANTHROPIC | {"usage": {"input_tokens": 30, "output_tokens": 2}},
}


class SlowHandler(Handler):
    """The same answer to everybody, after the latency."""

    def do_GET(self) -> None:
        self.reply(REPLIES[self.path])

    def do_POST(self) -> None:
        self.body()
        if self.path != "/api/show":
            time.sleep(LATENCY_SECONDS)
        self.reply(REPLIES[self.path])


class SlowServer(Loopback):
    handler = SlowHandler


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """The server in a process of its own, as a real one is."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait()


CLIENTS: dict[str, Callable[[str], AbstractContextManager[Any]]] = {
    "ollama": lambda host: ollama_api.connect("m", host),
    "openai": lambda host: openai_api.connect("m", f"{host}/v1", ""),
    "anthropic": lambda host: anthropic_api.connect("m", host, "key"),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_seconds_against_calls_times_latency_over_parallel(host: str, client: str) -> None:
    messages = prompts.render_closed_book("What is the task of Crimson Valley?")
    requests = [chat.Request(f"q{i}", messages, 16) for i in range(N_CALLS)]
    with CLIENTS[client](host) as engine:
        list(chat.complete(requests[:PARALLEL], engine, OPTIONS, PARALLEL))  # opens connections
        started = time.perf_counter()
        done = list(chat.complete(requests, engine, OPTIONS, PARALLEL))
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        alone = list(chat.complete(requests[:10], engine, OPTIONS, 1))
        one_at_a_time = (time.perf_counter() - started) * N_CALLS / len(alone)
    assert {completion.text for completion in done} == {"Yes."}
    assert len(done) == N_CALLS
    ideal = N_CALLS * LATENCY_SECONDS / PARALLEL
    print(
        f"\n{client:10} {N_CALLS} calls of {LATENCY_SECONDS * 1000:.0f} ms, {PARALLEL} in flight: "
        f"{seconds:.2f} s = x {seconds / ideal:.2f} of calls x latency / parallel "
        f"({ideal:.2f} s); one at a time {one_at_a_time:.1f} s, x {one_at_a_time / seconds:.1f}",
        end="",
    )


if __name__ == "__main__":
    print(SlowServer().host, flush=True)
    threading.Event().wait()
