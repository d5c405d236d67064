"""Whoever answers for a run: the same files give the same answers, and the choice is one."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from ollama_server import OllamaServer
from openai_server import OpenAIServer

from cutoff import files, models, params
from cutoff.engines import chat, failures, serving
from cutoff.errors import CutoffError
from cutoff.evaluate import answering
from cutoff.experiment import VARIANTS
from cutoff.export import registration, weights
from cutoff.phantom import world
from cutoff.run import folders

N_QUESTIONS = 4


@pytest.fixture(scope="module")
def exported(base_model: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A size's folder after 03: 16-bit files of the base model, the adapter as both variants."""
    top = tmp_path_factory.mktemp("exported")
    stage = opened(top)
    for name in VARIANTS:
        shutil.copytree(adapter, stage.folder / "adapters" / name)
        files.write_json_atomic(stage.folder / "adapters" / name / "training.json", {})
    for name in ("base", *VARIANTS):
        of_model = models.files_of(stage.folder, name, stage.params)
        weights.export(of_model, base_model, None if name == "base" else adapter, stage.params)
    return top


def opened(top: Path, **overrides: Any) -> folders.Run:
    settings = {
        "output_dir": str(top),
        "export_mode": "adapter",
        "quantization": "F16",
        "max_new_tokens": 12,
        "parallel": 2,
        "num_ctx": 512,
        **overrides,
    }
    return folders.open_stage("04_evaluate", params.load("tiny", settings))


@pytest.fixture(scope="module")
def questions() -> list[dict[str, Any]]:
    papers = world.make_papers(seed=0, n_post=N_QUESTIONS, n_control=1)[:N_QUESTIONS]
    return [
        {
            "question_id": f"{paper.paper_id}?1",
            "paper_id": paper.paper_id,
            "stratum": "post",
            "question": world.question_wordings("task", paper.method)["eval"][0],
            "context": [" ".join(body) for _, body in paper.sections[:3]],
        }
        for paper in papers
    ]


def responses(stage: folders.Run, questions: list[dict[str, Any]], provider: str) -> dict[str, str]:
    """Answers under all six conditions, from scratch."""
    (stage.folder / "responses.jsonl").unlink(missing_ok=True)
    files.write_json_atomic(stage.folder / "parity.json", {"provider": provider})
    return {r["key"]: r["response"] for r in answering.answer(stage, questions)}


def test_ollama_and_transformers_answer_as_the_embedded_engine_does(
    exported: Path, questions: Any, base_model: Path, ollama_server: OllamaServer
) -> None:
    embedded = responses(opened(exported), questions, "llama_cpp")
    stage = opened(exported, provider="ollama", base_url=ollama_server.host)
    every = {m: models.files_of(stage.folder, m, stage.params) for m in ("base", *VARIANTS)}
    registration.register(every, base_model, stage.params)
    assert responses(stage, questions, "ollama") == embedded
    assert {body["options"]["num_ctx"] for body in ollama_server.answers} == {512}
    unmerged = responses(opened(exported, provider="transformers"), questions, "transformers")
    for model in ("base", "rag_ft"):  # the random adapter leaves many near ties to 16 bits
        keys = [key for key in embedded if key.startswith(model)]
        same = sum(unmerged[key] == embedded[key] for key in keys)
        assert same >= len(keys) * (1.0 if model == "base" else 0.5), model
    trained = [key for key in embedded if key.startswith("rag_ft")]
    assert any(embedded[key] != embedded[key.replace("rag_ft", "base")] for key in trained)


def test_a_compatible_server_is_asked_by_name_with_the_key_of_the_environment(
    exported: Path, openai_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_THE_TEST", openai_server.key)
    openai_server.model = "cutoff-tiny-base"
    given = {"provider": "openai", "base_url": openai_server.base_url}
    key = "${KEY_OF_THE_TEST}"
    stage = opened(exported, **given, api_key=key)
    request = chat.Request("a", [{"role": "user", "content": "What is it?"}], 8)
    with serving.serve(stage, "base", "openai") as engine:
        [answer] = chat.complete([request], engine, serving.options(stage.params), parallel=1)
    assert answer.completion_tokens > 0
    monkeypatch.delenv("KEY_OF_THE_TEST")
    with pytest.raises(CutoffError, match="refused the API key"):  # nearby, none is asked for
        with serving.serve(stage, "base", "openai") as engine:
            list(chat.complete([request], engine, serving.options(stage.params), parallel=1))
    stage = opened(exported, **given | {"base_url": "https://gpu.example.org/v1"}, api_key=key)
    with pytest.raises(CutoffError, match="KEY_OF_THE_TEST is not set"):
        with serving.serve(stage, "base", "openai"):
            pass


NEARBY = "127.0.0.1:11434 http://10.0.0.7/v1 http://[::1]:1/v1 http://gpu:8000/v1 http://a.local/v1"
FAR = "https://api.openai.com/v1 http://8.8.8.8/v1 https://10.0.0.1.evil.org/v1"


def test_no_key_is_asked_for_on_this_machine_and_in_a_private_network() -> None:
    assert all(map(failures.is_private, NEARBY.split()))
    assert not any(map(failures.is_private, FAR.split()))


def test_auto_takes_ollama_where_it_answers_and_the_embedded_engine_elsewhere(
    ollama_server: OllamaServer,
) -> None:
    there = {"provider": "auto", "base_url": ollama_server.host}
    assert serving.choose_provider(params.load("tiny", there)) == "ollama"
    ollama_server.close()
    assert serving.choose_provider(params.load("tiny", there)) == "llama_cpp"
    stock = there | {"base_source": "ollama", "ollama_base_model": "qwen2.5:0.5b-instruct"}
    with pytest.raises(CutoffError, match="ollama serve"):
        serving.choose_provider(params.load("tiny", stock))


def test_a_stock_base_model_is_asked_for_by_its_own_name(exported: Path) -> None:
    stock = {"provider": "ollama", "base_source": "ollama", "ollama_base_model": "stock:1b"}
    assert serving.name_on_server("base", opened(exported, **stock).params) == "stock:1b"
