"""HTTP as arXiv asks for it: one request at a time, a pause between any two, a contact.

A busy server (429, 503) is obeyed: the wait it names in ``Retry-After`` is kept.
"""

import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from cutoff.errors import CutoffError
from cutoff.generate.reading.document import MAX_BYTES, Rejected

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
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self.headers["From"] = contact
        self.agent = f"cutoff/0.1 (research; mailto:{contact})"
        self.clock = clock
        self.sleep = sleep
        self._last = -PAUSE_SECONDS + clock()  # when the last request ended
        self._failures = 0  # downloads in a row

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """``Session.send`` after the pause, with the whole content; repeated while the server is
        busy or cuts off. Raises ``Rejected`` for a content that is too large or too slow."""
        request.headers["User-Agent"] = self.agent
        options |= {"timeout": options.get("timeout") or TIMEOUT, "stream": True}
        for attempt in range(TRIES):
            is_last = attempt == TRIES - 1
            self.sleep_until(self._last + PAUSE_SECONDS)
            try:
                response = super().send(request, **options)
                if response.status_code not in BUSY or is_last:
                    self._read_content(response)
                    return response
            except BROKEN:
                if is_last:
                    raise
                continue
            finally:
                self._last = self.clock()
            response.close()
            self.sleep_until(self._last + _wanted_wait(response, attempt))
        raise AssertionError("every try returns or raises")

    def sleep_until(self, moment: float) -> None:
        """Wait until the clock shows ``moment``."""
        if (rest := moment - self.clock()) > 0:
            self.sleep(rest)

    def _read_content(self, response: requests.Response) -> None:
        """What ``response.content`` would read, within limits of size and time."""
        if response._content is not False:
            return  # read while redirects were followed
        too_large = Rejected("too large", f"over {MAX_BYTES / 1e6:.0f} MB", "download")
        if int(response.headers.get("Content-Length") or 0) > MAX_BYTES:
            raise too_large
        content = bytearray()
        started = self.clock()
        for piece in response.iter_content(65536):  # unpacked: a bomb is counted as it grows
            content += piece
            if len(content) > MAX_BYTES:
                raise too_large
            if self.clock() - started > MAX_DOWNLOAD_SECONDS:
                raise Rejected("too slow", response.url, "download")
        response._content = bytes(content)

    def fetch(self, address: str, content_type: str) -> bytes:
        """The content at ``address``; raises ``Rejected`` if it cannot be had or is another.

        Raises ``CutoffError`` after ``MOST_FAILURES`` downloads in a row that a healthy server
        would have answered.
        """
        try:
            content = _content(self.get(address), address, content_type)
        except (Rejected, requests.exceptions.RequestException) as error:
            rejected = error if isinstance(error, Rejected) else _lost(error)
            self._failures = self._failures + 1 if rejected.reason in SERVER_TROUBLE else 0
            if self._failures >= MOST_FAILURES:
                raise CutoffError(
                    f"{urlsplit(address).hostname} failed {self._failures} times in a row (last: "
                    f"{rejected}); run again later, what was downloaded is kept."
                ) from None
            raise rejected from None
        self._failures = 0
        return content


def _lost(error: requests.exceptions.RequestException) -> Rejected:
    reason = "connection lost" if isinstance(error, BROKEN) else "failed"
    return Rejected(reason, type(error).__name__, "download")


def _content(response: requests.Response, address: str, content_type: str) -> bytes:
    host = urlsplit(response.url).hostname
    given = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if response.status_code in (404, 410):
        raise Rejected("no such file", f"HTTP {response.status_code}", "download")
    if response.status_code != 200:
        raise Rejected(f"HTTP {response.status_code}", address, "download")
    if host != urlsplit(address).hostname:
        raise Rejected("sent to another server", str(host), "download")
    if given != content_type:
        raise Rejected("another type of file", f"{given}, not {content_type}", "download")
    return response.content


def _wanted_wait(response: requests.Response, attempt: int) -> float:
    """Seconds to wait, by ``Retry-After`` (seconds or a date), else growing ones."""
    wait = PAUSE_SECONDS * 2**attempt
    try:
        wait = max(wait, Retry().parse_retry_after(response.headers.get("Retry-After", "0")))
    except InvalidHeader:
        pass  # neither a number nor a date: as if it were not there
    if wait > LONGEST_WAIT_SECONDS:
        raise CutoffError(
            f"{urlsplit(response.url).hostname} asks to wait {wait / 60:.0f} minutes; "
            "run again then, what was downloaded is kept."
        )
    return wait
