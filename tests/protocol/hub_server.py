"""A loopback server that speaks as much of the Hugging Face hub as a model download needs.

The addresses and headers are those of the hub's public API: `/api/models/<id>/revision/<rev>`
and `/tree/<commit>`, `/<id>/resolve/<commit>/<file>` with `X-Repo-Commit` and `ETag`, and
errors told apart by `X-Error-Code`.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Offers the files of ``folder`` as the model ``name``; ``gated`` asks for ``token``."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.gated = False
        self.token = "hf_token_of_the_test"
        self.served: list[str] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            api, plain = f"api/models/{hub.name}", f"{hub.name}/resolve/"
            if not path.startswith((api, plain)):
                return self.refuse(404, "RepoNotFound")
            if hub.gated and self.headers["Authorization"] != f"Bearer {hub.token}":
                return self.refuse(401 if api in path else 403, "GatedRepo")
            if path.startswith(plain):
                commit, _, name = path.removeprefix(plain).partition("/")
                return self.send_file(hub.folder / name, commit)
            action = path.removeprefix(api).strip("/").split("/")
            if action[-1] not in ("main", COMMIT):
                return self.refuse(404, "RevisionNotFound")
            files = sorted(f for f in hub.folder.iterdir() if f.is_file())
            if action[0] == "tree":
                return self.send([self.entry(f) for f in files])
            siblings = [{"rfilename": f.name} for f in files]
            return self.send({"id": hub.name, "sha": COMMIT, "siblings": siblings, "tags": []})

        def entry(self, file: Path) -> dict[str, Any]:
            oid = hashlib.sha1(file.read_bytes()).hexdigest()
            return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": oid}

        def send_file(self, file: Path, commit: str) -> None:
            if not file.is_file():
                return self.refuse(404, "EntryNotFound")
            data = file.read_bytes()
            if self.command == "GET":
                hub.served.append(file.name)
            etag = f'"{hashlib.sha1(data).hexdigest()}"'
            return self.reply(200, data, X_Repo_Commit=commit, ETag=etag)

        def refuse(self, status: int, code: str) -> None:
            self.reply(status, b"{}", X_Error_Code=code, X_Error_Message=code)

        def send(self, content: Any) -> None:
            self.reply(200, json.dumps(content).encode(), Content_Type="application/json")

        def reply(self, status: int, data: bytes, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
