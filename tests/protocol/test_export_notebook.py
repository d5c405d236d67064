"""Notebook 03 under what the default size never asks for: other servers, files and bases."""

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from ollama_server import Model, OllamaServer
from openai_server import OpenAIServer

from cutoff import files, models, params
from cutoff.experiment import VARIANTS
from cutoff.run import folders

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_export_gguf.ipynb"
QUESTIONS = [
    {"question": "Which optimizer trains Crimson Valley?", "context": ["It is Iris."]},
    {"question": "What is the backbone of Linen Garden?", "context": ["A tree.", "An oak."]},
]
SMALL = {"parity_prompts": 2, "max_new_tokens": 16, "num_ctx": 512, "parallel": 2}


class AnyName(str):
    """Equal to every name that is asked for."""

    def __ne__(self, other: object) -> bool:
        return False


@pytest.fixture
def prepared(base_model: Path, adapter: Path, tmp_path: Path) -> dict[str, Any]:
    """Parameters of a size whose data set and adapters are there."""
    values = {"output_dir": str(tmp_path), **SMALL}
    stage = folders.open_stage("03_export_gguf", params.load("tiny", values))
    files.write_jsonl_atomic(stage.dataset_folder / "eval.jsonl", QUESTIONS)
    for variant in VARIANTS:
        folder = Path(shutil.copytree(adapter, stage.folder / "adapters" / variant))
        training = {"variant": variant, "base_sha256": models.base_sha256(base_model)}
        files.write_json_atomic(folder / "training.json", training)
    return values


def run(values: dict[str, Any]) -> dict[str, Any]:
    """Run the notebook's cells with ``values`` for parameters; returns its ``parity.json``."""
    names: dict[str, Any] = {}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code" and cell.id != "install":
            exec(compile(cell.source, cell.id, "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            names.update(values)
    content: dict[str, Any] = files.read_json(names["stage"].folder / "parity.json")
    return content


def test_adapters_over_one_base_are_registered_with_ollama_beside_its_stock_model(
    prepared: dict[str, Any], base_gguf: Path, ollama_server: OllamaServer
) -> None:
    tag = "qwen2.5:0.5b-instruct"
    ollama_server.library[tag] = Model(base_gguf)
    stock = {"base_source": "ollama", "ollama_base_model": tag}
    chosen = {"export_mode": "adapter", "quantization": "Q8_0", **stock}
    found = run(prepared | chosen | {"provider": "auto", "base_url": ollama_server.host})
    assert found["passed"] and found["provider"] == "ollama" and found["n_parameters"] == 2_900_224
    assert {row["model"] for row in found["links"]} == set(VARIANTS)  # none for the stock model
    assert {row["link"] for row in found["links"]} >= {"transformers -> Q8_0", "ollama"}
    assert set(found["fingerprints"]) == {
        "models/base.F16.gguf",
        "models/base.Q8_0.gguf",
        *(f"models/{variant}.lora.gguf" for variant in VARIANTS),
    }


def test_a_server_that_answers_with_another_model_closes_the_gate(
    prepared: dict[str, Any], openai_server: OpenAIServer, capsys: Any, monkeypatch: Any
) -> None:
    """One base model under all three names, as when the adapters were not loaded."""
    openai_server.model = AnyName("a model")
    server = {"provider": "openai", "base_url": openai_server.base_url, "api_key": "${KEY_OF_TEST}"}
    monkeypatch.setenv("KEY_OF_TEST", openai_server.key)
    chosen = {"quantization": "F16", "export_dtype": "BF16", "compare_quantizations": "Q8_0"}
    found = run(prepared | server | chosen)
    assert not found["passed"]
    broken = {(row["model"], row["link"]) for row in found["links"] if not row["passed"]}
    assert broken == {(variant, "openai") for variant in VARIANTS}
    assert "models/rag_ft.Q8_0.gguf" in found["fingerprints"]
    assert "--lora-modules" in capsys.readouterr().out
