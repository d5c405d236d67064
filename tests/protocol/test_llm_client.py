"""The chat client against a loopback server that speaks llama.cpp's protocol and misbehaves."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from loopback import Handler, Loopback

from cutoff import deadline
from cutoff.engines import chat, failures, llama_cpp, openai_api
from cutoff.errors import CutoffError, DeadlineReached

KEY = "secret-of-the-test"
PARALLEL = 8
OPTIONS = chat.Options(num_ctx=64)


def endpoint(url: str) -> llama_cpp.Endpoint:
    return llama_cpp.Endpoint((url,), openai_api.open_client(url, KEY), num_ctx=64)


class ServerHandler(Handler):
    owner: "Server"

    def do_POST(self) -> None:
        body, owner = self.body(), self.owner
        if self.path == "/apply-template":
            return self.reply({"prompt": body["messages"][-1]["content"]})
        if self.path == "/tokenize":
            return self.reply({"tokens": [1] * owner.prompt_tokens})
        with owner.lock:
            owner.answers.append(body)
            owner.headers.append({"key": self.headers["Authorization"]})
            number = len(owner.answers)
        if owner.on_chat(number, self):
            return None
        n_read = owner.reported_tokens or owner.prompt_tokens
        text = "answer to " + body["messages"][-1]["content"]
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": n_read, "completion_tokens": 3}
        return self.reply({"choices": [choice], "usage": usage})


class Server(Loopback):
    """``on_chat(n, handler)`` may send another reply to the n-th chat."""

    handler = ServerHandler

    def __init__(self) -> None:
        self.prompt_tokens = 10
        self.reported_tokens: int | None = None
        self.on_chat: Callable[[int, Any], bool] = lambda n, handler: False
        super().__init__()

    @property
    def endpoint(self) -> llama_cpp.Endpoint:
        return endpoint(self.host)


pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds until the deadline, to be changed."""
    seconds = [60.0]
    monkeypatch.setattr(deadline, "seconds_left", lambda: seconds[0])
    return seconds


def requests(n: int) -> list[chat.Request]:
    return [chat.Request(f"q{i}", [{"role": "user", "content": f"q{i}"}], 16) for i in range(n)]


def complete(server: Server, n: int, parallel: int = PARALLEL) -> dict[str, chat.Completion]:
    done = list(chat.complete(requests(n), server.endpoint, OPTIONS, parallel))
    assert len({completion.key for completion in done}) == len(done) == n
    return {completion.key: completion for completion in done}


def test_the_server_never_waits_for_the_client_while_work_is_left(server: Server) -> None:
    """120 calls take exactly 120 / 8 rounds of 8: each round waits until all 8 are there.

    A client that keeps fewer requests in flight never fills a round and fails.
    """
    together = threading.Barrier(PARALLEL, timeout=30)
    in_flight, most = 0, 0

    def wait_for_the_others(number: int, handler: Any) -> bool:
        nonlocal in_flight, most
        with server.lock:
            in_flight += 1
            most = max(most, in_flight)
        together.wait()
        time.sleep(0.005)
        with server.lock:
            in_flight -= 1
        return False

    server.on_chat = wait_for_the_others
    done = complete(server, 15 * PARALLEL)
    assert len(done) == len(server.answers) == 120 and most == PARALLEL
    assert all(completion.text == f"answer to {key}" for key, completion in done.items())


def test_a_slow_reader_does_not_hold_up_the_server(server: Server) -> None:
    answers = chat.complete(requests(4 * PARALLEL), server.endpoint, OPTIONS, PARALLEL)
    next(answers)
    deadline = time.monotonic() + 30
    while len(server.answers) <= PARALLEL and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(server.answers) > PARALLEL  # further work was sent while nobody read
    assert len(list(answers)) == 4 * PARALLEL - 1


def test_requests_are_greedy_use_no_cache_and_show_the_key_to_the_server_alone(
    server: Server,
) -> None:
    complete(server, 1)
    asked = {"temperature": 0, "cache_prompt": False, "max_tokens": 16}
    assert asked.items() <= server.answers[0].items()
    assert server.headers == [{"key": f"Bearer {KEY}"}]
    assert KEY not in repr(server.endpoint)


def status(code: int, **headers: str) -> Callable[[int, Any], bool]:
    def reply(number: int, handler: Any) -> bool:
        handler.reply({"error": {"message": f"status {code}"}}, code, **headers)
        return True

    return reply


def test_a_prompt_that_does_not_fit_is_named_and_never_sent(server: Server) -> None:
    server.prompt_tokens = 64 - 16  # just fits beside 16 new tokens
    complete(server, 1)
    server.prompt_tokens += 1
    with pytest.raises(CutoffError, match="q0 has 49 tokens.*num_ctx = 64"):
        complete(server, 1)
    assert len(server.answers) == 1


