"""What goes wrong between the engines and their servers, the same for every protocol."""

import re
import threading
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import loopback
import pytest
from anthropic_server import AnthropicServer
from ollama_server import Model, OllamaServer
from openai_server import OpenAIServer

from cutoff import prompts
from cutoff.engines import chat, failures, llama_cpp, serving
from cutoff.errors import CutoffError

pytestmark = pytest.mark.usefixtures("short_pauses")
OPTIONS = chat.Options(num_ctx=512)
TOO_LONG = prompts.render_closed_book("what " * 600)


class Served:
    """A server of one protocol; ``complete`` connects and asks."""

    def __init__(self, provider: str, server: Any, url: str, key: str = "") -> None:
        self.provider, self.server, self.url, self.key = provider, server, url, key

    def connect(self, model: str = "", key: str = "") -> AbstractContextManager[Any]:
        model = model or getattr(self.server, "model", "small")
        return serving.chat_engine(self.provider, model, self.url, key or self.key)

    def complete(self, requests: list[chat.Request], parallel: int = 4, **other: Any) -> Any:
        with self.connect(**other) as engine:
            return {c.key: c for c in chat.complete(requests, engine, OPTIONS, parallel)}


@pytest.fixture(params=["ollama", "openai", "anthropic"])
def served(request: pytest.FixtureRequest, base_gguf: Path, tmp_path: Path) -> Iterator[Served]:
    if request.param == "ollama":
        ollama = OllamaServer(tmp_path)
        ollama.models["small:latest"] = Model(base_gguf)
        made = Served("ollama", ollama, ollama.host)
    elif request.param == "openai":
        openai = OpenAIServer(base_gguf, 512)
        made = Served("openai", openai, openai.base_url, openai.key)
    else:
        anthropic = AnthropicServer(base_gguf, 512)
        made = Served("anthropic", anthropic, anthropic.host, anthropic.key)
    yield made
    made.server.close()


hosted = pytest.mark.parametrize("served", ["openai", "anthropic"], indirect=True)


def requests(n: int, max_new_tokens: int = 16) -> list[chat.Request]:
    texts = [f"What is the task of method {i}?" for i in range(n)]
    return [
        chat.Request(f"q{i}", prompts.render_closed_book(text), max_new_tokens)
        for i, text in enumerate(texts)
    ]


def test_every_request_gets_its_own_answer_of_the_model(served: Served, base_gguf: Path) -> None:
    done = served.complete(requests(6))
    with llama_cpp.serve(base_gguf, 512, 1, threads=1) as engine:
        expected = {c.key: c for c in chat.complete(requests(6), engine, OPTIONS, 1)}
    same = ("key", "text", "prompt_tokens", "completion_tokens", "finish_reason", "thinking")
    for key, completion in expected.items():
        for name in same:
            assert getattr(done[key], name) == getattr(completion, name)
    assert len({completion.text for completion in done.values()}) > 1
    assert all(completion.latency_seconds > 0 for completion in done.values())


def test_connections_are_kept_alive(served: Served) -> None:
    served.complete(requests(12), parallel=2)
    assert served.server.connections <= 3


