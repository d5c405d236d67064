"""Who answers for a run, from which files: what 03 checks is what 04 asks.

    with serving.serve(stage, "rag_ft") as engine: ...

The provider is chosen once, by 03, and recorded in ``parity.json``: 04 asks the server that
the gate has measured, and no other. An engine is imported where it is used: each brings a
client that the others do not need.
"""

import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cutoff import chat_template, files, models, params
from cutoff.engines import chat, providers
from cutoff.errors import CutoffError
from cutoff.params import Params
from cutoff.prompts import Message
from cutoff.run import folders


def choose_provider(p: Params) -> str:
    """The provider that ``p`` asks for; ``auto`` is Ollama where it answers, else llama.cpp."""
    if p.provider == "auto":
        from cutoff.engines import ollama_api

        answers = ollama_api.version(p.base_url) is not None
        if p.base_source == "ollama" and not answers:
            raise CutoffError(
                "base_source = ollama needs a running Ollama; start it with `ollama serve`, or set "
                "base_source=export."
            )
        return "ollama" if answers else "llama_cpp"
    return str(p.provider)


def measured_provider(stage: folders.Run) -> str:
    """The provider that 03 has chosen and measured."""
    path = stage.require(stage.folder / "parity.json", "03_export_gguf")
    return str(files.read_json(path)["provider"])


def options(p: Params) -> chat.Options:
    """How every condition is answered."""
    return chat.Options(
        num_ctx=p.num_ctx,
        temperature=p.temperature,
        top_p=p.top_p,
        repeat_penalty=p.repeat_penalty,
        seed=p.seed,
    )


def name_on_server(model: str, p: Params) -> str:
    """What Ollama or a compatible server calls a model of this run."""
    if model == "base" and p.base_source == "ollama":
        return str(p.ollama_base_model)
    return models.served_name(p.size, model)


@contextmanager
def serve(
    stage: folders.Run, model: str, provider: str
) -> Iterator[chat.Engine | chat.BatchEngine]:
    """The engine that answers as ``model`` until the block ends.

    Raises ``CutoffError`` when its files are missing or its server does not have it.
    """
    p = stage.params
    if provider == "llama_cpp":
        from cutoff.engines import llama_cpp

        of_model = models.files_of(stage.folder, model, p)
        for path in of_model.paths:
            stage.require(path, "03_export_gguf")
        with llama_cpp.serve(of_model.served, p.num_ctx, p.parallel, lora=of_model.lora) as engine:
            yield engine
    elif provider == "transformers":
        from cutoff.engines import hf_generation

        with hf_generation.load(models.base_folder(p), adapter_folder(stage, model)) as batches:
            yield batches
    else:
        name, counter = name_on_server(model, p), token_counter(models.base_folder(p))
        key = params.reveal(p.api_key) if provider == "openai" else ""
        with providers.chat_engine(provider, name, p.base_url, key, counter) as engine:
            yield engine


def identity(stage: folders.Run, model: str, provider: str) -> dict[str, Any]:
    """All that an answer of ``model`` depends on beside the request: weights and engine."""
    p = stage.params
    if provider == "llama_cpp":
        of_model = models.files_of(stage.folder, model, p)
        hashes = [
            files.sha256_file(stage.require(path, "03_export_gguf")) for path in of_model.paths
        ]
        return {"files": hashes, "engine": _version("xllamacpp")}
    if provider == "transformers":
        folder = adapter_folder(stage, model)
        trained = folder and files.sha256_file(folder / "adapter_model.safetensors")
        base = models.base_sha256(models.base_folder(p))
        return {"base": base, "adapter": trained, "engine": _version("transformers")}
    name = name_on_server(model, p)
    if provider == "ollama":
        from cutoff.engines import ollama_api

        # It names the layers by their content, and holds template and parameters.
        modelfile = ollama_api.show(name, p.base_url)["modelfile"]
        return {"modelfile": modelfile, "engine": ollama_api.version(p.base_url)}
    return {"model": name, "server": p.base_url}


def adapter_folder(stage: folders.Run, model: str) -> Path | None:
    """Folder of a trained adapter; ``None`` for the base model."""
    if model == "base":
        return None
    trained = stage.folder / "adapters" / model / "training.json"
    return stage.require(trained, "02_finetune").parent


def token_counter(base: Path) -> Callable[[list[Message]], int]:
    """Function ``messages -> tokens of the rendered prompt``, as the model was trained on it."""
    tokenizer = chat_template.load_tokenizer(base)

    def count_tokens(messages: list[Message]) -> int:
        return len(
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        )

    return count_tokens


def _version(package: str) -> str:
    return f"{package} {importlib.metadata.version(package)}"
