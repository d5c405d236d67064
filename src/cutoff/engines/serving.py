"""Who answers: a model by the name of its provider, and the models of a run from their files.

    with serving.chat_engine("ollama", "qwen2.5:7b-instruct-q4_K_M") as engine: ...
    with serving.serve(stage, "rag_ft", provider) as engine: ...

The provider of a run is chosen once, by 03, and recorded in ``parity.json``: 04 asks the server
that the gate has measured, and no other. An engine is imported where it is used: each brings a
client that the others do not need.
"""

import importlib.metadata
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cutoff import chat_template, files, models, params
from cutoff.engines import chat, failures
from cutoff.errors import CutoffError
from cutoff.params import Params
from cutoff.run import folders

SAME_FAMILY = {"o": "gpt", "qwq": "qwen", "mixtral": "mistral", "ministral": "mistral"}


@contextmanager
def chat_engine(
    provider: str,
    model: str,
    base_url: str | None = None,
    api_key: str = "",
    count: chat.CountTokens | None = None,
) -> Iterator[chat.Engine]:
    """``model`` of ``provider`` (ollama, openai or anthropic) until the block ends.

    ``api_key`` is the name of a variable, ``${OPENAI_API_KEY}``; no key is asked for where
    ``base_url`` is on this machine or in a private network. ``count`` counts a prompt where that
    can be known in advance.
    """
    if provider == "ollama":
        from cutoff.engines import ollama_api

        with ollama_api.connect(model, base_url, count) as engine:
            yield engine
    elif provider == "openai":
        from cutoff.engines import openai_api

        with openai_api.connect(model, base_url, _key(api_key, base_url), count) as hosted:
            yield hosted
    else:
        from cutoff.engines import anthropic_api

        with anthropic_api.connect(model, base_url, _key(api_key, base_url)) as hosted:
            yield hosted


def _key(api_key: str, base_url: str | None) -> str:
    """The API key itself, or an error that does not show it; empty where none is needed."""
    try:
        key = params.reveal(api_key).strip()
        if not key:
            raise CutoffError(f"The API key is empty; export it first ({api_key}).")
    except CutoffError:
        if base_url is None or not failures.is_private(base_url):
            raise
        return ""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise CutoffError(
            "The API key holds a blank or a character that no key has; copy it again into its "
            "environment variable (OPENAI_API_KEY, ANTHROPIC_API_KEY)."
        )
    return key


def family(model: str) -> str:
    """What the makers call all sizes of a model: ``qwen`` for ``Qwen/Qwen2.5-7B-Instruct``.

    Models of one family share training data and taste; one does not judge another.
    """
    name = re.split(r"[/\\]", model.strip().lower())[-1]
    letters = re.match(r"(?:meta-|chat|code)?([a-z]+)", name)
    return SAME_FAMILY.get(letters[1], letters[1]) if letters else name


def choose_provider(p: Params) -> str:
    """The provider that ``p`` asks for; ``auto`` is Ollama where it answers, else llama.cpp."""
    if p.provider != "auto":
        return str(p.provider)
    from cutoff.engines import ollama_api

    if ollama_api.version(p.base_url) is not None:
        return "ollama"
    if p.base_source == "ollama":
        raise CutoffError(
            "base_source = ollama needs a running Ollama; start it with `ollama serve`, or set "
            "base_source=export."
        )
    return "llama_cpp"


def measured_provider(stage: folders.Run) -> str:
    """The provider that 03 has chosen and measured."""
    path = stage.require(stage.folder / "parity.json", "03_export_gguf")
    return str(files.read_json(path)["provider"])


def options(p: Params) -> chat.Options:
    """How every condition is answered."""
    return chat.Options(p.num_ctx, p.temperature, p.top_p, p.repeat_penalty, p.seed)


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

        of_model = _exported(stage, model)
        with llama_cpp.serve(of_model.served, p.num_ctx, p.parallel, lora=of_model.lora) as engine:
            yield engine
    elif provider == "transformers":
        from cutoff.engines import hf_generation

        with hf_generation.load(models.base_folder(p), adapter_folder(stage, model)) as batches:
            yield batches
    else:
        name, count = name_on_server(model, p), token_counter(models.base_folder(p))
        with chat_engine(provider, name, p.base_url, p.api_key, count) as served:
            yield served


def identity(stage: folders.Run, model: str, provider: str) -> dict[str, Any]:
    """All that an answer of ``model`` depends on beside the request: weights and engine."""
    p = stage.params
    if provider == "llama_cpp":
        hashes = [files.sha256_file(path) for path in _exported(stage, model).paths]
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


def _exported(stage: folders.Run, model: str) -> models.Files:
    """The GGUF files of ``model``, all there."""
    of_model = models.files_of(stage.folder, model, stage.params)
    for path in of_model.paths:
        stage.require(path, "03_export_gguf")
    return of_model


def adapter_folder(stage: folders.Run, model: str) -> Path | None:
    """Folder of a trained adapter; ``None`` for the base model."""
    if model == "base":
        return None
    trained = stage.folder / "adapters" / model / "training.json"
    return stage.require(trained, "02_finetune").parent


def token_counter(base: Path) -> chat.CountTokens:
    """Function ``messages -> tokens of the rendered prompt``, as the model was trained on it."""
    render = chat_template.load_tokenizer(base).apply_chat_template
    return lambda messages: len(render(messages, add_generation_prompt=True, return_dict=False))


def _version(package: str) -> str:
    return f"{package} {importlib.metadata.version(package)}"