def test_a_prompt_that_was_cut_on_its_way_is_an_error(server: Server) -> None:
    server.reported_tokens = 7
    with pytest.raises(CutoffError, match="q0 has 10 tokens, but the server read 7"):
        complete(server, 1)


@pytest.mark.parametrize("fails", [True, False], ids=["after a failure", "leaving early"])
def test_nothing_more_is_sent(server: Server, fails: bool) -> None:
    server.on_chat = lambda n, handler: fails and n == 3 and status(400)(n, handler)
    answers = chat.complete(requests(200), server.endpoint, OPTIONS, 2)
    if fails:
        with pytest.raises(CutoffError):
            list(answers)
    else:
        next(answers)
        answers.close()
    sent = len(server.answers)
    assert sent < 20
    time.sleep(0.1)
    assert len(server.answers) == sent


def test_leaving_early_waits_for_no_further_try(server: Server) -> None:
    server.on_chat = lambda n, handler: n > 1 and status(503, Retry_After="20")(n, handler)
    answers = chat.complete(requests(3), server.endpoint, OPTIONS, 2)
    next(answers)
    while len(server.answers) < 2:
        time.sleep(0.01)
    answers.close()
    assert len(server.answers) <= 3  # no request was sent a second time


def test_a_failure_does_not_lose_what_is_in_flight(server: Server) -> None:
    together = threading.Barrier(4, timeout=30)

    def one_fails(number: int, handler: Any) -> bool:
        together.wait()
        return number == 2 and status(400)(number, handler)

    server.on_chat = one_fails
    done = []
    with pytest.raises(CutoffError, match="status 400"):
        for completion in chat.complete(requests(4), server.endpoint, OPTIONS, 4):
            done.append(completion.key)
    assert len(done) == 3


def test_when_time_is_up_nothing_more_is_sent_and_what_is_in_flight_arrives(
    server: Server, left: list[float]
) -> None:
    def end_of_time(number: int, handler: Any) -> bool:
        left[0] = 0.0 if number >= 5 else 60.0
        return False

    server.on_chat = end_of_time
    done = []
    with pytest.raises(DeadlineReached, match=r"of 50 requests.*Run again to continue"):
        for completion in chat.complete(requests(50), server.endpoint, OPTIONS, 2):
            done.append(completion.key)
    assert 5 <= len(server.answers) <= 7
    assert len(done) == len(server.answers)
    left[0], server.answers[:] = 60.0, []
    assert len(complete(server, 5)) == 5  # a deadline after the last request is no error


def test_no_further_try_begins_after_the_deadline(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = time.time() + deadline.MARGIN_SECONDS + 0.5
    monkeypatch.setenv(deadline.VARIABLE, repr(end))
    server.on_chat = status(503, Retry_After="20")
    with pytest.raises(DeadlineReached, match="0 of 1 requests"):
        complete(server, 1)
    assert len(server.answers) == 1


def test_batches_stop_at_the_deadline(left: list[float]) -> None:
    class Batches:
        def batches(self, asked: Any, options: Any) -> Any:
            return [asked[:3], asked[3:]]

        def ask_together(self, batch: Any, options: Any) -> list[chat.Reply]:
            left[0] = 0.0
            return [chat.Reply(request.key, 10, 3, "stop") for request in batch]

    answers = chat.complete(requests(5), Batches(), OPTIONS, 1)
    assert [next(answers).text for _ in range(3)] == ["q0", "q1", "q2"]
    with pytest.raises(DeadlineReached, match="3 of 5 requests"):
        next(answers)


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("Yes.", "", "Yes."),
        ("<think>\nWell.\n</think>\n\nYes.", "Well.", "Yes."),
        ("<think></think>Yes.", "", "Yes."),
        ("<think>Well, it is", "Well, it is", ""),
        ("A <think> tag </think> later.", "", "A <think> tag </think> later."),
    ],
)
def test_thinking_is_taken_off_the_beginning_of_a_text(
    text: str, thinking: str, answer: str
) -> None:
    assert chat.split_thinking(text) == (thinking, answer)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("1.5", 1.5), ("-3", 0), (None, 0)])
def test_a_wanted_pause_is_read_in_seconds(header: str | None, seconds: float) -> None:
    trouble = failures.refusal(failures.Server("here"), "q", 64, 429, "busy", header)
    assert isinstance(trouble, failures.Transient) and trouble.wanted_seconds == seconds


def test_it_works_while_an_event_loop_runs_as_in_a_notebook(server: Server) -> None:
    async def cell() -> int:
        return len(complete(server, 4))

    assert asyncio.run(cell()) == 4
