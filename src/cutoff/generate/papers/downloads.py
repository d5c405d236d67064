"""HTTP as arXiv asks for it: one request at a time, a pause between any two, a contact.

A busy server (429, 503) is obeyed: the wait it names in ``Retry-After`` is kept.
"""

import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from cutoff.errors import CutoffError
from cutoff.generate.papers.sources import Rejected

PAUSE_SECONDS = 3.0
LONGEST_WAIT_SECONDS = 600.0  # a server that asks for more is left alone
TRIES = 4
BUSY = (429, 500, 502, 503, 504)
SERVER_TROUBLE = ("connection lost", "HTTP 403", *(f"HTTP {status}" for status in BUSY))
MOST_FAILURES = 6  # downloads in a row
TIMEOUT = (20.0, 60.0)  # seconds to connect, and between two pieces of an answer
MAX_DOWNLOAD_SECONDS = 600.0
CONTACT = re.compile(r"[^@\s<>()\"]+@[^@\s<>()\"]+\.[^@\s<>()\"]+")
BROKEN = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


def check_contact(contact: str | None) -> str:
    """The address if it can be one; arXiv asks programs to say whom they work for."""
    if contact is None:
        raise CutoffError(
            "paper_source = arxiv needs arxiv_contact: your e-mail address, which is sent along "
            "with every request as arXiv asks (make arxiv_contact=me@example.org ...)."
        )
    if not CONTACT.fullmatch(contact):
        raise CutoffError(f"arxiv_contact = {contact!r} must be an e-mail address.")
    return contact


class PoliteSession(requests.Session):
    """A session that waits between requests and tries again where that can help.

    ``clock`` and ``sleep`` are those of the ``time`` module; tests bring their own.
    """

    def __init__(
        self,
        contact: str,
        pause_seconds: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self.agent = f"cutoff/0.1 (research; mailto:{contact})"
        self.contact = contact
        self.pause_seconds = pause_seconds
        self.clock = clock
        self.sleep = sleep
        self._last: float | None = None
        self._failures = 0  # downloads in a row

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """``Session.send`` after the pause; repeated while the server is busy or cuts off."""
        request.headers["User-Agent"] = self.agent
        request.headers["From"] = self.contact
        options["timeout"] = options.get("timeout") or TIMEOUT
        for attempt in range(TRIES):
            self._pause()
            try:
                response = super().send(request, **options)
            except BROKEN:
                if attempt == TRIES - 1:
                    raise
                continue
            finally:
                self._last = self.clock()
            if response.status_code not in BUSY or attempt == TRIES - 1:
                return response
            self.sleep(self._wanted_wait(response, attempt))
            response.close()
        raise AssertionError("every try returns or raises")

    def _pause(self) -> None:
        if self._last is not None:
            rest = self.pause_seconds - (self.clock() - self._last)
            if rest > 0:
                self.sleep(rest)

    def _wanted_wait(self, response: requests.Response, attempt: int) -> float:
        """Seconds to wait, by ``Retry-After`` (seconds or a date), else growing ones."""
        named = response.headers.get("Retry-After", "").strip()
        wait = self.pause_seconds * 2**attempt
        if named.isdecimal():
            wait = max(wait, float(named))
        elif named:
            try:
                at = parsedate_to_datetime(named).timestamp()
                wait = max(wait, at - time.time())
            except ValueError:
                pass  # neither a number nor a date: as if it were not there
        if wait > LONGEST_WAIT_SECONDS:
            raise CutoffError(
                f"{urlsplit(response.url).hostname} asks to wait {wait / 60:.0f} minutes; "
                "run again then, what was downloaded is kept."
            )
        return wait

    def fetch(self, address: str, content_type: str, max_bytes: int) -> bytes:
        """The content at ``address``; raises ``Rejected`` if it cannot be had or is another.

        Raises ``CutoffError`` after ``MOST_FAILURES`` downloads in a row that a healthy server
        would have answered.
        """
        try:
            content = self._fetch(address, content_type, max_bytes)
        except Rejected as error:
            self._failures += 1 if error.reason in SERVER_TROUBLE else -self._failures
            if self._failures >= MOST_FAILURES:
                raise CutoffError(
                    f"{urlsplit(address).hostname} failed {self._failures} times in a row (last: "
                    f"{error}); run again later, what was downloaded is kept."
                ) from None
            raise
        self._failures = 0
        return content

    def _fetch(self, address: str, content_type: str, max_bytes: int) -> bytes:
        """``fetch``; a body that breaks off is asked for again, from its beginning."""
        for attempt in range(TRIES):
            try:
                with self.get(address, stream=True) as response:
                    return self._content(response, address, content_type, max_bytes)
            except BROKEN as error:
                if attempt == TRIES - 1 or isinstance(error, requests.exceptions.ConnectTimeout):
                    name = type(error).__name__
                    raise Rejected("download", "connection lost", name) from None
            except requests.exceptions.RequestException as error:
                raise Rejected("download", "failed", f"{type(error).__name__}") from None
        raise AssertionError("every try returns or raises")

    def _content(
        self, response: requests.Response, address: str, content_type: str, max_bytes: int
    ) -> bytes:
        if response.status_code in (404, 410):
            raise Rejected("download", "no such file", f"HTTP {response.status_code}")
        if response.status_code != 200:
            raise Rejected("download", f"HTTP {response.status_code}", address)
        if urlsplit(response.url).hostname != urlsplit(address).hostname:
            raise Rejected(
                "download", "sent to another server", str(urlsplit(response.url).hostname)
            )
        given = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if given != content_type:
            raise Rejected("download", "another type of file", f"{given}, not {content_type}")
        if int(response.headers.get("Content-Length") or 0) > max_bytes:
            raise Rejected("download", "too large", f"over {max_bytes / 1e6:.0f} MB")
        content = bytearray()
        started = self.clock()
        for piece in response.iter_content(65536):  # unpacked: a bomb is counted as it grows
            content += piece
            if len(content) > max_bytes:
                raise Rejected("download", "too large", f"over {max_bytes / 1e6:.0f} MB")
            if self.clock() - started > MAX_DOWNLOAD_SECONDS:
                raise Rejected("download", "too slow", address)
        return bytes(content)
