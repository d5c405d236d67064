"""Who judges: the members that ``judge_model`` names, and how each of them is asked.

    for judge in panel.members(p):
        for answer in panel.ask(judge, p, {key: messages}, schema, read, "judging"): ...

A member is a language model or the deterministic ``reference`` (``cutoff.evaluate.reference``).
Language models are asked one after the other, because a server holds one at a time, each with
up to ``parallel`` requests in flight.
"""

import json
import math
import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from cutoff.engines import chat, failures
from cutoff.engines import providers as engines
from cutoff.errors import CutoffError
from cutoff.params import Params
from cutoff.prompts import Message

REFERENCE = "reference"
USUAL_KEY = {"ollama": "", "openai": "${OPENAI_API_KEY}", "anthropic": "${ANTHROPIC_API_KEY}"}
OPENAI_NAME = re.compile(r"(?:ft:)?(?:gpt-(?!oss)|chatgpt-|o\d)")

ATTEMPTS = 3  # replies per task until one can be read
REFUSALS_IN_A_ROW = 10  # then it is the server or the judge, not what was to be judged
MOST_NUM_CTX = 32768  # what is longer fails alone, at the server
LEAST_NUM_CTX = 8192  # one size for all requests: another one makes Ollama load the model again
# Greedy decoding sends Qwen3 into endless repetition while it thinks; its model card asks for
# these. Without thinking a judge answers greedily.
THINKING_TEMPERATURE, THINKING_TOP_P = 0.6, 0.95
NOT_READABLE, REFUSED = "not readable", "refused"
LONGEST_SHOWN = 300  # characters of a reply that could not be read
AGAIN = (
    "\n\nNote: an earlier reply could not be read ({trouble}). Reply with the JSON object alone."
)


@dataclass(frozen=True)
class Judge:
    """One member: ``name`` as ``judge_model`` spells it; ``provider`` is ``reference``, ollama,
    openai or anthropic."""

    name: str
    provider: str
    model: str


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


