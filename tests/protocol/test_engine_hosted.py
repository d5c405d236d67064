"""OpenAI's and Anthropic's protocols: what goes into a request, what comes out of a reply."""

import threading
import time
import warnings
from typing import Any

import pytest
from anthropic_server import AnthropicServer
from openai_server import OpenAIServer

from cutoff import prompts
from cutoff.engines import anthropic_api, chat, openai_api, serving
from cutoff.errors import CutoffError

pytestmark = pytest.mark.usefixtures("short_pauses")
OPTIONS = chat.Options(num_ctx=512)
CHAT = prompts.render_closed_book("What is the task of Crimson Valley?")
REQUEST = chat.Request("q", CHAT, 16)
SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def ask_openai(
    server: OpenAIServer,
    request: chat.Request = REQUEST,
    options: chat.Options = OPTIONS,
    **other: Any,
) -> chat.Completion:
    with openai_api.connect(server.model, server.base_url, server.key, **other) as engine:
        (done,) = chat.complete([request], engine, options, 1)
    return done


def ask_anthropic(
    server: AnthropicServer, request: chat.Request = REQUEST, options: chat.Options = OPTIONS
) -> chat.Completion:
    with anthropic_api.connect(server.model, server.host, server.key) as engine:
        (done,) = chat.complete([request], engine, options, 1)
    return done


def test_only_what_is_asked_for_is_sent(
    openai_server: OpenAIServer, anthropic_server: AnthropicServer
) -> None:
    asked = ask_openai(openai_server)
    assert set(openai_server.answers[0]) == {"model", "messages", "max_tokens", "temperature"}
    done = ask_anthropic(anthropic_server)
    assert set(anthropic_server.answers[0]) == set(openai_server.answers[0]) | {"system"}
    assert done.prompt_tokens == asked.prompt_tokens  # cached ones too


def test_sampling_takes_the_nucleus_and_the_seed(
    openai_server: OpenAIServer, anthropic_server: AnthropicServer
) -> None:
    options = chat.Options(512, temperature=1.5, top_p=0.8, seed=7)
    same = [ask_openai(openai_server, options=options).text for _ in range(2)]
    assert same[0] == same[1]
    assert {"top_p": 0.8, "seed": 7}.items() <= openai_server.answers[0].items()
    ask_anthropic(anthropic_server, options=options)
    assert {"top_p": 0.8, "temperature": 1.5}.items() <= anthropic_server.answers[0].items()


def test_reasoning_models_are_asked_in_their_own_way_and_asked_so_from_then_on(
    openai_server: OpenAIServer,
) -> None:
    openai_server.reasons = True
    with (
        openai_api.connect(
            openai_server.model, openai_server.base_url, openai_server.key
        ) as engine,
        pytest.warns(UserWarning, match="takes no temperature"),
    ):
        (first,) = chat.complete([REQUEST], engine, OPTIONS, 1)
        n_asked = len(openai_server.answers)
        (second,) = chat.complete([REQUEST], engine, OPTIONS, 1)
    assert first.retries == second.retries == 0
    assert len(openai_server.answers) == n_asked + 1
    last = openai_server.answers[-1]
    assert last["max_completion_tokens"] == 16
    assert "max_tokens" not in last and "temperature" not in last


def test_a_temperature_that_matters_is_never_left_out(
    openai_server: OpenAIServer, anthropic_server: AnthropicServer
) -> None:
    openai_server.reasons = anthropic_server.newest = True
    options = chat.Options(512, temperature=0.7)
    with pytest.raises(CutoffError, match="temperature"):
        ask_openai(openai_server, options=options)
    with pytest.raises(CutoffError, match="temperature"):
        ask_anthropic(anthropic_server, options=options)


def test_thinking_of_a_compatible_server_is_apart_from_the_answer(
    openai_server: OpenAIServer,
) -> None:
    plain = ask_openai(openai_server)
    openai_server.thinks = True
    openai_server.num_ctx = 4096
    options = chat.Options(4096)
    thought = ask_openai(openai_server, chat.Request("q", CHAT, 16, think=True), options)
    body = openai_server.answers[-1]
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    assert body["max_tokens"] == 16 + chat.THINKING_TOKENS
    assert thought.text == plain.text and thought.thinking
    assert plain.thinking == ""


@pytest.mark.parametrize("newest", [False, True])
def test_thinking_does_not_eat_the_answer(anthropic_server: AnthropicServer, newest: bool) -> None:
    plain = ask_anthropic(anthropic_server)
    anthropic_server.newest = newest
    thought = ask_anthropic(anthropic_server, chat.Request("q", CHAT, 16, think=True))
    assert thought.text == plain.text and thought.finish_reason == "stop"
    assert thought.thinking and thought.thinking not in thought.text
    assert thought.completion_tokens > plain.completion_tokens
    body = anthropic_server.answers[-1]
    assert body["thinking"]["type"] == ("adaptive" if newest else "enabled")
    assert body["max_tokens"] == 16 + chat.THINKING_TOKENS
    assert "temperature" not in body


def test_a_model_without_a_temperature_answers_after_a_warning(
    anthropic_server: AnthropicServer,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ask_anthropic(anthropic_server)
    assert anthropic_server.answers[0]["temperature"] == 0
    anthropic_server.newest = True
    with pytest.warns(UserWarning, match="takes no temperature"):
        assert ask_anthropic(anthropic_server).text
    assert "temperature" not in anthropic_server.answers[-1]


def test_a_tokenizer_counts_for_one_thread_at_a_time(openai_server: OpenAIServer) -> None:
    busy = threading.Lock()

    def count(messages: list[prompts.Message]) -> int:
        assert busy.acquire(blocking=False), "two threads in one tokenizer"
        time.sleep(0.02)
        busy.release()
        return n_tokens

    n_tokens = ask_openai(openai_server).prompt_tokens
    requests = [chat.Request(f"q{i}", CHAT, 4) for i in range(8)]
    with openai_api.connect(
        openai_server.model, openai_server.base_url, openai_server.key, count
    ) as engine:
        assert len(list(chat.complete(requests, engine, OPTIONS, 4))) == 8


def test_used_up_credit_is_not_waited_for(openai_server: OpenAIServer) -> None:
    error = {"message": "You exceeded your current quota.", "code": "insufficient_quota"}
    openai_server.always = lambda handler: handler.reply({"error": error}, 429)
    with pytest.raises(CutoffError, match="no credit left"):
        ask_openai(openai_server)
    assert len(openai_server.answers) == 1


def test_a_missing_key_names_its_variable_and_a_server_of_ones_own_needs_none(
    openai_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", " ")
    with (
        pytest.raises(CutoffError, match="OPENAI_API_KEY"),
        serving.chat_engine("openai", "m", None, "${OPENAI_API_KEY}"),
    ):
        pass
    with (
        pytest.raises(CutoffError, match="ANTHROPIC_API_KEY"),
        serving.chat_engine("anthropic", "m", None, "${ANTHROPIC_API_KEY}"),
    ):
        pass
    openai_server.key = "none"
    own = openai_server.base_url
    key = "${OPENAI_API_KEY}"
    with serving.chat_engine("openai", openai_server.model, own, key) as engine:
        assert list(chat.complete([REQUEST], engine, OPTIONS, 1))
