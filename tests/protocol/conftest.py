"""Models for tests of the engines, and servers that speak their protocols."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from anthropic_server import AnthropicServer
from ollama_server import OllamaServer
from openai_server import OpenAIServer

from cutoff.engines import chat


@pytest.fixture(scope="session")
def varied_weights(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom's shape with random weights in Q4_K_M: every prompt gets another answer.

    The next token is always close, so the smallest change of the arithmetic shows.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from cutoff.export import gguf_writer, weights

    folder = tmp_path_factory.mktemp("varied")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base_model))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:  # with small weights a model repeats the last token
                weight.mul_(4 if "embed" not in name else 25)
    model.save_pretrained(folder / "base")
    AutoTokenizer.from_pretrained(base_model).save_pretrained(folder / "base")
    gguf_writer.write_gguf(folder / "base", None, folder / "model.F16.gguf")
    weights.quantise(folder / "model.F16.gguf", folder / "model.Q4_K_M.gguf", "Q4_K_M")
    return folder / "model.Q4_K_M.gguf"


@pytest.fixture
def ollama_server(tmp_path: Path) -> Iterator[OllamaServer]:
    """An empty Ollama at ``.host``: what is created in it is served by llama.cpp."""
    folder = tmp_path / "ollama blobs"
    folder.mkdir()
    server = OllamaServer(folder)
    yield server
    server.close()


@pytest.fixture
def openai_server(base_gguf: Path) -> Iterator[OpenAIServer]:
    """The phantom's base model behind OpenAI's protocol, with 512 tokens of context."""
    server = OpenAIServer(base_gguf, 512)
    yield server
    server.close()


@pytest.fixture
def anthropic_server(base_gguf: Path) -> Iterator[AnthropicServer]:
    """The phantom's base model behind Anthropic's protocol, with 512 tokens of context."""
    server = AnthropicServer(base_gguf, 512)
    yield server
    server.close()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further tries come at once."""
    monkeypatch.setattr(chat, "FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture(scope="session")
def lora_gguf(base_model: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random adapter as a GGUF file."""
    from cutoff.export import gguf_writer

    path = tmp_path_factory.mktemp("lora") / "adapter.lora.gguf"
    gguf_writer.write_lora_gguf(base_model, adapter, path)
    return path


@pytest.fixture(scope="session")
def base_gguf(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom's base model in 16 bits."""
    from cutoff.export import gguf_writer

    path = tmp_path_factory.mktemp("base") / "base.F16.gguf"
    gguf_writer.write_gguf(base_model, None, path)
    return path
