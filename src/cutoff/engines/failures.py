"""What can go wrong between here and a model server: worth another try, or a sentence.

Every engine turns its client's exceptions into one of the two, so that all of them wait,
retry and explain themselves alike.
"""

import email.utils
import json
import re
import time
from dataclasses import dataclass, field

from cutoff.errors import CutoffError

# Besides these every 5xx is worth another try (529 is Anthropic's "overloaded").
TRANSIENT_STATUS = frozenset({408, 425, 429})
OVERFLOW = re.compile(r"context[ _](length|size|window)|(prompt|input) is too long", re.I)
MAX_WORDS = 300  # of a server's own message that are shown


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
    """A try that failed for a reason that may be gone next time.

    ``wanted_seconds`` is the pause that the server asks for, ``remedy`` what a person can
    do if it never works.
    """

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


def overflow(key: str, num_ctx: int, max_new_tokens: int, n_tokens: int | None = None) -> Overflow:
    """The error that names the request ``key``; ``n_tokens`` of its prompt where known."""
    length = "is too long" if n_tokens is None else f"has {n_tokens} tokens"
    return Overflow(
        f"The prompt of {key} {length}; with {max_new_tokens} for the answer it does not fit "
        f"num_ctx = {num_ctx}. Raise num_ctx, or lower top_k or passage_tokens."
    )


def refusal(
    status: int, words: str, server: Server, key: str, retry_after: str | None = None
) -> Exception:
    """The exception to raise for an HTTP status that is no success.

    ``words`` is the server's own message, ``key`` names the request.
    """
    shown = plain(words, server.secret)
    trouble = f"HTTP {status}: {shown}"
    where = server.where
    if status in TRANSIENT_STATUS or status >= 500:
        return Transient(trouble, seconds_until(retry_after))
    if status in (401, 403):
        return CutoffError(
            f"{where} refused the API key; check the key and what it may use ({key}: {trouble})."
        )
    if status == 404:
        return CutoffError(
            f"{where} does not know the model {server.model!r}; {server.missing} ({trouble})."
        )
    return Refused(f"{where} refused the request ({key}: {trouble}).", shown)


def plain(words: str, secret: str = "") -> str:
    """A server's message on one line, at most 300 characters, without the API key."""
    text = " ".join(words.split())
    return (text.replace(secret, "***") if secret else text)[:MAX_WORDS]


def error_text(body: str) -> str:
    """The message inside a JSON error body, however it is wrapped; else the body itself.

    ``{"error": "text"}``, ``{"error": {"message": "text"}}``, and Ollama's form of passing
    on llama.cpp's error: such JSON as the text of another.
    """
    for _ in range(3):
        try:
            content = json.loads(body)
        except ValueError:
            return body
        inner = content.get("error", content) if isinstance(content, dict) else None
        if isinstance(inner, dict):
            inner = inner.get("message")
        if not isinstance(inner, str):
            return body
        body = inner
    return body


def seconds_until(retry_after: str | None) -> float:
    """Seconds that a ``Retry-After`` header asks for, in either of its two forms; 0 if none."""
    if not retry_after:
        return 0.0
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0