def members(p: Params) -> list[Judge]:
    """The judges of ``judge_model``, in its order; each has one vote.

    Raises ``CutoffError`` for an empty or repeated name, and where one address or key is given
    for judges of several providers.
    """
    names = [name.strip() for name in p.judge_model.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise CutoffError(
            f"judge_model = {p.judge_model!r} must be one name or several different ones with "
            "commas between them."
        )
    judges = [Judge(name, _provider(name, p), name) for name in names]
    providers = sorted({judge.provider for judge in judges} - {REFERENCE})
    if len(providers) > 1:
        for name in ("judge_base_url", "judge_api_key"):
            if getattr(p, name) is not None:
                raise CutoffError(
                    f"{name} belongs to one provider, but judge_model = {p.judge_model!r} has "
                    f"judges of {' and '.join(providers)}; leave it null and set OLLAMA_HOST, "
                    "OPENAI_API_KEY or ANTHROPIC_API_KEY instead."
                )
    return judges


@contextmanager
def engine(judge: Judge, p: Params) -> Iterator[chat.Engine]:
    """The server of a member that is a language model, until the block ends.

    Raises ``CutoffError`` when it does not run, lacks the model, or the API key is missing.
    """
    key = p.judge_api_key or USUAL_KEY[judge.provider]
    with engines.chat_engine(judge.provider, judge.model, p.judge_base_url, key) as connected:
        yield connected


def _provider(name: str, p: Params) -> str:
    if name == REFERENCE:
        return REFERENCE
    if p.judge_provider != "auto":
        return str(p.judge_provider)
    if OPENAI_NAME.match(name.lower()):
        return "openai"
    return "anthropic" if name.lower().startswith("claude") else "ollama"


def thinks(judge: Judge, p: Params) -> bool | None:
    """Whether the judge is told to think: ``judge_think`` where Ollama says that it can.

    Hosted models decide by themselves (``None``) and always have room for it; on an own
    OpenAI-compatible server ``judge_think=false`` turns it off.
    """
    if judge.provider == "ollama":
        from cutoff.engines import ollama_api

        can = "thinking" in (
            ollama_api.show(judge.model, p.judge_base_url).get("capabilities") or ()
        )
        return bool(p.judge_think) if can else None
    if judge.provider == "openai" and p.judge_base_url is not None and not p.judge_think:
        return False
    return None


def ask(
    judge: Judge,
    p: Params,
    tasks: Mapping[str, list[Message]],
    schema: dict[str, Any],
    read: Callable[[str], Any],
    progress: str,
    strict: bool = False,
) -> Generator[Answer, None, None]:
    """Put every task to ``judge``; yield an answer per task as it comes, failures last.

    ``read`` turns a reply into a value or raises ``ValueError``; what cannot be read is asked
    again, with a note, up to ``ATTEMPTS`` times. A task that the server refuses, or that does
    not fit, fails alone, unless ``strict``. Thinking has tokens of its own. Raises
    ``CutoffError`` when the server cannot be used, ``DeadlineReached`` when time is up.
    """
    if not tasks:
        return
    with engine(judge, p) as server:
        think = thinks(judge, p)
        # A hosted model that thinks unasked counts that among the tokens of its answer.
        limit = p.judge_max_new_tokens + (chat.THINKING_TOKENS if think is None else 0)
        asked: chat.Engine = server if strict else _Tolerant(server)
        refused: dict[str, str] = {} if strict else asked.refused  # type: ignore[attr-defined]
        trouble: dict[str, tuple[str, str]] = {}
        tokens, seconds = dict.fromkeys(tasks, 0), dict.fromkeys(tasks, 0.0)
        waiting = list(tasks)
        for attempt in range(ATTEMPTS):
            requests = [
                chat.Request(key, _again(tasks[key], trouble.get(key)), limit, schema, think)
                for key in waiting
            ]
            options = _options(requests, think, p.seed + attempt)
            waiting = []
            label = progress if attempt == 0 else f"{progress}, attempt {attempt + 1}"
            with closing(chat.complete(requests, asked, options, p.parallel, label)) as replies:
                for done in replies:
                    tokens[done.key] += done.completion_tokens
                    seconds[done.key] += done.latency_seconds
                    if done.key in refused:
                        trouble[done.key] = (REFUSED, refused[done.key])
                        continue
                    try:
                        value = read(done.text)
                    except ValueError as error:
                        trouble[done.key] = _why(done, error)
                        waiting.append(done.key)
                        continue
                    trouble.pop(done.key, None)
                    yield Answer(
                        done.key,
                        value,
                        "",
                        "",
                        attempt + 1,
                        tokens[done.key],
                        round(seconds[done.key], 4),
                    )
            if not waiting:
                break
    # Last, so that a run that is stopped before asks these again.
    for key in (key for key in tasks if key in trouble):
        rule, detail = trouble[key]
        attempts = 1 if rule == REFUSED and key in refused else ATTEMPTS
        yield Answer(key, None, rule, detail, attempts, tokens[key], round(seconds[key], 4))


def flags(p: Params) -> list[str]:
    """Warnings about the panel: kinship with the candidate or the generator, an even number."""
    sentences = []
    judges = [judge for judge in members(p) if judge.provider != REFERENCE]
    relatives = {"the candidate": p.base_model}
    if p.fact_source == "generator":
        relatives["the generator of the questions"] = p.generator_model
    for judge in judges:
        for role, model in relatives.items():
            if engines.family(judge.model) == engines.family(model):
                sentences.append(
                    f"The judge `{judge.name}` is of the same family "
                    f"({engines.family(model)}) as {role}, `{model}`: it may favour its own."
                )
    n = len(members(p))
    if n > 1 and n % 2 == 0:
        sentences.append(
            f"{n} judges can be split evenly; such answers have no verdict. Name an odd number."
        )
    return sentences


class _Tolerant:
    """An engine whose refusals cost one request each, until too many come in a row."""

    def __init__(self, engine: chat.Engine) -> None:
        self.where = engine.where
        self.refused: dict[str, str] = {}
        self._engine = engine
        self._lock = threading.Lock()
        self._in_a_row = 0

    def count_prompt_tokens(self, request: chat.Request) -> int | None:
        return self._engine.count_prompt_tokens(request)

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        try:
            reply = self._engine.ask(request, options)
        except (failures.Refused, failures.Overflow) as refusal:
            with self._lock:
                self._in_a_row += 1
                if self._in_a_row >= REFUSALS_IN_A_ROW:
                    raise
                self.refused[request.key] = str(refusal)
            return chat.Reply("", 0, 0, REFUSED)
        with self._lock:
            self._in_a_row = 0
        return reply


def _again(messages: list[Message], trouble: tuple[str, str] | None) -> list[Message]:
    """The same task, with a note on what was wrong with the reply before, if one was."""
    if trouble is None:
        return messages
    last = messages[-1]
    note = AGAIN.format(trouble=trouble[1].partition(":")[0])
    return [*messages[:-1], {**last, "content": last["content"] + note}]


def _why(done: chat.Completion, error: ValueError) -> tuple[str, str]:
    """(rule, detail) of a reply that could not be read."""
    cut = ", cut off at the token limit" if done.finish_reason == "length" else ""
    shown = json.dumps(done.text[:LONGEST_SHOWN], ensure_ascii=False)
    rule = REFUSED if done.finish_reason == "refused" else NOT_READABLE
    return rule, f"{error}{cut}: {shown}"


def _options(requests: list[chat.Request], think: bool | None, seed: int) -> chat.Options:
    """Room for the longest request, at two bytes a token: only hostile texts need more."""
    longest = max(
        sum(len(m["content"].encode("utf-8", "replace")) for m in request.messages) // 2
        + request.token_limit
        for request in requests
    )
    num_ctx = min(max(LEAST_NUM_CTX, 1024 * math.ceil(longest / 1024)), MOST_NUM_CTX)
    if think:
        return chat.Options(num_ctx, THINKING_TEMPERATURE, THINKING_TOP_P, seed=seed)
    return chat.Options(num_ctx, seed=seed)
