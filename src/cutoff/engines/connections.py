"""What all connections to model servers have in common."""

import ipaddress
import threading
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from cutoff.engines import chat, failures
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


def prompt_counter(
    count_tokens: Callable[[list[Message]], int] | None,
) -> Callable[[chat.Request], int | None]:
    """An engine's ``count_prompt_tokens`` by ``count_tokens``, where that is known.

    It works for one thread at a time, as a tokenizer may refuse to work for two. Thinking
    changes the template, so a request that asks for it is not counted.
    """
    lock = threading.Lock()

    def count(request: chat.Request) -> int | None:
        if count_tokens is None or request.think is not None:
            return None
        with lock:
            return count_tokens(request.messages)

    return count


@contextmanager
def explained(
    package: ModuleType, server: failures.Server, request: chat.Request, num_ctx: int
) -> Iterator[None]:
    """Turns exceptions of the client ``package`` (openai or anthropic) into one to retry or
    one sentence."""
    try:
        yield
        return
    except package.APIStatusError as error:
        words = failures.error_text(error.response.text)
        shown = failures.plain(words, server.secret)
        status, wanted = error.status_code, error.response.headers.get("retry-after")
        if status in (400, 413) and failures.OVERFLOW.search(words):
            problem: Exception = failures.Overflow(
                f"The prompt of {request.key} with {request.token_limit} tokens for the answer "
                f"does not fit the context of {server.model or server.where} ({shown}; num_ctx "
                f"is {num_ctx}). Lower top_k or passage_tokens, or serve it with more."
            )
        elif "insufficient_quota" in error.response.text:  # a 429 that no waiting ends
            problem = CutoffError(f"{server.where}: no credit left ({shown}).")
        else:
            problem = failures.refusal(status, words, server, request.key, wanted)
    except package.APIConnectionError as error:  # timeouts too
        problem = failures.Transient(
            failures.plain(str(error.__cause__ or error), server.secret), remedy=server.remedy
        )
    except ValueError:
        problem = failures.Transient("the reply is not whole JSON")
    raise problem from None


def refuse_repeat_penalty(options: chat.Options, where: str) -> None:
    """An error if a penalty is asked for that the protocol has no field for."""
    if options.repeat_penalty != 1:
        raise CutoffError(
            f"{where} has no field for repeat_penalty = {options.repeat_penalty} over the last 64 "
            "tokens; set repeat_penalty to 1, or serve all models with llama_cpp or ollama."
        )


def leave_out_temperature(words: str, sent: bool, options: chat.Options, model: str) -> bool:
    """Whether the server refused for a temperature of 0 that it can do without.

    Newer models take no temperature at all. Greedy answers are a wish then, which may be
    left out with a warning; any other temperature is not.
    """
    if not sent or options.temperature != 0 or "temperature" not in words:
        return False
    warnings.warn(
        f"{model} takes no temperature; its answers may differ from run to run.", stacklevel=2
    )
    return True
