"""What must be at hand before a run starts. Nothing is downloaded and no key is shown.

Only servers of one's own are asked, each for a moment; a hosted service is never called.
"""

import os
import re
import shutil
import socket
import subprocess
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


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine: its name as the driver reports it, and its free memory in bytes."""

    name: str
    memory: float


@dataclass(frozen=True)
class Server:
    """A language model that a run asks: in which role, whose, where, with which key."""

    role: str
    provider: str
    model: str
    base_url: str | None
    api_key: str | None


def gpus() -> list[Gpu]:
    """The GPUs of this machine, by their driver; empty where there is none or it is silent."""
    command = ["nvidia-smi", "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    if not shutil.which(command[0]):
        return []
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line.rpartition(",") for line in answer.stdout.splitlines()]
    return [
        Gpu(name.strip(), float(mebibytes) * 2**20)
        for name, _, mebibytes in lines
        if mebibytes.strip().isdigit()
    ]


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


def _servers(p: Params) -> list[Server]:
    """Every language model that the run asks over a protocol."""
    found = []
    if p.fact_source == "generator":
        found.append(Server("generator", p.generator_provider, p.generator_model,
                            p.generator_base_url, p.generator_api_key))  # fmt: skip
        if p.dataset_judge_model is not None:
            found.append(Server("data set judge", p.dataset_judge_provider, p.dataset_judge_model,
                                p.dataset_judge_base_url, p.dataset_judge_api_key))  # fmt: skip
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
    absent = [name for name in names if not os.environ.get(name)]
    credit = f"{server.provider} does not say; see its console"
    return [
        _item(f"{server.role}: key", not absent, f"{', '.join(names)} for {server.model}"),
        Item(f"{server.role}: credits", UNKNOWN, credit),
    ]


def _ollama(server: Server) -> list[Item]:
    from cutoff.engines import ollama_api

    role, model, url = server.role, server.model, server.base_url
    version = ollama_api.version(url)
    if version is None:
        detail = "Ollama does not answer: start it with `ollama serve`"
        detail += f", then `ollama pull {model}`" if model else ""
        return [Item(f"{role}: server", MISSING, detail)]
    found = [Item(f"{role}: server", READY, f"Ollama {version}")]
    if model:
        there = any(name in (model, f"{model}:latest") for name in ollama_api.models(url))
        detail = model + ("" if there else ": `ollama pull` it")
        found.append(_item(f"{role}: model", there, detail))
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
