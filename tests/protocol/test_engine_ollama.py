"""Ollama: the models it holds, and prompts that it would cut without a word."""

from pathlib import Path

import httpx
import pytest
from ollama_server import Model, OllamaServer

from cutoff import prompts
from cutoff.engines import chat, failures, llama_cpp, ollama_api, serving
from cutoff.errors import CutoffError
from cutoff.export import modelfile

pytestmark = pytest.mark.usefixtures("short_pauses")
OPTIONS = chat.Options(num_ctx=512)
CHAT = prompts.render_closed_book("What is the task of Crimson Valley?")
REQUEST = chat.Request("q", CHAT, 16)
LONG = chat.Request("long", prompts.render_closed_book("what " * 600), 16)


@pytest.fixture
def server(ollama_server: OllamaServer, base_gguf: Path) -> OllamaServer:
    ollama_server.models["small:latest"] = Model(base_gguf)
    return ollama_server


def ask(
    server: OllamaServer,
    request: chat.Request = REQUEST,
    options: chat.Options = OPTIONS,
    model: str = "small",
) -> chat.Completion:
    with ollama_api.connect(model, server.host) as engine:
        (done,) = chat.complete([request], engine, options, 1)
    return done


def test_a_model_made_of_a_gguf_file_answers_as_the_file_does(
    ollama_server: OllamaServer, base_model: Path, base_gguf: Path
) -> None:
    template = modelfile.go_template(base_model)
    settings = {"num_ctx": 512, "stop": ["<|im_end|>"]}
    ollama_api.create("small", ollama_server.host, base_gguf, None, template, settings)
    assert ollama_api.models(ollama_server.host) == ["small:latest"]
    shown = ollama_api.show("small", ollama_server.host)
    assert shown["template"] == template
    assert 'stop                           "<|im_end|>"' in shown["parameters"]
    with llama_cpp.serve(base_gguf, 512, 1, threads=1) as engine:
        (expected,) = chat.complete([REQUEST], engine, OPTIONS, 1)
    done = ask(ollama_server)
    assert (done.text, done.prompt_tokens) == (expected.text, expected.prompt_tokens)


def test_an_adapter_changes_the_answers_of_a_model_and_its_base_is_sent_once(
    ollama_server: OllamaServer, base_model: Path, base_gguf: Path, lora_gguf: Path
) -> None:
    template = modelfile.go_template(base_model)
    for name, lora in (("plain", None), ("tuned", lora_gguf)):
        ollama_api.create(name, ollama_server.host, base_gguf, lora, template, {"num_ctx": 512})
    assert len(ollama_server.uploads) == len(set(ollama_server.uploads)) == 2
    methods = ("Crimson Valley", "Linen Garden", "Keen Island", "Silver Harbour")
    requests = [
        chat.Request(name, prompts.render_closed_book(f"Which benchmark has {name}?"), 16)
        for name in methods
    ]
    with llama_cpp.serve(base_gguf, 512, 1, lora=lora_gguf, threads=1) as engine:
        expected = {c.key: c.text for c in chat.complete(requests, engine, OPTIONS, 1)}
    found = {}
    for name in ("tuned", "plain"):
        with ollama_api.connect(name, ollama_server.host) as engine:
            found[name] = {c.key: c.text for c in chat.complete(requests, engine, OPTIONS, 2)}
    assert found["tuned"] == expected
    assert found["plain"] != expected


def test_a_template_that_differs_shows_in_the_counted_tokens(
    ollama_server: OllamaServer, base_model: Path, base_gguf: Path
) -> None:
    count = serving.token_counter(base_model)
    template = modelfile.go_template(base_model)
    for name, text in (("right", template), ("wrong", template + "Well, ")):
        ollama_api.create(name, ollama_server.host, base_gguf, None, text, {})
    with ollama_api.connect("right", ollama_server.host, count) as engine:
        (done,) = chat.complete([REQUEST], engine, OPTIONS, 1)
    assert done.prompt_tokens == count(CHAT)
    with ollama_api.connect("wrong", ollama_server.host, count) as engine:
        with pytest.raises(CutoffError, match="the prompt was changed on its way"):
            list(chat.complete([REQUEST], engine, OPTIONS, 1))


