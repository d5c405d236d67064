"""Replies of a language model to many small tasks, each on its own.

A reply is written to a file as it arrives, so that a killed run repeats what was in flight
and nothing else. A task whose reply cannot be read is asked again with some chance in it; one
that the server never answers, refuses or finds too long costs this task only. When nothing
comes back any more, the run stops and says so: then it is the server.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from typing import Any

from cutoff.engines import chat, failures
from cutoff.errors import CutoffError
from cutoff.store import Store

Record = dict[str, Any]

ATTEMPTS = 3  # replies per task until one can be read
TRIES = 3  # of one attempt, when the server fails
LONG_SECONDS = 60.0  # a try that failed after so long is not repeated
FAILURES_IN_A_ROW = 12
WARMER = 0.7  # temperature of further attempts: the same words would bring the same reply
NO_REPLY = "failed"  # finish_reason of what the server never answered


@dataclass(frozen=True)
class Reply:
    """What came of a task: ``value`` of the reply that could be read, or ``None``.

    ``text`` is the last reply, ``trouble`` why there is none, ``attempts`` how many came.
    """

    value: Any
    text: str
    trouble: str
    attempts: int


class OneByOne:
    """An engine whose failures cost one task, until too many come in a row."""

    def __init__(self, engine: chat.Engine) -> None:
        self.where = engine.where
        self.trouble: dict[str, str] = {}
        self._engine = engine
        self._lock = threading.Lock()
        self._tries: dict[str, int] = {}
        self._in_a_row = 0

    def count_prompt_tokens(self, request: chat.Request) -> int | None:
        return self._engine.count_prompt_tokens(request)

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        """The engine's reply, or an empty one with the finish reason ``failed``."""
        started = time.monotonic()
        try:
            reply = self._engine.ask(request, options)
        except failures.Transient as trouble:
            seconds = time.monotonic() - started
            with self._lock:
                tries = self._tries[request.key] = self._tries.get(request.key, 0) + 1
            if tries < TRIES and seconds < LONG_SECONDS:
                raise
            return self._given_up(request.key, f"{trouble} (tried {tries} times)")
        except (failures.Refused, failures.Overflow) as refusal:
            return self._given_up(request.key, str(refusal))
        with self._lock:
            self._in_a_row = 0
        return reply

    def _given_up(self, key: str, trouble: str) -> chat.Reply:
        with self._lock:
            self.trouble[key] = trouble
            self._in_a_row += 1
            if self._in_a_row >= FAILURES_IN_A_ROW:
                raise CutoffError(
                    f"{self.where} failed on {self._in_a_row} requests in a row (last: {trouble}). "
                    "Is it running? Run again: finished replies are kept."
                )
        return chat.Reply("", 0, 0, NO_REPLY)


def collect(
    tasks: Sequence[chat.Request],
    read: Callable[[str], Any],
    store: Store,
    connect: Callable[[], AbstractContextManager[chat.Engine]],
    options: chat.Options,
    parallel: int,
    progress: str,
) -> dict[str, Reply]:
    """Ask what ``store`` does not hold yet; the reply to every task, by its key.

    ``read`` turns a reply into a value or raises ``ValueError``. What the server did not
    answer is not stored: a further run asks again. Raises ``CutoffError`` if it answered
    nothing at all, ``DeadlineReached`` when time is up.
    """
    known = {record["key"]: record for record in store.records()} if len(store) else {}
    troubles: dict[str, str] = {}
    open_tasks = list(tasks)
    result: dict[str, Reply] = {}
    for attempt in range(ATTEMPTS):
        missing = [task for task in open_tasks if f"{task.key}|{attempt}" not in known]
        if missing:
            new, trouble = _ask(missing, attempt, store, connect, options, parallel, progress)
            known |= new
            troubles |= trouble
            if trouble and not known:
                raise CutoffError(
                    f"The server answered none of {len(tasks):,} requests (last: "
                    f"{list(trouble.values())[-1]}). Run again."
                )
        for task in open_tasks:
            record = known.get(f"{task.key}|{attempt}")
            if record is not None:
                result[task.key] = _reply(record, read, attempt)
            else:
                earlier = result.get(task.key, Reply(None, "", "", 0))
                result[task.key] = replace(earlier, trouble=troubles[task.key])
        open_tasks = [
            task
            for task in open_tasks
            if result[task.key].value is None and task.key not in troubles
        ]
    return result


def _ask(
    tasks: Sequence[chat.Request],
    attempt: int,
    store: Store,
    connect: Callable[[], AbstractContextManager[chat.Engine]],
    options: chat.Options,
    parallel: int,
    progress: str,
) -> tuple[dict[str, Record], dict[str, str]]:
    """New records of the store by their keys, and why there is none, by the keys of tasks."""
    if attempt:
        options = replace(options, temperature=WARMER, seed=options.seed + attempt)
        progress = f"{progress}, attempt {attempt + 1}"
    new: dict[str, Record] = {}
    with connect() as engine:
        careful = OneByOne(engine)
        with closing(chat.complete(tasks, careful, options, parallel, progress)) as answers:
            for done in answers:
                if done.finish_reason == NO_REPLY:
                    continue
                record: Record = {
                    "key": f"{done.key}|{attempt}",
                    "reply": done.text,
                    "finish_reason": done.finish_reason,
                    "prompt_tokens": done.prompt_tokens,
                    "completion_tokens": done.completion_tokens,
                    "latency_seconds": done.latency_seconds,
                    "retries": done.retries,
                }
                store.append(record)
                new[record["key"]] = record
    return new, careful.trouble


def _reply(record: Record, read: Callable[[str], Any], attempt: int) -> Reply:
    try:
        return Reply(read(record["reply"]), record["reply"], "", attempt + 1)
    except ValueError as error:
        cut = " (it was cut off)" if record["finish_reason"] == "length" else ""
        return Reply(None, record["reply"], f"{error}{cut}", attempt + 1)
