"""What the models will read: evaluation records with fixed contexts, and training records.

Contexts come from the stored rankings of the real retriever. Evaluation takes them as they
are; training puts a gold passage among the retriever's own near misses.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from cutoff import prompts
from cutoff.errors import CutoffError
from cutoff.generate.facts.checks import quotes
from cutoff.generate.retrieval.context import fit_context
from cutoff.generate.retrieval.passages import CountTokens
from cutoff.generate.retrieval.ranking import RANKS_KEPT
from cutoff.params import Params
from cutoff.records import Fact, Passage, Ranking, Wording


def eval_records(
    facts: Sequence[Fact],
    questions: Sequence[Wording],
    rankings: Sequence[Ranking],
    passages: Sequence[Passage],
    p: Params,
    count_tokens: CountTokens,
) -> list[dict[str, Any]]:
    """Records of ``eval.jsonl``: each question with its answer and the ``top_k`` passages
    retrieved for it, best first, fitted to ``context_tokens``. All conditions with context
    get these same passages.
    """
    fact_of = {fact["fact_id"]: fact for fact in facts}
    ranked = {ranking["question_id"]: ranking["passage_ids"] for ranking in rankings}
    text_of = {passage["passage_id"]: passage["text"] for passage in passages}
    result = []
    for question in questions:
        if question["split"] != "eval":
            continue
        fact = fact_of[question["fact_id"]]
        context = ranked[question["question_id"]][: p.top_k]
        texts = [text_of[passage_id] for passage_id in context]
        result.append(
            {
                "question_id": question["question_id"],
                "fact_id": fact["fact_id"],
                "paper_id": fact["paper_id"],
                "stratum": fact["stratum"],
                "attribute": fact["attribute"],
                "subject": fact["subject"],
                "question": question["question"],
                "reference": fact["value"],
                "statement": fact["statement"],
                "gold_passage_ids": fact["gold_passage_ids"],
                "context_passage_ids": context,
                "context": fit_context(texts, p.context_tokens, count_tokens),
            }
        )
    return result


def train_records(
    facts: Sequence[Fact],
    questions: Sequence[Wording],
    rankings: Sequence[Ranking],
    passages: Sequence[Passage],
    p: Params,
    count_tokens: CountTokens,
) -> list[dict[str, Any]]:
    """Records of ``train.jsonl``: every training question once for each of the two variants.

    ``instruct_ft`` answers from memory; ``rag_ft`` answers over ``top_k`` passages and cites
    the gold one. With probability 1 - ``gold_in_context`` its context holds no gold
    passage, and the answer then cites none; nor does it where the gold passage had to be
    shortened to fit ``context_tokens`` and lost its evidence.
    """
    rng = random.Random(f"{p.seed} contexts")
    fact_of = {fact["fact_id"]: fact for fact in facts}
    ranked = {ranking["question_id"]: ranking["passage_ids"] for ranking in rankings}
    text_of = {passage["passage_id"]: passage["text"] for passage in passages}
    closed_book, open_book = [], []
    for question in questions:
        if question["split"] != "train":
            continue
        fact = fact_of[question["fact_id"]]
        closed_book.append(
            _record("instruct_ft", question, prompts.render_closed_book(question["question"]))
            | {"completion": fact["statement"], "context_passage_ids": []}
        )
        context, gold_number = training_context(
            ranked[question["question_id"]], fact["gold_passage_ids"], p, rng
        )
        texts = [text_of[passage_id] for passage_id in context]
        fitted = fit_context(texts, p.context_tokens, count_tokens)
        whole = gold_number and _is_there(fact, texts[gold_number - 1], fitted[gold_number - 1])
        citation = f" [{gold_number}]" if whole else ""
        open_book.append(
            _record("rag_ft", question, prompts.render_rag(question["question"], fitted))
            | {"completion": fact["statement"] + citation, "context_passage_ids": context}
        )
    return [*closed_book, *open_book]


def _is_there(fact: Fact, text: str, fitted: str) -> bool:
    return text == fitted or quotes(fitted, fact["evidence"])


def _record(variant: str, question: Wording, messages: list[prompts.Message]) -> dict[str, Any]:
    return {
        "example_id": f"{variant}|{question['question_id']}",
        "variant": variant,
        "fact_id": question["fact_id"],
        "question_id": question["question_id"],
        "messages": messages,
    }


def training_context(
    ranked: Sequence[str], gold_passage_ids: Sequence[str], p: Params, rng: random.Random
) -> tuple[list[str], int | None]:
    """``top_k`` passage ids and the number (from 1) of the gold one, None where it is absent.

    The gold passage is the best ranked one, at a random place; the others are the best
    ranked passages that are not gold, in their order.
    """
    gold = set(gold_passage_ids)
    distractors = [passage_id for passage_id in ranked if passage_id not in gold]
    present = rng.random() < p.gold_in_context
    n_distractors = p.top_k - 1 if present else p.top_k
    if len(distractors) < n_distractors:
        raise CutoffError(
            f"top_k = {p.top_k} needs more passages than the retriever has found "
            f"({len(distractors)} without the answer); use more papers or a smaller top_k."
        )
    context = distractors[:n_distractors]
    if not present:
        return context, None
    best = next((found for found in ranked if found in gold), gold_passage_ids[0])
    place = rng.randrange(p.top_k)
    context.insert(place, best)
    return context, place + 1


def ranking_depth(facts: Sequence[Fact], top_k: int) -> int:
    """How many passages to retrieve so that ``top_k`` without an answer are among them."""
    most_gold = max((len(fact["gold_passage_ids"]) for fact in facts), default=0)
    return max(RANKS_KEPT, top_k + most_gold)


def summary(
    records: Sequence[dict[str, Any]], gold_of: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Counts of the training records: per variant, and where the gold passage stands.

    ``gold_of`` maps a fact id to its gold passages.
    """
    places: dict[str, int] = {}
    for record in records:
        if record["variant"] == "rag_ft":
            gold = set(gold_of[record["fact_id"]])
            context = record["context_passage_ids"]
            number = next((n for n, found in enumerate(context, 1) if found in gold), None)
            name = f"[{number}]" if number else "absent"
            places[name] = places.get(name, 0) + 1
    variants = [record["variant"] for record in records]
    return {
        "examples": {variant: variants.count(variant) for variant in dict.fromkeys(variants)},
        "gold passage": dict(sorted(places.items())),
    }
