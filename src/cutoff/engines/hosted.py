"""What the clients of OpenAI and of Anthropic have in common: their exceptions and their keys."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from cutoff.engines import chat, failures
from cutoff.errors import CutoffError

CONNECTION_REMEDY = "Is the server running, and are base_url and the network right?"


@contextmanager
def explained(
    package: ModuleType, where: str, request: chat.Request, model: str, num_ctx: int, secret: str
) -> Iterator[None]:
    """Turns exceptions of the client ``package`` into one to retry or one sentence.

    The sentence does not hold ``secret``, the API key, even if the server repeats it.
    """
    try:
        yield
        return
    except package.APIStatusError as error:
        words = failures.error_text(error.response.text)
        status, wanted = error.status_code, error.response.headers.get("retry-after")
        if status in (400, 413) and failures.OVERFLOW.search(words):
            problem: Exception = failures.Overflow(
                f"The prompt of {request.key} with {request.token_limit} tokens for the answer "
                f"does not fit the context of {model} ({failures.plain(words, secret)}; num_ctx "
                f"is {num_ctx}). Lower top_k or passage_tokens, or serve it with more."
            )
        elif "insufficient_quota" in error.response.text:  # a 429 that no waiting ends
            problem = CutoffError(f"{where}: no credit left ({failures.plain(words, secret)}).")
        else:
            problem = failures.refusal(
                status, words, where, request.key, model, retry_after=wanted, secret=secret
            )
    except package.APIConnectionError as error:  # timeouts too
        problem = failures.Transient(
            failures.plain(str(error.__cause__ or error), secret), remedy=CONNECTION_REMEDY
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
