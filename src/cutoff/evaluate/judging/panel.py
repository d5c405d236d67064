"""Who judges: the members that ``judge_model`` names, and how each of them is asked.

A member is a language model or the set of rules in ``reference``. Language models are asked one
after the other, because a server holds one at a time.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import NamedTuple

from cutoff.engines import asking, chat, serving
from cutoff.errors import CutoffError
from cutoff.params import Params
from cutoff.prompts import Message

REFERENCE = "reference"
USUAL_KEY = {"ollama": "", "openai": "${OPENAI_API_KEY}", "anthropic": "${ANTHROPIC_API_KEY}"}
OPENAI_NAME = re.compile(r"(?:ft:)?(?:gpt-(?!oss)|chatgpt-|o\d)")

# Greedy decoding sends Qwen3 into endless repetition while it thinks; its model card asks for
# these. Without thinking a judge answers greedily.
THINKING_TEMPERATURE, THINKING_TOP_P = 0.6, 0.95


class Judge(NamedTuple):
    """One member: ``name`` as ``judge_model`` spells it and its server knows it; ``provider`` is
    ``reference``, ollama, openai or anthropic."""

    name: str
    provider: str


def members(p: Params) -> list[Judge]:
    """The judges of ``judge_model``, in its order; each has one vote.

    Raises ``CutoffError`` for an empty or repeated name, and where one address or key is given
    for judges of several serving.
    """
    names = [name.strip() for name in p.judge_model.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise CutoffError(
            f"judge_model = {p.judge_model!r} must be one name or several different ones with "
            "commas between them."
        )
    judges = [Judge(name, _provider(name, p)) for name in names]
    needed = sorted({judge.provider for judge in judges} - {REFERENCE})
    given = [name for name in ("judge_base_url", "judge_api_key") if getattr(p, name) is not None]
    if len(needed) > 1 and given:
        raise CutoffError(
            f"{given[0]} belongs to one provider, but judge_model = {p.judge_model!r} has "
            f"judges of {' and '.join(needed)}; leave it null and set OLLAMA_HOST, "
            "OPENAI_API_KEY or ANTHROPIC_API_KEY instead."
        )
    return judges


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

        can = ollama_api.show(judge.name, p.judge_base_url).get("capabilities") or ()
        return p.judge_think if "thinking" in can else None
    if judge.provider == "openai" and p.judge_base_url is not None and not p.judge_think:
        return False
    return None


def ask(
    judge: Judge,
    p: Params,
    tasks: Mapping[str, list[Message]],
    form: asking.Form,
    progress: str,
    strict: bool = False,
) -> Generator[asking.Answer, None, None]:
    """Put every task to ``judge``; yield an answer per task as it comes, failures last.

    A task that the server refuses, or that does not fit, fails alone, unless ``strict``. Raises
    ``CutoffError`` when the server does not run, lacks the model, or the API key is missing.
    """
    if not tasks:
        return
    key = p.judge_api_key or USUAL_KEY[judge.provider]
    with serving.chat_engine(judge.provider, judge.name, p.judge_base_url, key) as server:
        think = thinks(judge, p)
        # A hosted model that thinks unasked counts that among the tokens of its answer.
        limit = p.judge_max_new_tokens + (chat.THINKING_TOKENS if think is None else 0)
        requests = [chat.Request(k, told, limit, form.schema, think) for k, told in tasks.items()]
        asked = server if strict else asking.Tolerant(server)
        options = asking.greedy(requests, p.seed)
        if think:
            options = replace(options, temperature=THINKING_TEMPERATURE, top_p=THINKING_TOP_P)
        manner = asking.Manner(options, p.parallel, progress)
        yield from asking.ask(requests, lambda: asked, form.read, manner)


def flags(p: Params) -> list[str]:
    """Warnings about the panel: kinship with the candidate or the generator, an even number."""
    judges = members(p)
    relatives = {"the candidate": p.base_model}
    if p.fact_source == "generator":
        relatives["the generator of the questions"] = p.generator_model
    sentences = [
        f"The judge `{judge.name}` is of the same family ({serving.family(model)}) as {role}, "
        f"`{model}`: it may favour its own."
        for judge in judges
        for role, model in relatives.items()
        if judge.provider != REFERENCE and serving.family(judge.name) == serving.family(model)
    ]
    if len(judges) % 2 == 0:
        sentences.append(
            f"{len(judges)} judges can be split evenly; such answers have no verdict. Name an odd "
            "number."
        )
    return sentences
