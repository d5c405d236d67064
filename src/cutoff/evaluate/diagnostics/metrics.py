"""Judge-free measures of every answer: what a rule can say without any judge.

    scores = metrics.scores(answers, stage.params)

None of them knows the condition, none can be talked to, and all of them are blind to meaning:
a right answer in other words scores low, a wrong name in the right sentence scores high. So
``agreement`` says how far each can be trusted, and where the judge cannot be, they lead.

Answers are sentences and references are often a name or a number. As usual with several right
wordings, a response is compared with both the reference and the full sentence that the data
set gives for it (``statement``), and the better of the two counts.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cutoff import embeddings
from cutoff.errors import CutoffError, DeadlineReached
from cutoff.evaluate.diagnostics import grounding, refusals
from cutoff.evaluate.judging import reference
from cutoff.evaluate.judging.rubric import without_citations
from cutoff.params import Params

QUALITY = ("stated", "exact_match", "numeric_match", "token_f1", "similarity")
LENGTHS = ("completion_tokens", "prompt_tokens", "latency_seconds")
BEHAVIOUR = ("declined", "looped", "cut_off", "words", *LENGTHS)
SHARES = ("stated", "exact_match", "numeric_match", "declined", "looped", "cut_off")
KEYS = ("question_id", "paper_id", "stratum", "condition")

LOOP_TIMES = 3  # the same words, one directly after the other
LONGEST_LOOP_WORDS = 24
STUTTER = re.compile(r"(\S{1,8}?)\1{7,}")  # "!!!!!!!!": what a broken model says


def scores(answers: pd.DataFrame, p: Params | None = None) -> pd.DataFrame:
    """One row per answer with every measure; citation markers count for none of them.

    ``answers``: see ``joined.join``. Columns beside question_id, paper_id, stratum, condition and
    passed; the first four from 0 to 1:

    * ``stated``: the reference stands in the response (whole words, or a quantity by value),
      denied or not, alone or in a list.
    * ``exact_match``: the same words, without case, accents, punctuation and articles.
    * ``numeric_match``: all quantities of the reference are stated, by value; missing where
      the reference holds none.
    * ``token_f1``: words in common (Rajpurkar et al. 2016, SQuAD).
    * ``similarity``: cosine of the embeddings by ``p.embedding_model``, -1 to 1; missing
      without ``p``, and where that model cannot be had.
    * ``declined``: it says that it has no answer, and does not give the reference.
    * ``looped``: it says the same words three times running, or stutters.
    * ``cut_off``: it ended at ``max_new_tokens``.
    * ``words``, ``completion_tokens``, ``prompt_tokens``: lengths.
    * ``latency_seconds``: from sending to the last byte, with the wait for a free slot.

    An empty response scores 0 wherever text is compared.
    """
    measured = pd.DataFrame([_measured(row) for row in answers.to_dict("records")])
    frame = answers[[*KEYS, "passed"]].reset_index(drop=True).join(measured)
    frame["similarity"] = _similarities(answers, p)
    frame = frame.reindex(columns=[*KEYS, "passed", *QUALITY, *BEHAVIOUR])
    return frame.astype(dict.fromkeys((*QUALITY, *BEHAVIOUR), float))


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


def _right(row: Mapping[str, Any]) -> list[str]:
    """The right wordings: reference and statement, each once."""
    return list(dict.fromkeys((row["reference"], row["statement"] or row["reference"])))


def _measured(row: Mapping[str, Any]) -> dict[str, Any]:
    text = without_citations(row["response"])
    said = grounding.words(text)
    wanted = [reference.words(reference.plain(right)) for right in _right(row)]
    numbers = reference.quantities(reference.plain(row["reference"]))
    given = reference.quantities(reference.plain(text))
    stated = grounding.holds(text, row["reference"])
    return {
        "stated": stated,
        "exact_match": bool(said) and said in wanted,
        "numeric_match": all(n in given for n in numbers) if numbers else None,
        "token_f1": max(token_f1(said, right) for right in wanted),
        "declined": refusals.declines(text) and not stated,
        "looped": loops(row["response"]),
        "cut_off": row["finish_reason"] == "length",
        "words": len(text.split()),
        **{name: row[name] for name in LENGTHS},
    }


def _similarities(answers: pd.DataFrame, p: Params | None) -> "np.ndarray":
    """Cosine of every text and the nearest of its right wordings; NaN where not measured."""
    missing = np.full(len(answers), np.nan)
    if p is None or answers.empty:
        return missing
    texts = [without_citations(text) for text in answers["response"]]
    wanted = [_right(row) for row in answers[["reference", "statement"]].to_dict("records")]
    every = list(dict.fromkeys([*texts, *(right for both in wanted for right in both)]))
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
            max(float(of[text] @ of[right]) for right in both) if text else 0.0
            for text, both in zip(texts, wanted, strict=True)
        ]
    )
