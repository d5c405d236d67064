"""Many small tasks for a language model: asked, read, and asked again where a reply is unreadable.

    manner = asking.Manner(options, p.parallel, "judging")
    for answer in asking.ask(requests, lambda: asking.Tolerant(engine), read, manner): ...

Every task costs itself only: what cannot be read in ``ATTEMPTS`` replies, or what the server
refuses, is an answer without a value. Where one refusal follows another, the run stops.
"""

import functools
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from cutoff.engines import chat, failures
from cutoff.errors import CutoffError
from cutoff.store import Store

ATTEMPTS = 3  # replies per task until one can be read
TRIES = 3  # of a request on which a server fails, where that is tolerated
LONG_SECONDS = 60.0  # a try that failed after so long is not repeated
FAILURES_IN_A_ROW = 10  # then it is the server or the model, not what was asked
NOT_READABLE, REFUSED = "not readable", "refused"
NOT_ANSWERED = "not answered"  # finish_reason of what ``Tolerant`` swallowed
LONGEST_SHOWN = 300  # characters of a reply that could not be read
AGAIN = (
    "\n\nNote: an earlier reply could not be read ({trouble}). Reply with the JSON object alone."
)
NOTE_TOKENS = 256  # of such a note
WARMER = 0.7  # temperature of further attempts: the same words would bring the same reply
FURTHER = AGAIN, WARMER  # what a store that keeps such replies is made from, too
# One size for all requests: another one makes Ollama load the model again. What is longer than
# the most fails alone, at the server.
LEAST_NUM_CTX, MOST_NUM_CTX = 8192, 32768


@dataclass(frozen=True)
class Form:
    """What a reply must look like: its JSON ``schema``, and ``read``, which turns a reply into a
    value or raises ``ValueError``."""

    schema: dict[str, Any]
    read: Callable[[str], Any]


@dataclass(frozen=True)
class Manner:
    """How to ask. ``progress`` labels the bar; ``warmer`` is the temperature of further attempts
    where it differs; ``store`` keeps every reply as it came, the n-th (from 0) to a request under
    the key ``request|n``."""

    options: chat.Options
    parallel: int
    progress: str
    warmer: float | None = None
    store: Store | None = None

    def of_attempt(self, number: int) -> chat.Options:
        """The options of an attempt, from 0: another seed each, warmer after the first."""
        options = replace(self.options, seed=self.options.seed + number)
        if number and self.warmer is not None:
            options = replace(options, temperature=self.warmer)
        return options


@dataclass(frozen=True)
class Answer:
    """What came of a task. ``value`` is ``None`` where no reply could be read; ``rule`` says
    then why in two words and ``detail`` in full. Tokens and seconds are those of all attempts,
    ``reply`` is the last one as it came ("" where there was none).
    """

    key: str
    value: Any
    rule: str
    detail: str
    attempts: int
    completion_tokens: int
    seconds: float
    reply: str = ""


class Tolerant:
    """An engine whose refusals cost one request each, until too many come in a row.

    With ``tries``, so does a request on which the server failed that often, or once for long.
    """

    def __init__(self, engine: chat.Engine, tries: int | None = None) -> None:
        self.where, self.count_prompt_tokens = engine.where, engine.count_prompt_tokens
        self._engine = engine
        self._most_tries = tries
        self._lock = threading.Lock()
        self._tries: Counter[str] = Counter()
        self._in_a_row = 0

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        """The engine's reply; after a failure its reason, with the finish ``NOT_ANSWERED``."""
        started = time.monotonic()
        try:
            reply = self._engine.ask(request, options)
        except (failures.Refused, failures.Overflow) as refusal:
            return self._given_up(str(refusal), refusal)
        except failures.Transient as trouble:
            if self._most_tries is None:
                raise
            with self._lock:
                self._tries[request.key] += 1
                tries = self._tries[request.key]
            if tries < self._most_tries and time.monotonic() - started < LONG_SECONDS:
                raise
            stop = CutoffError(
                f"{self.where} failed on {FAILURES_IN_A_ROW} requests in a row (last: {trouble}). "
                f"{trouble.remedy} Run again: finished replies are kept."
            )
            return self._given_up(f"{trouble} (tried {tries} times)", stop)
        with self._lock:
            self._in_a_row = 0
        return reply

    def _given_up(self, trouble: str, stop: CutoffError) -> chat.Reply:
        with self._lock:
            self._in_a_row += 1
            if self._in_a_row >= FAILURES_IN_A_ROW:
                raise stop
        return chat.Reply(trouble, 0, 0, NOT_ANSWERED)


