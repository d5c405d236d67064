"""Another model rates every fact and its questions; thresholds in code decide which are kept.

    ratings = dataset_judge.rate(p, facts, passages, folder)
    kept, dropped = dataset_judge.keep(facts, ratings, p)

A fact is rated once, with all the wordings of its question, by the worst of them: training
and evaluation draw on the same ratings. What cannot be rated is not kept. Without a
``dataset_judge_model`` nothing is rated and everything is kept, and 01 says so.
"""

import hashlib
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cutoff import files
from cutoff.engines import asking, chat, providers
from cutoff.generate.facts import checks as rules
from cutoff.generate.facts import generator_prompts
from cutoff.generate.facts.generator_prompts import RATINGS, WARMER
from cutoff.generate.questions.wordings import Wordings
from cutoff.params import Params
from cutoff.records import Fact, Passage
from cutoff.report.wording import percent
from cutoff.store import Store

TARGET_KEPT = 0.75
CORE = ("answerability", "correctness")
MAX_NEW_TOKENS = 160
TOO_LOW = "rated too low by the data set judge"
NOT_RATED = "the data set judge gave no rating"


def rate(
    p: Params,
    facts: Sequence[Fact],
    passages: Sequence[Passage],
    wordings: Wordings,
    folder: Path,
) -> list[dict[str, Any]]:
    """A record per fact: ``fact_id``, the four ratings (null if there are none), ``detail``.

    Empty without a ``dataset_judge_model``. Replies go to ``dataset_judgements.jsonl`` as they
    come, so a killed run rates on. Raises ``CutoffError`` if the server cannot be used.
    """
    if p.dataset_judge_model is None:
        return []
    text_of = {passage["passage_id"]: passage["text"] for passage in passages}
    tasks = []
    for fact in facts:
        own = wordings(fact)
        messages = generator_prompts.render_dataset_judge(
            text_of[fact["gold_passage_ids"][0]],
            [*own["train"], *own["eval"]],
            fact["value"],
            fact["statement"],
        )
        schema = generator_prompts.RATINGS_SCHEMA
        tasks.append(chat.Request(fact["fact_id"], messages, MAX_NEW_TOKENS, schema))
    path = folder / "dataset_judgements.jsonl"
    with (
        Store(path, made_from=_made_from(p, tasks)) as store,
        asking.when_needed(lambda: _connect(p)) as engine,
    ):
        options = asking.greedy(tasks, p.seed)
        manner = asking.Manner(options, p.parallel, "rating facts", WARMER, store)
        came = {answer.key: answer for answer in asking.ask(tasks, engine, read_ratings, manner)}
    return [
        {"fact_id": task.key}
        | (came[task.key].value or dict.fromkeys(RATINGS))
        | {"detail": came[task.key].detail}
        for task in tasks
    ]


def _connect(p: Params) -> AbstractContextManager[chat.Engine]:
    return providers.chat_engine(
        p.dataset_judge_provider,
        str(p.dataset_judge_model),
        p.dataset_judge_base_url,
        p.dataset_judge_api_key,
    )


def read_ratings(text: str) -> dict[str, float]:
    """The four ratings of a reply; raises ``ValueError`` unless each is a number from 0 to 1."""
    content = rules.first_json(text)
    if not isinstance(content, dict):
        raise ValueError("no ratings")
    ratings = {}
    for name in RATINGS:
        value = content.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} is no number")
        if not 0 <= value <= 1:  # NaN too
            raise ValueError(f"{name} is not from 0 to 1")
        ratings[name] = float(value)
    return ratings


def passes(rating: dict[str, Any], p: Params) -> bool:
    """All ratings at least ``judge_min_rating``, and answerability and correctness together
    at least ``judge_min_core_sum``."""
    values = [rating[name] for name in RATINGS]
    if any(value is None for value in values):
        return False
    core = sum(rating[name] for name in CORE)
    at_least = core >= p.judge_min_core_sum or math.isclose(core, p.judge_min_core_sum)
    return min(values) >= p.judge_min_rating and at_least


def keep(
    facts: Sequence[Fact], ratings: Sequence[dict[str, Any]], p: Params
) -> tuple[list[Fact], list[dict[str, Any]]]:
    """(facts kept, facts dropped with their ``reason``); all are kept where none were rated."""
    if not ratings:
        return list(facts), []
    rating_of = {rating["fact_id"]: rating for rating in ratings}
    kept: list[Fact] = []
    dropped: list[dict[str, Any]] = []
    for fact in facts:
        rating = rating_of[fact["fact_id"]]
        if passes(rating, p):
            kept.append(fact)
        else:
            reason = NOT_RATED if rating[RATINGS[0]] is None else TOO_LOW
            dropped.append({**fact, "level": "fact", "reason": reason})
    return kept, dropped


def verdict(kept: Sequence[bool], p: Params) -> str:
    """What 01 says about the ratings: the share kept against the target, and by whom."""
    share = sum(kept) / len(kept)
    reached = "reaches" if share >= TARGET_KEPT else "falls short of"
    text = (
        f"**{percent(share)} of {len(kept):,} facts were kept**, which {reached} the target of "
        f"{percent(TARGET_KEPT)}: all ratings at least {p.judge_min_rating:g}, answerability and "
        f"correctness together at least {p.judge_min_core_sum:g}. "
        f"Rated by `{p.dataset_judge_model}`."
    )
    warning = same_family(p)
    return f"{text} **Warning: {warning}**" if warning else text


def same_family(p: Params) -> str | None:
    """A warning when the judge is the generator or one of its family, else ``None``."""
    if p.dataset_judge_model is None or p.fact_source != "generator":
        return None
    family = providers.family(p.dataset_judge_model)
    if family != providers.family(p.generator_model):
        return None
    same = p.dataset_judge_model == p.generator_model
    whom = "itself" if same else f"a model of its own family ({family})"
    return f"`{p.generator_model}` was rated by {whom}: its taste is not independent."


def _made_from(p: Params, tasks: Sequence[chat.Request]) -> str:
    parts = [
        (p.dataset_judge_provider, p.dataset_judge_model, p.seed),
        generator_prompts.prompts_sha256(),
        [(task.key, task.messages) for task in tasks],
    ]
    return hashlib.sha256(files.to_json(parts)).hexdigest()
