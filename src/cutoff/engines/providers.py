"""A chat model by the name of its provider: whoever answers, writes or rates.

with providers.chat_engine("ollama", "qwen2.5:7b-instruct-q4_K_M") as engine: ...
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cutoff import params
from cutoff.engines import chat
from cutoff.errors import CutoffError
from cutoff.prompts import Message

SAME_FAMILY = {"o": "gpt", "qwq": "qwen", "mixtral": "mistral", "ministral": "mistral"}


@contextmanager
def chat_engine(
    provider: str,
    model: str,
    base_url: str | None = None,
    api_key: str = "",
    count_tokens: Callable[[list[Message]], int] | None = None,
) -> Iterator[chat.Engine]:
    """``model`` of ``provider`` (ollama, openai or anthropic) until the block ends.

    ``api_key`` is the name of a variable, ``${OPENAI_API_KEY}``. A compatible server of
    one's own (``openai`` with a ``base_url``) may need no key; Ollama takes none.
    ``count_tokens`` counts a prompt where that can be known in advance.
    """
    if provider == "ollama":
        from cutoff.engines import ollama_api

        with ollama_api.connect(model, base_url, count_tokens) as engine:
            yield engine
    elif provider == "openai":
        from cutoff.engines import openai_api

        key = _revealed(api_key, base_url is None)
        with openai_api.connect(model, base_url, key, count_tokens) as engine:
            yield engine
    elif provider == "anthropic":
        from cutoff.engines import anthropic_api

        with anthropic_api.connect(model, _revealed(api_key, True), base_url) as engine:
            yield engine
    else:
        raise ValueError(f"unknown provider {provider!r}")


def _revealed(api_key: str, needed: bool) -> str:
    try:
        return params.reveal(api_key)
    except CutoffError:
        if needed:
            raise
        return ""


def family(model: str) -> str:
    """What the makers call all sizes of a model: ``qwen`` for ``Qwen/Qwen2.5-7B-Instruct``.

    Models of one family share training data and taste; one does not judge another.
    """
    name = re.split(r"[/\\]", model.strip().lower())[-1]
    letters = re.match(r"(?:meta-|chat|code)?([a-z]+)", name)
    return SAME_FAMILY.get(letters[1], letters[1]) if letters else name
