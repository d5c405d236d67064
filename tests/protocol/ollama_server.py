"""A loopback server that speaks Ollama's protocol and serves what is created in it.

From Ollama's public documentation (docs/api.md: fields of requests and replies, durations in
nanoseconds, newline-separated JSON in streams, blobs by digest) and its public issues: the
fields ``truncate`` and ``shift`` of ``/api/chat`` and the 400 they lead to (releases
from 0.12.6; the wording here is that of 0.34), a prompt cut to half of ``num_ctx`` plus two
where they are true, and an error inside a stream that began with status 200.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import go_template
from loopback import Generator, Handler, Loopback, think


@dataclass
class Model:
    """What ``/api/create`` was given; the files are blobs."""

    weights: Path
    lora: Path | None = None
    template: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        parts = [str(self.weights), str(self.lora), self.template, self.parameters]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class OllamaHandler(Handler):
    owner: "OllamaServer"

    def do_HEAD(self) -> None:
        digest = self.path.rpartition("/")[2]
        self.reply(b"", 200 if (self.owner.blobs / digest).is_file() else 404)

    def do_GET(self) -> None:
        owner = self.owner
        if self.path == "/api/version":
            return self.reply({"version": owner.version})
        if self.path == "/api/tags":
            return self.reply({"models": [{"name": n, "model": n} for n in owner.models]})
        return self.error("404 page not found", 404)

    def do_POST(self) -> None:
        if self.path.startswith("/api/blobs/"):
            return self.receive(self.path.rpartition("/")[2])
        body = self.body()
        name = full_name(body.get("model", ""))
        if self.path == "/api/chat":
            return self.chat(name, body)
        if self.path == "/api/create":
            return self.progress(self.owner.create(name, body))
        if self.path == "/api/pull":
            return self.progress(self.owner.pull(name))
        if self.path == "/api/show" and name in self.owner.models:
            return self.reply(self.owner.shown(name))
        return self.error(f"model '{body.get('model')}' not found", 404)

    def receive(self, digest: str) -> None:
        """A file that is sent in chunks or whole."""
        target = self.owner.blobs / digest
        content = b"".join(self.sent())
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if found != digest:
            return self.error(f'digest mismatch, expected "{digest}", got "{found}"', 400)
        target.write_bytes(content)
        self.owner.uploads.append(digest)
        return self.reply(b"", 201)

    def sent(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") != "chunked":
            yield self.rfile.read(int(self.headers["Content-Length"]))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def progress(self, steps: Iterator[dict[str, Any]]) -> None:
        """Steps as a stream, which an error may end."""
        self.stream(json.dumps(step).encode() + b"\n" for step in steps)

    def chat(self, name: str, body: dict[str, Any]) -> None:
        owner = self.owner
        if owner.disturbed(self, body):
            return None
        if name not in owner.models:
            return self.error(f"model '{body['model']}' not found", 404)
        if body.get("think") and not owner.thinks:
            return self.error(f'"{body["model"]}" does not support thinking', 400)
        reply = owner.answer(name, body)
        return self.error(reply["error"], 400) if "error" in reply else self.reply(reply)


class OllamaServer(Loopback):
    """``models`` by full name, ``library`` of what can be pulled, ``uploads`` in their order.

    ``knows_truncate`` is false for releases before 0.12.6; ``thinks`` makes every model one
    that can think. Faults disturb ``/api/chat`` only.
    """

    handler = OllamaHandler

    def __init__(self, folder: Path) -> None:
        self.blobs = folder
        self.models: dict[str, Model] = {}
        self.library: dict[str, Model] = {}
        self.loaded: dict[str, tuple[int, Generator]] = {}
        self.uploads: list[str] = []
        self.version = "0.34.0"
        self.knows_truncate = True
        self.thinks = False
        super().__init__()

    def error_body(self, words: str, status: int) -> Any:
        return {"error": words}

    def create(self, name: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        paths = {}
        for kind in ("files", "adapters"):
            for file, digest in (body.get(kind) or {}).items():
                paths[kind] = self.blobs / digest
                if not paths[kind].is_file() or paths[kind].open("rb").read(4) != b"GGUF":
                    yield {"error": f"no matching GGUF for {file}"}
                    return
        yield {"status": "parsing GGUF"}
        self.loaded.pop(name, None)
        template, parameters = body.get("template") or "", body.get("parameters") or {}
        self.models[name] = Model(paths["files"], paths.get("adapters"), template, parameters)
        yield {"status": "success"}

    def pull(self, name: str) -> Iterator[dict[str, Any]]:
        yield {"status": "pulling manifest"}
        if name not in self.library:
            yield {"error": "pull model manifest: file does not exist"}
            return
        model, total = self.library[name], 1000
        for share in (0, 500, total):
            yield {"status": "pulling", "digest": model.digest, "total": total, "completed": share}
        self.models[name] = model
        yield {"status": "success"}

    def shown(self, name: str) -> dict[str, Any]:
        model = self.models[name]
        lines = [
            f"{key:<30} {json.dumps(value) if isinstance(value, str) else f'{value:g}'}"
            for key, values in model.parameters.items()
            for value in (values if isinstance(values, list) else [values])
        ]
        adapter = f"ADAPTER {model.lora}\n" if model.lora else ""
        return {
            "modelfile": f'FROM {model.weights}\n{adapter}TEMPLATE """{model.template}"""\n',
            "parameters": "\n".join(lines),
            "template": model.template,
            "details": {},
            "model_info": {},
            "capabilities": ["completion", *(["thinking"] if self.thinks else [])],
        }

    def answer(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """The reply to a chat, or ``{"error": ...}``."""
        model = self.models[name]
        options = {"num_ctx": 4096, **model.parameters, **body.get("options", {})}
        num_ctx = options["num_ctx"]
        with self.lock:  # one model is loaded at a time, and again when num_ctx changes
            if self.loaded.get(name, (0,))[0] != num_ctx:
                self.loaded[name] = (num_ctx, self.load(model.weights, num_ctx, model.lora))
            generator = self.loaded[name][1]
        prompt = (
            go_template.render(model.template, body["messages"])
            if model.template
            else generator.render(body["messages"])
        )
        tokens = generator.tokens(prompt)
        if len(tokens) >= num_ctx:
            if self.knows_truncate and not (body.get("truncate", True) and body.get("shift", True)):
                return {"error": too_long(len(tokens), num_ctx)}
            kept = num_ctx // 2 + 2
            tokens = tokens[:4] + tokens[len(tokens) - kept + 4 :]
        made, thinking = self.generate(generator, tokens, prompt, options, body)
        message = {"role": "assistant", "content": made["content"]}
        if thinking:
            message["thinking"] = thinking["content"]
        return {
            "model": body["model"],
            "created_at": now(),
            "message": message,
            "done": True,
            "done_reason": "length" if made["stop_type"] == "limit" else "stop",
            "prompt_eval_count": len(tokens),
            "eval_count": sum(part["tokens_predicted"] for part in (made, thinking) if part),
        }

    def generate(
        self, generator: Generator, tokens: list[int], prompt: str, options: Any, body: Any
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """The answer and, where asked for, what the model writes after ``<think>``."""
        names = "temperature top_p top_k min_p repeat_penalty repeat_last_n seed stop".split()
        chosen: dict[str, Any] = {"top_k": 40, "repeat_penalty": 1.0}
        chosen |= {name: options[name] for name in names if name in options}
        thinking = think(generator, prompt, **chosen) if body.get("think") else None
        if body.get("format"):
            chosen["json_schema"] = body["format"]
        room = options["num_ctx"] - len(tokens)  # llama.cpp rounds its context up
        limit = min(options.get("num_predict", room), room)
        return generator.generate(tokens, limit, **chosen), thinking


def full_name(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def too_long(n_tokens: int, num_ctx: int) -> str:
    """llama.cpp's error as Ollama passes it on: JSON as the text of JSON."""
    message = (
        f"request ({n_tokens} tokens) exceeds the available context size ({num_ctx} tokens), "
        "try increasing it"
    )
    error = {"code": 400, "message": message, "type": "exceed_context_size_error"}
    return json.dumps({"error": {**error, "n_prompt_tokens": n_tokens, "n_ctx": num_ctx}})
