"""The models of a run under their names on a server, so that 04 can ask for them.

Ollama gets the measured GGUF files through its client, with the template and the parameters
of the Modelfile. Any other server is started by a person, with what ``vllm_command`` prints.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cutoff import files
from cutoff.chat_template import load_tokenizer
from cutoff.engines import ollama_api, serving
from cutoff.errors import CutoffError
from cutoff.export import modelfile
from cutoff.models import Files
from cutoff.params import Params

LAYER = re.compile(r"(?m)^(?:FROM|ADAPTER) .*sha256[-:]([0-9a-f]{64})")
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's --max-lora-rank takes


def register(files: Mapping[str, Files], base: Path, p: Params) -> list[dict[str, str]]:
    """Make every model of ``files`` known to Ollama: a row per model with ``model``,
    ``served_as`` (its name there) and what was ``done``.

    Files that the server holds are not sent again and a model that is there unchanged is
    left alone. With ``base_source: ollama`` the base model is a stock tag, pulled if missing.
    Raises ``CutoffError`` when the server does not answer, is full, or a file is missing.
    """
    template, parameters = modelfile.go_template(base), modelfile.parameters(p, base)
    there = ollama_api.models(p.base_url)
    rows = []
    for model, of_model in files.items():
        name = serving.name_on_server(model, p)
        # Without a tag Ollama means `latest`.
        held = (name if ":" in name.rpartition("/")[2] else f"{name}:latest") in there
        if model == "base" and p.base_source == "ollama":
            if not held:
                ollama_api.pull(name, p.base_url)
            done = f"stock model, {'was there' if held else 'pulled'}"
        elif held and _is_the_same(name, of_model, template, parameters, p.base_url):
            done = "unchanged"
        else:
            create(name, p.base_url, of_model, template, parameters)
            done = "made"
        rows.append({"model": model, "served_as": name, "done": done})
    return rows


def create(
    name: str, host: str | None, exported: Files, template: str, parameters: Mapping[str, Any]
) -> None:
    """``ollama_api.create``, with the remedy for a disk of the server that is full."""
    try:
        ollama_api.create(name, host, exported.served, exported.lora, template, parameters)
    except CutoffError as error:
        if "no space left" not in str(error):
            raise
        size = sum(path.stat().st_size for path in exported.paths) / 1e9
        raise CutoffError(
            f"The disk of the Ollama server is full: {name} needs {size:.1f} GB there. Remove "
            "models with `ollama rm`, or point OLLAMA_MODELS to a larger disk, and run again."
        ) from None


def _is_the_same(
    name: str, exported: Files, template: str, parameters: Mapping[str, Any], host: str | None
) -> bool:
    """Whether the server shows what ``create`` would make; layers are named by their content."""
    shown = ollama_api.show(name, host)
    lines = [" ".join(line.split()) for line in (shown.get("parameters") or "").splitlines()]
    return (
        LAYER.findall(shown.get("modelfile") or "")
        == [files.sha256_file(path) for path in exported.paths]
        and (shown.get("template") or "") == template
        and sorted(filter(None, lines)) == sorted(modelfile.settings(parameters))
    )


def vllm_command(adapters: Mapping[str, Path | None], base: Path, p: Params, folder: Path) -> str:
    """The command that serves all models of the run under the names 04 asks for.

    ``adapters``: model -> folder of its adapter, ``None`` for the base model. Writes the chat
    template that they were trained on into ``folder``: the hub's would render today's date
    (Llama 3.2) or leave thinking on (Qwen3). The model's own generation_config is switched off,
    because it penalises repetition (Qwen 2.5: 1.05).
    """
    template = folder / "chat_template.jinja"
    files.write_text_atomic(template, load_tokenizer(base).get_chat_template())
    rank = next((n for n in LORA_RANKS if n >= p.lora_rank), p.lora_rank)
    names = {model: serving.name_on_server(model, p) for model in adapters}
    modules = [f"{names[model]}={trained}" for model, trained in adapters.items() if trained]
    lines = (
        ["vllm", "serve", str(base)],
        ["--served-model-name", names["base"]],
        ["--chat-template", str(template)],
        ["--generation-config", "vllm"],
        ["--max-model-len", str(p.num_ctx)],
        ["--enable-lora", "--max-lora-rank", str(rank)],
        ["--lora-modules", *modules],
    )
    return " \\\n    ".join(shlex.join(line) for line in lines)
