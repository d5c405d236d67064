"""What all connections to model servers have in common."""

import ipaddress
import urllib.parse

from cutoff.errors import CutoffError

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