FAULTS = {
    "429": loopback.status(429, Retry_After="0"),
    "503": loopback.status(503),
    "cut": loopback.cut,
    "cut in the body": loopback.cut_in_the_body,
    "torn JSON": loopback.torn_json,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_transient_fault_is_retried(served: Served, fault: str) -> None:
    served.server.faults = [FAULTS[fault]] * 2
    done = served.complete(requests(1))
    assert done["q0"].retries == 2
    assert len(served.server.answers) == 3


def test_the_pause_that_the_server_asks_for_is_kept(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []
    wait = threading.Event.wait
    monkeypatch.setattr(
        threading.Event,
        "wait",
        lambda self, timeout=None: pauses.append(timeout) or wait(self, 0.001),
    )
    served.server.faults = [loopback.status(429, Retry_After="7")]
    served.complete(requests(1))
    assert 7 in pauses


def test_a_reply_that_does_not_come_is_asked_for_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "REQUEST_TIMEOUT_SECONDS", 2.0)
    released = threading.Event()
    served.server.faults = [loopback.silent(released)]
    assert served.complete(requests(1))["q0"].retries == 1
    released.set()


def test_a_fault_that_stays_ends_in_a_sentence_that_names_the_request(served: Served) -> None:
    served.server.always = loopback.status(500, "out of order")
    with pytest.raises(CutoffError, match=r"failed 6 times on q0 .*out of order.*Run again"):
        served.complete(requests(1))
    assert len(served.server.answers) == chat.MAX_RETRIES + 1


@pytest.mark.parametrize("code", [400, 403])
def test_a_permanent_fault_is_not_retried(served: Served, code: int) -> None:
    served.server.always = loopback.status(code, "no such thing")
    with pytest.raises(CutoffError, match="no such thing"):
        served.complete(requests(1))
    assert len(served.server.answers) == 1


def test_a_model_that_the_server_lacks_is_named(served: Served) -> None:
    with pytest.raises(CutoffError, match="'absent'"):
        served.complete(requests(1), model="absent")
    assert len(served.server.answers) <= 1


def test_a_prompt_that_does_not_fit_names_its_request_and_the_others_are_answered(
    served: Served,
) -> None:
    long = chat.Request("too long", TOO_LONG, 16)
    done = []
    with pytest.raises(failures.Overflow, match="too long") as raised:
        with served.connect() as engine:
            for completion in chat.complete([*requests(3), long], engine, OPTIONS, 4):
                done.append(completion.key)
    assert "512" in str(raised.value)
    assert sorted(done) == ["q0", "q1", "q2"]


def test_a_server_that_is_gone_ends_in_a_sentence(served: Served) -> None:
    with served.connect() as engine:
        served.server.stop()
        with pytest.raises(CutoffError, match=r"failed 6 times on q0.*(serve|running)"):
            list(chat.complete(requests(1), engine, OPTIONS, 1))


def test_an_answer_follows_its_schema(served: Served) -> None:
    schema = {
        "type": "object",
        "properties": {"verdict": {"enum": ["correct", "incorrect"]}},
        "required": ["verdict"],
        "additionalProperties": False,
    }
    request = chat.Request("q", prompts.render_closed_book("what"), 64, schema)
    done = served.complete([request])
    # A model of this size may go on with blanks for ever, but with nothing else.
    assert re.match(r'\s*\{\s*"verdict"\s*:\s*("|$)', done["q"].text)


@hosted
def test_a_wrong_key_ends_in_a_sentence_and_is_shown_nowhere(served: Served) -> None:
    wrong = "sk-wrong-key-of-the-test"
    with served.connect() as engine:
        assert served.server.key not in repr(engine) + engine.where
    with pytest.raises(CutoffError, match="refused the API key") as raised:
        served.complete(requests(1), key=wrong)
    assert wrong not in "".join(traceback.format_exception(raised.value))
    assert len(served.server.answers) == 1


@hosted
@pytest.mark.parametrize("key", ["sk-1234\nsk-5678", "sk-ключ-1234", "sk 1234 5678"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(served: Served, key: str) -> None:
    with pytest.raises(CutoffError, match="API_KEY") as raised:
        served.complete(requests(1), key=key)
    shown = "".join(traceback.format_exception(raised.value))
    assert "1234" not in shown and "5678" not in shown


@hosted
def test_a_penalty_that_the_protocol_cannot_carry_is_an_error(served: Served) -> None:
    with served.connect() as engine, pytest.raises(CutoffError, match="repeat_penalty"):
        list(chat.complete(requests(1), engine, chat.Options(512, repeat_penalty=1.05), 1))
    assert served.server.answers == []
