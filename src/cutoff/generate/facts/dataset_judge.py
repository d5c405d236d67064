"""Another model rates every fact and its questions; thresholds in code decide which are kept.

    ratings = dataset_judge.rate(p, facts, passages, wordings, folder)
    kept, dropped = dataset_judge.keep(facts, ratings, p)

A fact is rated once, with all the wordings of its question, by the worst of them: training
and evaluation draw on the same ratings. What cannot be rated is not kept. Without a
``dataset_judge_model`` nothing is rated and everything is kept, and 01 says so.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cutoff.engines import asking, chat, serving
from cutoff.generate.facts import generator_prompts
from cutoff.generate.facts.generator_prompts import RATINGS
from cutoff.generate.facts.rejections import Reason, Rejected
from cutoff.generate.questions.wordings import Wordings
from cutoff.params import Params
from cutoff.records import Fact, Passage
from cutoff.report.wording import percent
from cutoff.store import Store

TARGET_KEPT = 0.75
MAX_NEW_TOKENS = 160


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
        own, evidence = wordings(fact), text_of[fact["gold_passage_ids"][0]]
        asked = [*own["train"], *own["eval"]]
        messages = generator_prompts.render_dataset_judge(
            evidence, asked, fact["value"], fact["statement"]
        )
        schema = generator_prompts.RATINGS_SCHEMA
        tasks.append(chat.Request(fact["fact_id"], messages, MAX_NEW_TOKENS, schema))
    judge = p.dataset_judge_provider, p.dataset_judge_model
    server = p.dataset_judge_base_url, p.dataset_judge_api_key
    made_from = generator_prompts.made_from(tasks, *judge, p.seed)
    with (
        Store(folder / "dataset_judgements.jsonl", made_from) as store,
        asking.when_needed(lambda: serving.chat_engine(*judge, *server)) as engine,
    ):
        options = asking.greedy(tasks, p.seed)
        manner = asking.Manner(options, p.parallel, "rating facts", asking.WARMER, store)
        came = {answer.key: answer for answer in asking.ask(tasks, engine, read_ratings, manner)}
    nothing = dict.fromkeys(RATINGS)
    ordered = [came[task.key] for task in tasks]
    return [{"fact_id": a.key, **(a.value or nothing), "detail": a.detail} for a in ordered]


def read_ratings(text: str) -> dict[str, float]:
    """The four ratings of a reply; raises ``ValueError`` unless each is a number from 0 to 1."""
    content = asking.only_object(text, RATINGS[0])
    for name in RATINGS:
        value = content.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} is no number")
        if not 0 <= value <= 1:  # NaN too
            raise ValueError(f"{name} is not from 0 to 1")
    return {name: float(content[name]) for name in RATINGS}


def passes(rating: dict[str, Any], p: Params) -> bool:
    """All ratings at least ``judge_min_rating``, and answerability and correctness together
    at least ``judge_min_core_sum``."""
    values = [rating[name] for name in RATINGS]
    if None in values:
        return False
    core = rating["answerability"] + rating["correctness"]
    enough = core >= p.judge_min_core_sum or math.isclose(core, p.judge_min_core_sum)
    return enough and min(values) >= p.judge_min_rating


def keep(
    facts: Sequence[Fact], ratings: Sequence[dict[str, Any]], p: Params
) -> tuple[list[Fact], list[Rejected]]:
    """(facts kept, facts dropped with their ``reason``); all are kept where none were rated."""
    if not ratings:
        return list(facts), []
    rating_of = {rating["fact_id"]: rating for rating in ratings}
    good = {fact_id for fact_id, rating in rating_of.items() if passes(rating, p)}
    dropped: list[Rejected] = []
    for fact in facts:
        if fact["fact_id"] not in good:
            rated = rating_of[fact["fact_id"]][RATINGS[0]] is not None
            dropped.append({**fact, "reason": Reason.TOO_LOW if rated else Reason.NOT_RATED})
    return [fact for fact in facts if fact["fact_id"] in good], dropped


def verdict(ratings: Sequence[dict[str, Any]], p: Params) -> str:
    """What 01 says of the ratings: the share kept, the target, and whose judge it was."""
    share = sum(passes(rating, p) for rating in ratings) / len(ratings)
    return (
        f"**{percent(share)} of {len(ratings):,} facts were kept** (target: {percent(TARGET_KEPT)}"
        f"): all ratings at least {p.judge_min_rating:g}, answerability and correctness together "
        f"at least {p.judge_min_core_sum:g}. Rated by `{p.dataset_judge_model}`."
        + (f" **Warning: {warning}**" if (warning := same_family(p)) else "")
    )


def same_family(p: Params) -> str | None:
    """A warning when the judge is the generator or one of its family, else ``None``."""
    if p.dataset_judge_model is None or p.fact_source != "generator":
        return None
    family = serving.family(p.dataset_judge_model)
    if family != serving.family(p.generator_model):
        return None
    return f"the generator is of its own family ({family}), so its taste is not independent."
