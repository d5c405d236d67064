"""What the emulated model servers share: HTTP on the loopback, faults, one real llama.cpp.

A server here speaks a documented protocol towards the client under test and lets
llama.cpp generate. ``faults`` are used up one per answer, ``always`` comes with every one.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cutoff.engines import llama_cpp

THINKING_TOKENS = 8


class Handler(BaseHTTPRequestHandler):
    """Adds JSON and streams to the standard library's handler; ``owner`` is the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body that waits for its header's receipt costs 40 ms
    owner: "Loopback"

    def setup(self) -> None:
        super().setup()
        with self.owner.lock:
            self.owner.connections += 1
            self.owner.open.append(self.connection)

    def body(self) -> Any:
        """The JSON of the request."""
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")

    def reply(self, content: Any, status: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def stream(self, lines: Iterable[bytes]) -> None:
        """A reply in chunks, one per line."""
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def error(self, words: str, status: int) -> None:
        """An error in the protocol's own form."""
        self.reply(self.owner.error_body(words, status), status)

    def log_message(self, *_: object) -> None:
        pass


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # with the default of 5 a burst of connections waits for seconds


Fault = Callable[[Handler], None]


class Loopback:
    """Counts what it is asked; ``answers`` are the bodies of the requests for an answer."""

    handler: type[Handler]

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answers: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.open: list[socket.socket] = []
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.engines = ExitStack()
        own = type("OwnHandler", (self.handler,), {"owner": self})
        self.http = Listener(("127.0.0.1", 0), own)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        self.stop()
        self.engines.close()

    def stop(self) -> None:
        """Nobody answers any more, on kept-alive connections neither."""
        self.http.shutdown()
        self.http.server_close()
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def error_body(self, words: str, status: int) -> Any:
        raise NotImplementedError

    def disturbed(self, handler: Handler, body: dict[str, Any]) -> bool:
        """Note a request for an answer; ``True`` if a fault was its reply."""
        with self.lock:
            self.answers.append(body)
            self.headers.append({k.lower(): v for k, v in handler.headers.items()})
            fault = self.faults.pop(0) if self.faults else self.always
        if fault:
            fault(handler)
        return fault is not None

    def load(self, gguf: Path, num_ctx: int, lora: Path | None = None) -> "Generator":
        """A llama.cpp that serves these weights until the server is closed."""
        # As many HTTP threads as tests have requests in flight: the last would wait for 5 seconds.
        serving = llama_cpp.serve(gguf, num_ctx, parallel=8, lora=lora, threads=1)
        return Generator(self.engines.enter_context(serving))


class Generator:
    """Prompts in, text out, by llama.cpp's own protocol."""

    def __init__(self, endpoint: llama_cpp.Endpoint) -> None:
        self.post = endpoint.post

    def render(self, messages: list[dict[str, str]]) -> str:
        """The prompt by the chat template inside the GGUF file."""
        return self.post("/apply-template", messages=messages)["prompt"]

    def tokens(self, prompt: str) -> list[int]:
        body = {"content": prompt, "add_special": True, "parse_special": True}
        return self.post("/tokenize", **body)["tokens"]

    def generate(self, tokens: list[int], n_predict: int, **options: Any) -> dict[str, Any]:
        """``content``, ``tokens_predicted`` and ``stop_type`` (eos, word or limit)."""
        options |= {"n_predict": n_predict, "cache_prompt": False}
        return self.post("/completion", prompt=tokens, **options)


def think(generator: Generator, prompt: str, **options: Any) -> dict[str, Any]:
    """What the model writes after ``<think>``."""
    return generator.generate(generator.tokens(prompt + "<think>"), THINKING_TOKENS, **options)


def status(code: int, words: str = "trouble of the test", **headers: str) -> Fault:
    return lambda handler: handler.reply(handler.owner.error_body(words, code), code, **headers)


def cut(handler: Handler) -> None:
    """The connection ends before any reply."""
    handler.close_connection = True
    handler.connection.close()


def cut_in_the_body(handler: Handler) -> None:
    """The connection ends in the middle of the reply."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"model": "m", "message"')
    handler.wfile.flush()
    cut(handler)


def torn_json(handler: Handler) -> None:
    """A complete reply that holds half of the JSON."""
    handler.reply(b'{"model": "m", "choi')


def silent(until: threading.Event) -> Fault:
    """No reply before ``until``."""

    def wait(handler: Handler) -> None:
        until.wait(60)
        cut(handler)

    return wait
