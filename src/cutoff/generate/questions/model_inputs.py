"""What the models will read: evaluation records with fixed contexts, and training records.

Contexts come from the stored rankings of the real retriever. Evaluation takes them as they
are; training puts a gold passage among the retriever's own near misses.
"""

import random
from collections.abc import Iterator, Sequence

from cutoff import prompts
from cutoff.errors import CutoffError
from cutoff.generate.facts.checks import quotes
from cutoff.generate.retrieval.context import fit_context
from cutoff.generate.retrieval.passages import CountTokens
from cutoff.generate.retrieval.ranking import RANKS_KEPT
from cutoff.params import Params
from cutoff.records import Example, Fact, Message, Passage, Question, Ranking, Wording


def eval_records(
    facts: Sequence[Fact],
    questions: Sequence[Wording],
    rankings: Sequence[Ranking],
    passages: Sequence[Passage],
    p: Params,
    count_tokens: CountTokens,
) -> list[Question]:
    """Records of ``eval.jsonl``: each question with its answer and the ``top_k`` passages
    retrieved for it, best first, fitted to ``context_tokens``. All conditions with context
    get these same passages.
    """
    text_of = {passage["passage_id"]: passage["text"] for passage in passages}
    result: list[Question] = []
    for question, fact, ranked in _of_split("eval", facts, questions, rankings):
        context = list(ranked[: p.top_k])
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
) -> list[Example]:
    """Records of ``train.jsonl``: every training question once for each of the two variants.

    ``instruct_ft`` answers from memory; ``rag_ft`` answers over ``top_k`` passages and cites
    the gold one. With probability 1 - ``gold_in_context`` its context holds no gold
    passage, and the answer then cites none; nor does it where the gold passage had to be
    shortened to fit ``context_tokens`` and lost its evidence.
    """
    rng = random.Random(f"{p.seed} contexts")
    text_of = {passage["passage_id"]: passage["text"] for passage in passages}
    closed_book, open_book = [], []
    for question, fact, ranked in _of_split("train", facts, questions, rankings):
        asked, answer = question["question"], fact["statement"]
        messages = prompts.render_closed_book(asked)
        closed_book.append(_example("instruct_ft", question, messages, answer, []))
        context, gold_number = training_context(ranked, fact["gold_passage_ids"], p, rng)
        texts = [text_of[passage_id] for passage_id in context]
        fitted = fit_context(texts, p.context_tokens, count_tokens)
        if gold_number:
            whole, kept = texts[gold_number - 1], fitted[gold_number - 1]
            if whole == kept or quotes(kept, fact["evidence"]):
                answer += f" [{gold_number}]"
        messages = prompts.render_rag(asked, fitted)
        open_book.append(_example("rag_ft", question, messages, answer, context))
    return [*closed_book, *open_book]


def training_context(
    ranked: Sequence[str], gold_passage_ids: Sequence[str], p: Params, rng: random.Random
) -> tuple[list[str], int | None]:
    """``top_k`` passage ids and the number (from 1) of the gold one, None where it is absent.

    The gold passage is the best ranked one, at a random place; the others are the best
    ranked passages that are not gold, in their order.
    """
    distractors = [passage_id for passage_id in ranked if passage_id not in gold_passage_ids]
    present = rng.random() < p.gold_in_context
    n_distractors = p.top_k - present
    if len(distractors) < n_distractors:
        raise CutoffError(
            f"top_k = {p.top_k} needs more passages than the retriever has found "
            f"({len(distractors)} without the answer); use more papers or a smaller top_k."
        )
    context = distractors[:n_distractors]
    if not present:
        return context, None
    best = next((found for found in ranked if found in gold_passage_ids), gold_passage_ids[0])
    place = rng.randrange(p.top_k)
    context.insert(place, best)
    return context, place + 1


def ranking_depth(facts: Sequence[Fact], top_k: int) -> int:
    """How many passages to retrieve so that ``top_k`` without an answer are among them."""
    most_gold = max((len(fact["gold_passage_ids"]) for fact in facts), default=0)
    return max(RANKS_KEPT, top_k + most_gold)


def _of_split(
    split: str, facts: Sequence[Fact], questions: Sequence[Wording], rankings: Sequence[Ranking]
) -> Iterator[tuple[Wording, Fact, Sequence[str]]]:
    """The questions of a split, each with its fact and the passages ranked for it."""
    fact_of = {fact["fact_id"]: fact for fact in facts}
    ranked = {ranking["question_id"]: ranking["passage_ids"] for ranking in rankings}
    for question in questions:
        if question["split"] == split:
            yield question, fact_of[question["fact_id"]], ranked[question["question_id"]]


def _example(
    variant: str, question: Wording, messages: list[Message], answer: str, context: list[str]
) -> Example:
    return {
        "example_id": f"{variant}|{question['question_id']}",
        "variant": variant,
        "fact_id": question["fact_id"],
        "question_id": question["question_id"],
        "messages": messages,
        "completion": answer,
        "context_passage_ids": context,
    }
