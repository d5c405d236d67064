"""What must be at hand before a run starts. Nothing is downloaded and no key is shown.

Only servers of one's own are asked, each for a moment; a hosted service is never called.
"""

import os
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cutoff import paths
from cutoff.evaluate.judging import panel
from cutoff.params import Params
from cutoff.plan import architecture

SECONDS = 2.0  # for a server to accept a connection
READY, MISSING, UNKNOWN = "ready", "missing", "unknown"


@dataclass(frozen=True)
class Item:
    """``state``: ready, missing, or unknown (it cannot be told from here)."""

    name: str
    state: str
    detail: str


def items(p: Params) -> list[Item]:
    """Everything that the run will ask for, in the order in which it will."""
    found = [_base(p)]
    if p.paper_source == "folder":
        there = bool(p.papers_folder) and Path(str(p.papers_folder)).expanduser().is_dir()
        found.append(_item("your papers", there, f"papers_folder = {p.papers_folder}"))
    if p.paper_source == "arxiv":
        found.append(Item("arXiv", UNKNOWN, "needs the network; it is not called from here"))
    for role, provider, model, url, key in _servers(p):
        found += _server(role, provider, model, url, key)
    return found


def free_disk(p: Params) -> float:
    """Free bytes where the outputs will lie."""
    folder = paths.outputs(p)
    while not folder.exists():
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)


def hub_cache() -> Path:
    """Folder of the Hugging Face hub's downloads."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def downloaded(name: str) -> bool:
    """Whether weights of the hub model ``name`` lie in the hub's cache."""
    folder = hub_cache() / f"models--{name.replace('/', '--')}" / "snapshots"
    return any(folder.glob("*/*.safetensors")) or any(folder.glob("*/*.bin"))


def _base(p: Params) -> Item:
    folder = architecture.local_folder(p)
    if folder is not None:
        there = any(folder.glob("*.safetensors"))
        return _item("base model", there, f"weights in the folder {folder.name}")
    if downloaded(p.base_model):
        return Item("base model", READY, f"{p.base_model} is in the hub's cache")
    if p.base_model.startswith(architecture.GATED):
        from huggingface_hub import get_token

        detail = f"a hub token for {p.base_model}, which is gated: accept its licence, HF_TOKEN"
        return _item("base model", get_token() is not None, detail)
    return Item("base model", UNKNOWN, f"{p.base_model} will be downloaded; the hub is not called")


def _servers(p: Params) -> list[tuple[str, str, str, str | None, str | None]]:
    """(role, provider, model, address, key) of every language model that is asked."""
    found: list[tuple[str, str, str, str | None, str | None]] = []
    if p.fact_source == "generator":
        found.append(
            ("generator", p.generator_provider, p.generator_model, p.generator_base_url,
             p.generator_api_key)
        )  # fmt: skip
        if p.dataset_judge_model is not None:
            found.append(
                ("data set judge", p.dataset_judge_provider, p.dataset_judge_model,
                 p.dataset_judge_base_url, p.dataset_judge_api_key)
            )  # fmt: skip
    if p.provider in ("ollama", "openai"):
        model = "" if p.base_source == "export" else str(p.ollama_base_model)
        found.append(("answers", p.provider, model, p.base_url, p.api_key))
    for judge in panel.members(p):
        if judge.provider != panel.REFERENCE:
            key = p.judge_api_key or panel.USUAL_KEY[judge.provider]
            found.append(("judge", judge.provider, judge.model, p.judge_base_url, key))
    return found


def _server(role: str, provider: str, model: str, url: str | None, key: str | None) -> list[Item]:
    if provider == "ollama":
        return _ollama(role, model, url)
    hosted = url is None
    found = []
    if not hosted:
        found.append(_item(f"{role}: server", _answers(str(url)), f"a server at {_bare(str(url))}"))
    names = re.findall(r"\$\{(\w+)\}", key or "")
    if hosted:
        absent = [name for name in names if not os.environ.get(name)]
        found.append(_item(f"{role}: key", not absent, f"{', '.join(names)} for {model}"))
        found.append(Item(f"{role}: credits", UNKNOWN, f"{provider} does not say; see its console"))
    return found


def _ollama(role: str, model: str, url: str | None) -> list[Item]:
    from cutoff.engines import ollama_api

    version = ollama_api.version(url)
    if version is None:
        detail = "Ollama does not answer: start it with `ollama serve`"
        detail += f", then `ollama pull {model}`" if model else ""
        return [Item(f"{role}: server", MISSING, detail)]
    found = [Item(f"{role}: server", READY, f"Ollama {version}")]
    if model:
        there = any(name in (model, f"{model}:latest") for name in ollama_api.models(url))
        found.append(
            _item(f"{role}: model", there, model + ("" if there else ": `ollama pull` it"))
        )
    return found


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), timeout=SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _bare(url: str) -> str:
    """An address without what may be a password in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}"


def _item(name: str, there: bool, detail: str) -> Item:
    return Item(name, READY if there else MISSING, detail)
