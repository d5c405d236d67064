"""Models of a run on an Ollama server: the same answers, nothing sent twice, clear errors."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import loopback
import pytest
from ollama_server import Model, OllamaServer

from cutoff import models, params
from cutoff.chat_template import load_tokenizer
from cutoff.engines import ollama_api, serving
from cutoff.errors import CutoffError
from cutoff.export import modelfile, registration, weights
from cutoff.export.parity import chain, measurement, transcript
from cutoff.export.parity.transcript import answered, choose_prompts
from cutoff.models import Files
from cutoff.params import Params

QUESTION = {"question": "Which optimizer trains Crimson Valley?", "context": ["It is Iris."]}


@pytest.fixture
def p(ollama_server: OllamaServer) -> Params:
    return params.load(
        "tiny",
        {
            "provider": "ollama",
            "base_url": ollama_server.host,
            "export_mode": "adapter",
            "quantization": "Q8_0",
            "max_new_tokens": 16,
            "parallel": 2,
            "num_ctx": 256,
        },
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def files(p: Params, folder: Path, base_model: Path, adapter: Path) -> dict[str, Files]:
    found = {model: models.files_of(folder, model, p) for model in ("base", "rag_ft")}
    weights.export(found["base"], base_model, None, p)
    weights.export(found["rag_ft"], base_model, adapter, p)
    return found


def done(rows: list[dict[str, str]]) -> list[str]:
    return [row["done"] for row in rows]


def test_what_is_registered_answers_as_the_files_do(
    p: Params, files: dict[str, Files], base_model: Path, adapter: Path, ollama_server: OllamaServer
) -> None:
    rows = registration.register(files, base_model, p)
    assert [row["served_as"] for row in rows] == ["cutoff-tiny-base", "cutoff-tiny-rag-ft"]
    chats = choose_prompts([QUESTION] * 4, 4)
    limits = measurement.limits(base_model, [QUESTION], p)
    for model, trained in (("base", None), ("rag_ft", adapter)):
        subject = measurement.subject(model, base_model, trained, chats, p)
        direct = transcript.by_llama_cpp(
            files[model].served, files[model].lora, base_model, subject.reference, p
        )
        name = serving.name_on_server(model, p)
        with ollama_api.connect(name, p.base_url) as engine:
            asked = answered(engine, load_tokenizer(base_model), subject.reference, p)
            found = measurement.measure_served(subject, "Ollama", engine, limits, p)
        assert [a.text for a in asked] == [a.text for a in direct]
        assert all(row["passed"] for row in found) and len(found) == 3
    # An own penalty of the model on the server does not reach the comparison.
    assert all(body["options"]["repeat_penalty"] == 1.0 for body in ollama_server.answers)


def test_a_second_registration_sends_nothing(
    p: Params, files: dict[str, Files], base_model: Path, ollama_server: OllamaServer
) -> None:
    assert done(registration.register(files, base_model, p)) == ["made", "made"]
    n_sent, before = len(ollama_server.uploads), dict(ollama_server.models)
    assert n_sent == 2  # the base model's file once, the adapter
    assert done(registration.register(files, base_model, p)) == ["unchanged", "unchanged"]
    assert len(ollama_server.uploads) == n_sent and ollama_server.models == before


@pytest.mark.parametrize(
    "change", [{"lora": None}, {"template": "{{ .Prompt }}"}, {"parameters": {"temperature": 1}}]
)
def test_a_model_that_differs_on_the_server_is_made_again(
    change: Any,
    p: Params,
    files: dict[str, Files],
    base_model: Path,
    ollama_server: OllamaServer,
) -> None:
    registration.register(files, base_model, p)
    name = "cutoff-tiny-rag-ft:latest"
    right = ollama_server.models[name]
    ollama_server.models[name] = replace(right, **change)
    assert done(registration.register(files, base_model, p)) == ["unchanged", "made"]
    assert ollama_server.models[name].template == right.template
    assert ollama_server.models[name].lora == right.lora
    assert len(ollama_server.uploads) == 2


def test_a_template_that_renders_something_else_closes_the_gate(
    p: Params, files: dict[str, Files], base_model: Path, ollama_server: OllamaServer
) -> None:
    parameters = modelfile.parameters(p, base_model)
    wrong = "{{ range .Messages }}{{ .Role }}: {{ .Content }}\n{{ end }}"
    registration.create("wrong", p.base_url, files["base"], wrong, parameters)
    chats = choose_prompts([QUESTION], 1)
    subject = measurement.subject("base", base_model, None, chats, p)
    limits = measurement.limits(base_model, [QUESTION], p)
    with ollama_api.connect("wrong", p.base_url) as engine:
        found = measurement.measure_served(subject, "Ollama", engine, limits, p)
    broken = [row["metric"] for row in found if not row["passed"]]
    assert broken == [chain.READ_WHOLE]


def test_the_stock_model_is_pulled_once_and_left_alone(
    p: Params, files: dict[str, Files], base_model: Path, ollama_server: OllamaServer
) -> None:
    tag = "qwen2.5:0.5b-instruct"
    chosen = p.as_dict() | {"base_source": "ollama", "ollama_base_model": tag}
    stock = params.Params(**chosen)
    ollama_server.library[tag] = Model(files["base"].served)
    rows = registration.register(files, base_model, stock)
    assert rows[0] == {"model": "base", "served_as": tag, "done": "stock model, pulled"}
    assert "cutoff-tiny-base:latest" not in ollama_server.models
    rows = registration.register(files, base_model, stock)
    assert rows[0]["done"] == "stock model, was there"


def test_no_server_a_missing_file_and_a_full_disk_each_say_what_to_do(
    p: Params, files: dict[str, Files], base_model: Path, ollama_server: OllamaServer, tmp_path: Any
) -> None:
    missing = {"base": Files(tmp_path / "a.gguf", tmp_path / "a.gguf", None)}
    with pytest.raises(CutoffError, match="no model file .*a.gguf; run stage 03"):
        registration.register(missing, base_model, p)
    full = lambda handler: loopback.status(500, "write blob: no space left on device")(handler)  # noqa: E731
    ollama_server.handler.receive, kept = (
        lambda handler, digest: full(handler),
        ollama_server.handler.receive,
    )
    try:
        with pytest.raises(CutoffError, match="disk of the Ollama server is full.*ollama rm"):
            registration.register(files, base_model, p)
    finally:
        ollama_server.handler.receive = kept
    ollama_server.close()
    with pytest.raises(CutoffError, match="ollama serve"):
        registration.register(files, base_model, p)


def test_the_command_for_another_server_names_every_model_and_its_template(
    p: Params, tmp_path: Path, base_model: Path
) -> None:
    adapters = {"base": None, "instruct_ft": tmp_path / "a b", "rag_ft": tmp_path / "c"}
    command = registration.vllm_command(adapters, base_model, p, tmp_path)
    assert "--served-model-name cutoff-tiny-base" in command
    assert f"'cutoff-tiny-instruct-ft={tmp_path}/a b'" in command
    assert "--max-lora-rank 16" in command and "--max-model-len 256" in command
    template = tmp_path / "chat_template.jinja"
    assert f"--chat-template {template}" in command and "--generation-config vllm" in command
    assert template.read_text() == load_tokenizer(base_model).get_chat_template()