@contextmanager
def when_needed(
    connect: Callable[[], AbstractContextManager[chat.Engine]],
) -> Iterator[Callable[[], Tolerant]]:
    """An engine for ``ask`` that is connected by its first use and tolerates a failing server."""
    with ExitStack() as stack:
        yield functools.cache(lambda: Tolerant(stack.enter_context(connect()), TRIES))


def greedy(requests: Sequence[chat.Request], seed: int) -> chat.Options:
    """Greedy, with room for the longest of ``requests`` and a note, at two bytes a token: only
    hostile texts need more."""
    longest = LEAST_NUM_CTX
    for request in requests:
        n_bytes = sum(len(m["content"].encode("utf-8", "replace")) for m in request.messages)
        longest = max(longest, n_bytes // 2 + request.token_limit + NOTE_TOKENS)
    return chat.Options(min(1024 * math.ceil(longest / 1024), MOST_NUM_CTX), seed=seed)


def ask(
    requests: Sequence[chat.Request],
    engine: Callable[[], chat.Engine],
    read: Callable[[str], Any],
    manner: Manner,
) -> Generator[Answer, None, None]:
    """Put every task to ``engine``; yield an answer per task as it comes, failures last.

    ``engine`` is called only if a reply is missing. What ``read`` (see ``Form``) cannot read is
    asked again, with a note and another seed. Raises ``CutoffError`` when the server cannot be
    used, ``DeadlineReached`` when time is up.
    """
    answers: dict[str, Answer] = {}
    waiting = list(requests)
    for number in range(ATTEMPTS):
        sent = [_with_note(request, answers.get(request.key)) for request in waiting]
        again = set()
        with closing(_replies(sent, engine, manner, number)) as replies:
            for done in replies:
                answer = answers[done.key] = _answer(done, read, answers.get(done.key))
                if not answer.rule:
                    yield answer
                elif done.finish_reason != NOT_ANSWERED:
                    again.add(done.key)
        waiting = [request for request in waiting if request.key in again]
    if manner.store is not None and requests and not len(manner.store):
        # Few tasks make no row of failures, and must not end as tasks that were answered badly.
        last = answers[requests[-1].key].detail
        raise CutoffError(
            f"The server answered none of {len(requests):,} requests (last: {last}). Run again."
        )
    # Last, so that a run that is stopped before asks these again.
    yield from (answers[request.key] for request in requests if answers[request.key].rule)


def _answer(done: chat.Completion, read: Callable[[str], Any], before: Answer | None) -> Answer:
    """What a reply comes to, with what the attempts before it have cost."""
    value, rule, detail, reply = None, "", "", done.text
    if done.finish_reason == NOT_ANSWERED:
        rule, detail, reply = REFUSED, done.text, before.reply if before else ""
    else:
        try:
            value = read(done.text)
        except ValueError as error:
            cut = ", cut off at the token limit" if done.finish_reason == "length" else ""
            shown = json.dumps(done.text[:LONGEST_SHOWN], ensure_ascii=False)
            rule = REFUSED if done.finish_reason == "refused" else NOT_READABLE
            detail = f"{error}{cut}: {shown}"
    attempts, tokens, seconds = 1, done.completion_tokens, done.latency_seconds
    if before:
        attempts += before.attempts
        tokens += before.completion_tokens
        seconds += before.seconds
    return Answer(done.key, value, rule, detail, attempts, tokens, round(seconds, 4), reply)


def _replies(
    requests: Sequence[chat.Request],
    engine: Callable[[], chat.Engine],
    manner: Manner,
    number: int,
) -> Generator[chat.Completion, None, None]:
    """The reply of this ``number`` to every request: those kept, then new ones as they come."""
    wanted, store = {f"{request.key}|{number}": request for request in requests}, manner.store
    if store is not None and any(key in store for key in wanted):
        for record in store.records():
            if request := wanted.pop(record["key"], None):
                known = {name: value for name, value in record.items() if name != "reply"}
                yield chat.Completion(**known | {"key": request.key, "text": record["reply"]})
    if not wanted:
        return
    progress = f"{manner.progress}, attempt {number + 1}" if number else manner.progress
    how = manner.of_attempt(number), manner.parallel, progress
    with closing(chat.complete(list(wanted.values()), engine(), *how)) as new:
        for done in new:
            if store is not None and done.finish_reason != NOT_ANSWERED:
                record = asdict(done) | {"key": f"{done.key}|{number}", "reply": done.text}
                del record["text"]
                store.append(record)
            yield done


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


def _with_note(request: chat.Request, before: Answer | None) -> chat.Request:
    """The same task, with a note on what was wrong with the reply before, if one was."""
    if before is None:
        return request
    *others, last = request.messages
    note = AGAIN.format(trouble=before.detail.partition(":")[0])
    return replace(request, messages=[*others, {**last, "content": last["content"] + note}])
