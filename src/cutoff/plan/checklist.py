"""What must be at hand before a run starts. Nothing is downloaded and no key is shown.

Only servers of one's own are asked, each for a moment; a hosted service is never called.
"""

import os
import re
import socket
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cutoff import files, models
from cutoff.evaluate.judging import panel
from cutoff.export import families
from cutoff.params import Params

SECONDS = 2.0  # for a server to accept a connection
READY, MISSING, UNKNOWN = "ready", "missing", "unknown"
GATED = "meta-llama/"  # its pages ask for a licence, downloads for a token


class Item(NamedTuple):
    """``state``: ready, missing, or unknown (it cannot be told from here)."""

    name: str
    state: str
    detail: str


class Server(NamedTuple):
    """A language model that a run asks: in which role, whose, where, with which key."""

    role: str
    provider: str
    model: str
    base_url: str | None
    api_key: str | None


def items(p: Params) -> list[Item]:
    """Everything that the run will ask for, in the order in which it will."""
    found = [_base(p)]
    if p.paper_source == "folder":
        there = bool(p.papers_folder) and Path(str(p.papers_folder)).expanduser().is_dir()
        found.append(_item("your papers", there, f"papers_folder = {p.papers_folder}"))
    if p.paper_source == "arxiv":
        found.append(Item("arXiv", UNKNOWN, "needs the network; it is not called from here"))
    for server in _servers(p):
        found += _ollama(server) if server.provider == "ollama" else _chat_server(server)
    return found


def downloaded(name: str) -> bool:
    """Whether weights of the hub model ``name`` lie in the hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots"
    return any(folder.glob("*/*.safetensors")) or any(folder.glob("*/*.bin"))


def _base(p: Params) -> Item:
    name = p.base_model
    if folder := models.local_folder(p):
        config = folder / "config.json"
        if config.is_file() and (reason := families.why_not(files.read_json(config))):
            return Item("base model", MISSING, f"03 cannot export it: {reason}")
        there = any(folder.glob("*.safetensors"))
        return _item("base model", there, f"weights in the folder {folder.name}")
    if downloaded(name):
        return Item("base model", READY, f"{name} is in the hub's cache")
    if name.startswith(GATED):
        from huggingface_hub import get_token

        detail = f"a hub token for {name}, which is gated: accept its licence, HF_TOKEN"
        return _item("base model", get_token() is not None, detail)
    return Item("base model", UNKNOWN, f"{name} will be downloaded; the hub is not called")


def _servers(p: Params) -> list[Server]:
    """Every language model that the run asks over a protocol."""
    found = []
    for role, part, asked in (
        ("generator", "generator", p.fact_source == "generator"),
        ("data set judge", "dataset_judge", p.fact_source == "generator" and p.dataset_judge_model),
    ):
        if asked:
            names = (f"{part}_{name}" for name in ("provider", "model", "base_url", "api_key"))
            found.append(Server(role, *(getattr(p, name) for name in names)))
    if p.provider in ("ollama", "openai"):
        model = "" if p.base_source == "export" else str(p.ollama_base_model)
        found.append(Server("answers", p.provider, model, p.base_url, p.api_key))
    for judge in panel.members(p):
        if judge.provider != panel.REFERENCE:
            key = p.judge_api_key or panel.USUAL_KEY[judge.provider]
            found.append(Server("judge", judge.provider, judge.name, p.judge_base_url, key))
    return found


def _chat_server(server: Server) -> list[Item]:
    """Of a hosted service the key, of a server of one's own whether it accepts connections."""
    if server.base_url is not None:
        parts = urlsplit(server.base_url)
        bare = f"{parts.scheme}://{parts.hostname or ''}"  # without what may be a password in it
        return [_item(f"{server.role}: server", _answers(server.base_url), f"a server at {bare}")]
    names = re.findall(r"\$\{(\w+)\}", server.api_key or "")
    there = all(os.environ.get(name) for name in names)
    credit = f"{server.provider} does not say; see its console"
    return [
        _item(f"{server.role}: key", there, f"{', '.join(names)} for {server.model}"),
        Item(f"{server.role}: credits", UNKNOWN, credit),
    ]


def _ollama(server: Server) -> list[Item]:
    from cutoff.engines import ollama_api

    role, model, url = server.role, server.model, server.base_url
    version = ollama_api.version(url)
    if version is None:
        pull = f", then `ollama pull {model}`" if model else ""
        start = f"Ollama does not answer: start it with `ollama serve`{pull}"
        return [Item(f"{role}: server", MISSING, start)]
    found = [Item(f"{role}: server", READY, f"Ollama {version}")]
    if model:
        there = not {model, f"{model}:latest"}.isdisjoint(ollama_api.models(url))
        found.append(_item(f"{role}: model", there, f"`ollama pull {model}`"))
    return found


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), timeout=SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _item(name: str, there: bool, detail: str) -> Item:
    return Item(name, READY if there else MISSING, detail)