def test_num_ctx_is_always_sent_and_nothing_may_be_cut(server: OllamaServer) -> None:
    ask(server, options=chat.Options(384, repeat_penalty=1.05))
    (body,) = server.answers
    assert body["options"]["num_ctx"] == 384
    assert body["options"]["repeat_penalty"] == 1.05
    assert body["truncate"] is False and body["shift"] is False


def test_a_long_prompt_is_cut_by_ollama_itself_and_refused_here(server: OllamaServer) -> None:
    body = {"model": "small", "messages": LONG.messages, "options": {"num_ctx": 512}}
    default = httpx.post(f"{server.host}/api/chat", json={**body, "stream": False}).json()
    assert default["prompt_eval_count"] == 258  # what the danger looks like
    with pytest.raises(failures.Overflow, match=r"long .*num_ctx = 512"):
        ask(server, LONG)


def test_an_answer_that_the_context_cuts_off_is_an_error(server: OllamaServer) -> None:
    n_prompt = ask(server).prompt_tokens
    whole = chat.Request("whole", CHAT, 3)
    assert ask(server, whole, chat.Options(n_prompt + 8)).finish_reason == "length"
    with pytest.raises(failures.Overflow, match="cut off"):
        ask(server, chat.Request("cut off", CHAT, 64), chat.Options(n_prompt + 3))


@pytest.mark.parametrize(("version", "accepted"), [("0.12.5", False), ("0.12.6", True)])
def test_a_release_that_cuts_in_silence_is_refused(
    server: OllamaServer, version: str, accepted: bool
) -> None:
    server.version, server.knows_truncate = version, accepted
    if accepted:
        assert ask(server).text
    else:
        with pytest.raises(CutoffError, match="0.12.5.*update it to 0.12.6"):
            ask(server)
        assert server.answers == []


def test_a_server_that_does_not_say_what_it_read_is_not_believed(server: OllamaServer) -> None:
    message = {"role": "assistant", "content": "No."}
    reply = {"model": "small", "message": message, "done": True, "eval_count": 2}
    server.always = lambda handler: handler.reply(reply)
    with pytest.raises(CutoffError, match="does not say how many tokens of q"):
        ask(server)


def test_thinking_is_apart_from_the_answer_and_counted(server: OllamaServer) -> None:
    with pytest.raises(CutoffError, match="does not support thinking"):
        ask(server, chat.Request("q", CHAT, 16, think=True))
    plain = ask(server)
    assert plain.thinking == "" and "think" not in server.answers[-1]
    server.thinks = True
    options = chat.Options(4096)
    thought = ask(server, chat.Request("q", CHAT, 16, think=True), options)
    assert thought.text == plain.text
    assert thought.thinking and thought.completion_tokens > plain.completion_tokens
    assert ask(server, chat.Request("q", CHAT, 16, think=False)).thinking == ""


def test_a_model_of_the_library_is_pulled(ollama_server: OllamaServer, base_gguf: Path) -> None:
    ollama_server.library["small:latest"] = Model(base_gguf)
    with pytest.raises(CutoffError, match=r"'small'.*ollama pull small"):
        ask(ollama_server)
    ollama_api.pull("small", ollama_server.host)
    assert ask(ollama_server).text
    with pytest.raises(CutoffError, match="'absent'"):
        ollama_api.pull("absent", ollama_server.host)


def test_a_file_that_is_no_model_is_an_error(ollama_server: OllamaServer, tmp_path: Path) -> None:
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(b"not a model")
    with pytest.raises(CutoffError, match="torn.gguf"):
        ollama_api.create("small", ollama_server.host, torn, None, "", {})
    with pytest.raises(CutoffError, match="03_export_gguf"):
        ollama_api.create("small", ollama_server.host, tmp_path / "none.gguf", None, "", {})


def test_who_is_asked_first_whether_it_runs(ollama_server: OllamaServer) -> None:
    nobody = "http://127.0.0.1:1"
    assert ollama_api.version(nobody) is None
    assert ollama_api.version(ollama_server.host) == "0.34.0"
    with pytest.raises(CutoffError, match="ollama serve"), ollama_api.connect("small", nobody):
        pass


def test_a_proxy_of_the_environment_has_no_business_on_the_loopback(
    server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(server).text
