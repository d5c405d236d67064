"""What can go wrong between here and a model server: worth another try, or a sentence.

Every engine turns its client's exceptions into one of the two, so that all of them wait,
retry and explain themselves alike.
"""

import ipaddress
import json
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType

from cutoff.errors import CutoffError

REQUEST_TIMEOUT_SECONDS = 600.0
# Besides these every 5xx is worth another try (529 is Anthropic's "overloaded").
TRANSIENT_STATUS = frozenset({408, 425, 429})
OVERFLOW = re.compile(r"context[ _](length|size|window)|(prompt|input) is too long", re.I)
MAX_WORDS = 300  # of a server's own message that are shown
PRIVATE_NAMES = re.compile(r"[^.]*|.*\.(?:local|localhost|internal|lan|home\.arpa)", re.I)


@dataclass(frozen=True)
class Server:
    """What the sentences on a server's failures say of it.

    ``missing`` is what to do if it lacks the ``model``, ``remedy`` if nobody answers;
    ``secret``, the API key, is blotted out of every message.
    """

    where: str
    model: str = ""
    missing: str = "check the model's name and the address"
    remedy: str = "Is the server running, and are base_url and the network right?"
    secret: str = field(default="", repr=False)


class Transient(Exception):
    """A try that failed for a reason that may be gone next time, after ``wanted_seconds`` if the
    server asks for a pause; ``remedy`` is what a person can do if it never works."""

    def __init__(
        self, trouble: str, wanted_seconds: float = 0.0, remedy: str = "Is it running?"
    ) -> None:
        super().__init__(trouble)
        self.wanted_seconds = wanted_seconds
        self.remedy = remedy


class Overflow(CutoffError):
    """A prompt that does not fit, with its answer, into the context."""


class Refused(CutoffError):
    """A request that the server will not have as it is; ``words`` is what it said."""

    def __init__(self, message: str, words: str) -> None:
        super().__init__(message)
        self.words = words


def overflow(key: str, num_ctx: int, length: str = "is too long", words: str = "") -> Overflow:
    """The error for the request ``key``; ``length`` of its prompt, ``words`` of the server."""
    said = f" (the server: {words})" if words else ""
    return Overflow(
        f"The prompt of {key} {length}; with its answer it does not fit num_ctx = {num_ctx}{said}. "
        "Raise num_ctx, or what the server was started with, or lower top_k or passage_tokens."
    )


def refusal(
    server: Server, key: str, num_ctx: int, status: int, body: str, wanted: str | None = None
) -> Exception:
    """The exception for an HTTP status that is no success. ``key`` names the request, ``wanted``
    is the header ``Retry-After``, in seconds."""
    words = error_text(body)
    shown, where = plain(words, server.secret), server.where
    trouble = f"HTTP {status}: {shown}"
    if status in (400, 413, 500) and OVERFLOW.search(words):
        return overflow(key, num_ctx, words=shown)
    if "insufficient_quota" in body:  # a 429 that no waiting ends
        return CutoffError(f"{where}: no credit left ({shown}).")
    if status in TRANSIENT_STATUS or status >= 500:
        seconds = re.fullmatch(r"\d+(\.\d+)?", wanted or "")
        return Transient(trouble, float(seconds[0]) if seconds else 0.0)
    if status in (401, 403):
        return CutoffError(
            f"{where} refused the API key; check the key and what it may use ({key}: {trouble})."
        )
    if status == 404:
        return CutoffError(
            f"{where} does not know the model {server.model!r}; {server.missing} ({trouble})."
        )
    return Refused(f"{where} refused the request ({key}: {trouble}).", shown)


@contextmanager
def explained(package: ModuleType, server: Server, key: str, num_ctx: int) -> Iterator[None]:
    """Turns exceptions of the client ``package`` (openai or anthropic) into one to retry or
    one sentence."""
    try:
        yield
        return
    except package.APIStatusError as error:
        reply = error.response
        wanted = reply.headers.get("retry-after")
        problem = refusal(server, key, num_ctx, error.status_code, reply.text, wanted)
    except package.APIConnectionError as error:  # timeouts too
        trouble = plain(str(error.__cause__ or error), server.secret)
        problem = Transient(trouble, remedy=server.remedy)
    except ValueError:
        problem = Transient("the reply is not whole JSON")
    raise problem from None


def plain(words: str, secret: str = "") -> str:
    """A server's message on one line, at most 300 characters, without the API key."""
    text = " ".join(words.split())
    return (text.replace(secret, "***") if secret else text)[:MAX_WORDS]


def error_text(body: str) -> str:
    """The message inside a JSON error body, else the body itself: ``{"error": "text"}``,
    ``{"error": {"message": "text"}}``, and in Ollama's case such JSON as the text of another."""
    inner: object = body
    for _ in range(3):
        try:
            inner = json.loads(body)
        except ValueError:
            break
        for name in ("error", "message"):
            inner = inner.get(name, inner) if isinstance(inner, dict) else inner
        if not isinstance(inner, str):
            break
        body = inner
    return body


def is_private(url: str) -> bool:
    """Whether ``url`` is on this machine or in a private network: there no key is asked for, and
    a proxy of the environment has no business."""
    host = urllib.parse.urlsplit(url if "//" in url else f"//{url}").hostname or "localhost"
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return PRIVATE_NAMES.fullmatch(host) is not None
