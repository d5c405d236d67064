"""Many small tasks for a language model: asked, read, and asked again where a reply is unreadable.

    for answer in asking.ask(requests, asking.Tolerant(engine), read, options, parallel, "judging"):
        ...

Every task costs itself only: what cannot be read in ``ATTEMPTS`` replies, or what the server
refuses, is an answer without a value. When a server refuses one request after another, it is the
server, and the run stops.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from cutoff.engines import chat, failures

ATTEMPTS = 3  # replies per task until one can be read
REFUSALS_IN_A_ROW = 10  # then it is the server or the model, not what was asked
NOT_READABLE, REFUSED = "not readable", "refused"
NOT_ANSWERED = "not answered"  # finish_reason of what ``Tolerant`` swallowed
LONGEST_SHOWN = 300  # characters of a reply that could not be read
AGAIN = (
    "\n\nNote: an earlier reply could not be read ({trouble}). Reply with the JSON object alone."
)


@dataclass(frozen=True)
class Form:
    """What a reply must look like: its JSON ``schema``, and ``read``, which turns a reply into a
    value or raises ``ValueError``."""

    schema: dict[str, Any]
    read: Callable[[str], Any]


@dataclass(frozen=True)
class Answer:
    """What came of a task. ``value`` is ``None`` where no reply could be read; ``rule`` says
    then why in two words and ``detail`` in full. Tokens and seconds are those of all attempts.
    """

    key: str
    value: Any
    rule: str
    detail: str
    attempts: int
    completion_tokens: int
    seconds: float


class Tolerant:
    """An engine whose refusals cost one request each, until too many come in a row."""

    def __init__(self, engine: chat.Engine) -> None:
        self.where = engine.where
        self._engine = engine
        self._lock = threading.Lock()
        self._in_a_row = 0

    def count_prompt_tokens(self, request: chat.Request) -> int | None:
        return self._engine.count_prompt_tokens(request)

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        """The engine's reply; after a refusal its reason, with the finish ``NOT_ANSWERED``."""
        try:
            reply = self._engine.ask(request, options)
        except (failures.Refused, failures.Overflow) as refusal:
            with self._lock:
                self._in_a_row += 1
                if self._in_a_row >= REFUSALS_IN_A_ROW:
                    raise
            return chat.Reply(str(refusal), 0, 0, NOT_ANSWERED)
        with self._lock:
            self._in_a_row = 0
        return reply


def ask(
    requests: Sequence[chat.Request],
    engine: chat.Engine,
    read: Callable[[str], Any],
    options: chat.Options,
    parallel: int,
    progress: str,
) -> Generator[Answer, None, None]:
    """Put every task to ``engine``; yield an answer per task as it comes, failures last.

    What ``read`` (see ``Form``) cannot read is asked again, with a note and another seed. Raises
    ``CutoffError`` when the server cannot be used, ``DeadlineReached`` when time is up.
    """
    tokens: Counter[str] = Counter()
    seconds: dict[str, float] = {request.key: 0.0 for request in requests}
    failed: dict[str, Answer] = {}
    refused: set[str] = set()

    def answer(key: str, value: Any, attempts: int, rule: str = "", detail: str = "") -> Answer:
        spent = tokens[key], round(seconds[key], 4)
        return Answer(key, value, rule, detail, attempts, *spent)

    waiting = list(requests)
    for attempt in range(1, ATTEMPTS + 1):
        if not waiting:
            break
        sent = [_with_note(request, failed.get(request.key)) for request in waiting]
        settings = replace(options, seed=options.seed + attempt - 1)
        label = progress if attempt == 1 else f"{progress}, attempt {attempt}"
        with closing(chat.complete(sent, engine, settings, parallel, label)) as replies:
            for done in replies:
                tokens[done.key] += done.completion_tokens
                seconds[done.key] += done.latency_seconds
                if done.finish_reason == NOT_ANSWERED:
                    failed[done.key] = answer(done.key, None, attempt, REFUSED, done.text)
                    refused.add(done.key)
                    continue
                try:
                    value = read(done.text)
                except ValueError as error:
                    failed[done.key] = answer(done.key, None, attempt, *_why(done, error))
                    continue
                failed.pop(done.key, None)
                yield answer(done.key, value, attempt)
        waiting = [r for r in waiting if r.key in failed and r.key not in refused]
    # Last, so that a run that is stopped before asks these again.
    yield from (failed[request.key] for request in requests if request.key in failed)


def only_object(text: str, field: str) -> dict[str, Any]:
    """The one JSON object with ``field`` in a reply, whatever stands around it.

    Thoughts before ``</think>`` do not count. Raises ``ValueError`` for none, for several that
    differ, and for a field that stands twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a field stands twice in the reply")
        return dict(pairs)

    text = text.rpartition("</think>")[2]
    decoder = json.JSONDecoder(object_pairs_hook=once)
    found, place = [], text.find("{")
    while place >= 0:
        try:
            item, end = decoder.raw_decode(text, place)
            found += [item] if field in item else []
        except json.JSONDecodeError:
            end = place + 1
        except RecursionError:
            raise ValueError("nested too deeply") from None
        place = text.find("{", end)
    if not found:
        raise ValueError(f"no {field} in the reply")
    if any(item != found[0] for item in found):
        raise ValueError(f"several objects with a {field} in the reply")
    return found[0]


def _with_note(request: chat.Request, failed: Answer | None) -> chat.Request:
    """The same task, with a note on what was wrong with the reply before, if one was."""
    if failed is None:
        return request
    *before, last = request.messages
    note = AGAIN.format(trouble=failed.detail.partition(":")[0])
    return replace(request, messages=[*before, {**last, "content": last["content"] + note}])


def _why(done: chat.Completion, error: ValueError) -> tuple[str, str]:
    """(rule, detail) of a reply that could not be read."""
    cut = ", cut off at the token limit" if done.finish_reason == "length" else ""
    shown = json.dumps(done.text[:LONGEST_SHOWN], ensure_ascii=False)
    rule = REFUSED if done.finish_reason == "refused" else NOT_READABLE
    return rule, f"{error}{cut}: {shown}"
