"""Judge-free measures of every answer: what a rule can say without any judge.

    scores = metrics.scores(questions, responses, stage.params)

None of them knows the condition, none can be talked to, and all of them are blind to meaning:
a right answer in other words scores low, a wrong name in the right sentence scores high. So
``agreement`` says how far each can be trusted, and where the judge cannot be, they lead.

Answers are sentences and references are often a name or a number. As usual with several right
wordings, a response is compared with both the reference and the full sentence that the data
set gives for it (``statement``), and the better of the two counts.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cutoff.errors import CutoffError, DeadlineReached
from cutoff.evaluate.diagnostics import grounding, refusals
from cutoff.evaluate.judging import reference
from cutoff.evaluate.stats import averages
from cutoff.params import Params

if TYPE_CHECKING:  # slow to import
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU

Record = dict[str, Any]

QUALITY = (
    "stated",
    "exact_match",
    "numeric_match",
    "token_f1",
    "rouge_l",
    "bleu",
    "similarity",
)
BEHAVIOUR = (
    "declined",
    "looped",
    "cut_off",
    "words",
    "completion_tokens",
    "prompt_tokens",
    "latency_seconds",
)
SHARES = ("stated", "exact_match", "numeric_match", "declined", "looped", "cut_off")
KEYS = ("question_id", "paper_id", "stratum", "condition")

LOOP_TIMES = 3  # the same words, one directly after the other
LONGEST_LOOP_WORDS = 24
STUTTER = re.compile(r"(\S{1,8}?)\1{7,}")  # "!!!!!!!!": what a broken model says


def scores(
    questions: Sequence[Record], responses: Sequence[Record], p: Params | None = None
) -> pd.DataFrame:
    """One row per answer with every measure; citation markers count for none of them.

    Columns beside question_id, paper_id, stratum, condition; the first seven from 0 to 1:

    * ``stated``: the reference stands in the response (whole words, or a quantity by value),
      denied or not, alone or in a list.
    * ``exact_match``: the same words, without case, accents, punctuation and articles.
    * ``numeric_match``: all quantities of the reference are stated, by value; missing where
      the reference holds none.
    * ``token_f1``: words in common (Rajpurkar et al. 2016, SQuAD).
    * ``rouge_l``: longest common subsequence, F measure (Lin 2004; rouge-score, no stemming).
    * ``bleu``: of the sentence (Papineni et al. 2002; sacrebleu, effective order, exponential
      smoothing), as a proportion.
    * ``similarity``: cosine of the embeddings by ``p.embedding_model``, -1 to 1; missing
      without ``p``, and where that model cannot be had.
    * ``declined``: it says that it has no answer, and does not give the reference.
    * ``looped``: it says the same words three times running, or stutters.
    * ``cut_off``: it ended at ``max_new_tokens``.
    * ``words``, ``completion_tokens``, ``prompt_tokens``: lengths.
    * ``latency_seconds``: from sending to the last byte, with the wait for a free slot.

    An empty response scores 0 wherever text is compared.
    """
    of = {question["question_id"]: question for question in questions}
    asked = [of[response["question_id"]] for response in responses]
    texts = [_plain(response["response"]) for response in responses]
    wanted = [_answers(question) for question in asked]
    rows = [
        {name: question[name] for name in KEYS[:3]}
        | {"condition": response["condition"]}
        | _compared(text, golds, question["reference"])
        | _behaviour(response, question)
        for response, question, text, golds in zip(responses, asked, texts, wanted, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=[*KEYS, *QUALITY, *BEHAVIOUR])
    frame["similarity"] = _similarities(texts, wanted, p)
    return frame.astype(dict.fromkeys((*QUALITY, *BEHAVIOUR), float))


def by_condition(frame: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """``means.by_condition`` of every measure, tidy; ``unit`` says what the numbers are."""
    table = averages.by_condition(frame, (*QUALITY, *BEHAVIOUR), replicates, seed)
    units = dict.fromkeys(("words", "completion_tokens", "prompt_tokens"), "number")
    units |= {"latency_seconds": "s"} | dict.fromkeys(SHARES, "share")
    table["unit"] = [units.get(name, "score") for name in table["measure"]]
    return table


def grid(table: pd.DataFrame, measures: Sequence[str], stratum: str = "all_post") -> pd.DataFrame:
    """``by_condition`` for reading: a row per condition, a column per measure, means only."""
    rows = table[(table["stratum"] == stratum) & table["measure"].isin(list(measures))]
    wide = rows.pivot(index="condition", columns="measure", values="estimate")
    order = list(dict.fromkeys(rows["condition"]))
    digits = {name: 3 if name in (*QUALITY, *SHARES) else 2 for name in measures}
    return wide.loc[order, list(measures)].round(digits).reset_index().rename_axis(columns=None)


# --- one answer ------------------------------------------------------------------------


def token_f1(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Harmonic mean of the shares of words in common; 0 without any."""
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def loops(text: str) -> bool:
    """The same 1 to 24 words three times running, or a few characters eight times running.

    A single repeated word needs four: "very very very" is an emphasis.
    """
    said = text.casefold().split()
    if STUTTER.search(text):
        return True
    for n in range(1, min(LONGEST_LOOP_WORDS, len(said) // LOOP_TIMES) + 1):
        needed = n * (LOOP_TIMES - 1 if n > 1 else LOOP_TIMES)
        run = 0  # how many words in a row equal the one n places before
        for word, before in zip(said[n:], said, strict=False):
            run = run + 1 if word == before else 0
            if run >= needed:
                return True
    return False


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", reference.CITATION.sub(" ", text)).strip()


def _answers(question: Record) -> list[str]:
    """The right wordings: reference and statement, each once."""
    known = (question["reference"], question.get("statement") or question["reference"])
    return list(dict.fromkeys(known))


def _compared(text: str, golds: Sequence[str], answer: str) -> Record:
    said = reference.words(reference.plain(text))
    wanted = [reference.words(reference.plain(gold)) for gold in golds]
    numbers = reference.quantities(reference.plain(answer))
    stated = reference.quantities(reference.plain(text))
    return {
        "stated": grounding.holds(text, answer),
        "exact_match": bool(said) and said in wanted,
        "numeric_match": all(n in stated for n in numbers) if numbers else None,
        "token_f1": max(token_f1(said, gold) for gold in wanted),
        "rouge_l": _rouge().score_multi(golds, text)["rougeL"].fmeasure if said else 0.0,
        "bleu": _bleu().sentence_score(text, golds).score / 100 if said else 0.0,
    }


def _behaviour(response: Record, question: Record) -> Record:
    text = response["response"]
    stated = grounding.holds(text, question["reference"])
    return {
        "declined": refusals.declines(text) and not stated,
        "looped": loops(text),
        "cut_off": response["finish_reason"] == "length",
        "words": len(_plain(text).split()),
        **{name: response[name] for name in BEHAVIOUR[-3:]},
    }


@lru_cache(maxsize=1)
def _rouge() -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)


@lru_cache(maxsize=1)
def _bleu() -> "BLEU":
    from sacrebleu.metrics import BLEU

    return BLEU(effective_order=True)


def _similarities(
    texts: Sequence[str], wanted: Sequence[Sequence[str]], p: Params | None
) -> "np.ndarray":
    """Cosine of every text and the nearest of its right wordings; NaN where not measured."""
    missing = np.full(len(texts), np.nan)
    if p is None or not texts:
        return missing
    from cutoff import embeddings

    every = list(dict.fromkeys([*texts, *(gold for golds in wanted for gold in golds)]))
    try:
        vectors = embeddings.embed(every, p.embedding_model, cache=embeddings.cache_of(p))
    except DeadlineReached:
        raise
    except (CutoffError, RuntimeError) as error:  # no network, or no room beside a server's model
        print(f"Similarity was not measured: {error}")
        return missing
    of = dict(zip(every, vectors, strict=True))
    return np.array(
        [
            max(float(of[text] @ of[gold]) for gold in golds) if text else 0.0
            for text, golds in zip(texts, wanted, strict=True)
        ]
    )
