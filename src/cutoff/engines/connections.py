"""What all connections to model servers have in common."""

import ipaddress
import threading
import urllib.parse
from collections.abc import Callable

from cutoff.errors import CutoffError
from cutoff.prompts import Message

REQUEST_TIMEOUT_SECONDS = 600.0
MOST_CONNECTIONS = 256  # kept alive: the highest ``parallel``


def is_loopback(url: str) -> bool:
    """Whether ``url`` is on this machine, where a proxy of the environment has no business."""
    host = urllib.parse.urlsplit(url if "//" in url else f"//{url}").hostname or "localhost"
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_key(api_key: str, who: str, variable: str) -> str:
    """The API key itself, or an error that does not show it."""
    if not api_key.strip():
        raise CutoffError(f"{who} needs an API key: set the environment variable {variable}.")
    key = api_key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise CutoffError(
            f"The API key for {who} holds a blank or a character that no key has; "
            f"copy it again into {variable}."
        )
    return key


def in_turn(count_tokens: Callable[[list[Message]], int]) -> Callable[[list[Message]], int]:
    """``count_tokens`` for several threads: a tokenizer may refuse to work for two at once."""
    lock = threading.Lock()

    def count(messages: list[Message]) -> int:
        with lock:
            return count_tokens(messages)

    return count
