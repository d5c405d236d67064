"""The embedded llama.cpp server: same prompt, same answer; closed to others; gone afterwards."""

import random
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from transformers import AutoTokenizer

from cutoff import chat_template, prompts
from cutoff.engines import chat, llama_cpp
from cutoff.errors import CutoffError
from cutoff.export import gguf_writer

NUM_CTX = 512
OPTIONS = chat.Options(NUM_CTX)
WORDS = "passage cite number question answer short sentence paper brackets science what".split()


@pytest.fixture(scope="module")
def weights(varied_weights: Path) -> Path:
    return varied_weights


@pytest.fixture(scope="module")
def requests() -> list[chat.Request]:
    """Short and long prompts, mixed."""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=rng.choice((4, 40)))) for _ in range(24)]
    return [
        chat.Request(f"q{i}", prompts.render_closed_book(text), 12) for i, text in enumerate(texts)
    ]


def answer(weights: Path, requests: list[chat.Request], parallel: int, **server: Any) -> dict:
    with llama_cpp.serve(weights, NUM_CTX, parallel, **server) as engine:
        return {done.key: done for done in chat.complete(requests, engine, OPTIONS, parallel)}


def texts(answers: dict[str, chat.Completion]) -> dict[str, str]:
    return {key: completion.text for key, completion in answers.items()}


def test_greedy_answers_do_not_depend_on_order_or_company(
    weights: Path, requests: list[chat.Request]
) -> None:
    alone = answer(weights, requests, parallel=1)
    shuffled = random.Random(1).sample(requests, len(requests))
    together = answer(weights, shuffled, parallel=8, threads=2)
    assert texts(together) == texts(alone)
    assert len(set(texts(alone).values())) > len(requests) / 2  # they could differ


def test_a_prompt_that_fills_the_context_to_the_last_token_is_answered(weights: Path) -> None:
    messages = prompts.render_closed_book("what " * 150)
    with llama_cpp.serve(weights, NUM_CTX, 1) as endpoint:
        (probe,) = chat.complete([chat.Request("probe", messages, 1)], endpoint, OPTIONS, 1)
        room = NUM_CTX - probe.prompt_tokens
        (filled,) = chat.complete([chat.Request("full", messages, room)], endpoint, OPTIONS, 1)
        assert filled.prompt_tokens == probe.prompt_tokens
        with pytest.raises(CutoffError, match="over has"):
            list(chat.complete([chat.Request("over", messages, room + 1)], endpoint, OPTIONS, 1))
        with pytest.raises(CutoffError, match="1024 was asked for.*served with num_ctx = 512"):
            list(chat.complete([chat.Request("q", messages, 1)], endpoint, chat.Options(1024), 1))


def test_the_server_is_on_the_loopback_and_closed_without_its_key(weights: Path) -> None:
    with llama_cpp.serve(weights, NUM_CTX, 2, threads=2) as endpoint:
        for url in endpoint.base_urls:
            assert urlsplit(url).hostname == "127.0.0.1"
            body = {"messages": prompts.render_closed_book("what"), "max_tokens": 1}
            for path, content in (("/v1/chat/completions", body), ("/tokenize", {"content": "a"})):
                reply = httpx.post(url + path, json=content, headers={"Origin": "http://evil.test"})
                assert reply.status_code == 401
                assert reply.headers.get("access-control-allow-origin") != "*"


def test_the_server_is_gone_after_the_block_even_after_an_error(weights: Path) -> None:
    with pytest.raises(KeyError), llama_cpp.serve(weights, NUM_CTX, 2, threads=2) as endpoint:
        assert httpx.get(endpoint.base_url + "/health").status_code == 200
        raise KeyError("a cell that fails")
    for url in endpoint.base_urls:
        with pytest.raises(httpx.ConnectError):
            httpx.get(url + "/health")


def test_an_adapter_beside_the_weights_answers_as_merged_weights(
    base_model: Path, adapter: Path, base_gguf: Path, lora_gguf: Path, tmp_path: Path
) -> None:
    merged = tmp_path / "merged.F16.gguf"
    gguf_writer.write_gguf(base_model, adapter, merged)
    names = ("Crimson Valley", "Linen Garden", "Keen Island", "Silver Harbour", "Pale Castle")
    requests = [
        chat.Request(f"{name} {what}", prompts.render_closed_book(f"Which {what} has {name}?"), 16)
        for name in names
        for what in ("benchmark", "backbone")
    ]
    expected = texts(answer(merged, requests, 2))
    found = texts(answer(base_gguf, requests, 2, lora=lora_gguf))
    same = sum(found[key] == expected[key] for key in expected)
    assert same >= len(expected) - 1  # merged weights are rounded to 16 bits once more
    assert found != texts(answer(base_gguf, requests, 2))


def test_thinking_can_be_switched_off_where_the_template_knows_of_it(
    base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "FIXED", {})  # as in a file that somebody else made
    folder = Path(shutil.copytree(base_model, tmp_path / "thinks"))
    template = folder / "chat_template.jinja"
    no_thinking = "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    template.write_text(template.read_text() + no_thinking)
    gguf_writer.write_gguf(folder, None, tmp_path / "thinks.gguf")
    render = AutoTokenizer.from_pretrained(folder).apply_chat_template
    messages = prompts.render_closed_book("what")
    found, expected = [], []
    with llama_cpp.serve(tmp_path / "thinks.gguf", 4096, 1) as engine:
        for think in (True, False):
            request = chat.Request("q", messages, 4, think=think)
            (done,) = chat.complete([request], engine, chat.Options(4096), 1)
            found.append(done.prompt_tokens)
            how = {"add_generation_prompt": True, "return_dict": False, "enable_thinking": think}
            expected.append(len(render(messages, **how)))
    assert found == expected
    assert found[0] != found[1]


def test_every_core_gets_an_engine_of_a_small_model(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with llama_cpp.serve(weights, NUM_CTX, parallel=8, threads=3) as endpoint:
        assert len(set(endpoint.base_urls)) == 3
    monkeypatch.setattr(llama_cpp, "WEIGHT_COPIES_BYTES", weights.stat().st_size)
    with llama_cpp.serve(weights, NUM_CTX, parallel=8, threads=3) as endpoint:
        assert len(endpoint.base_urls) == 1


@pytest.mark.parametrize("content", [None, b"", b"GGUF but torn"], ids=["missing", "empty", "torn"])
def test_a_file_that_cannot_be_served_ends_in_a_sentence(
    tmp_path: Path, weights: Path, content: bytes | None
) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    for given in ((path, None), (weights, path)):
        with pytest.raises(CutoffError, match="model.gguf.*03_export_gguf"):
            with llama_cpp.serve(given[0], NUM_CTX, 1, lora=given[1]):
                pass
