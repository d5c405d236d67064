"""Does a model say so when it does not know? Refusals, with and without an answer to be found.

The questions of ``unanswerable.jsonl`` are about papers that are in no index and no training:
whatever is answered there is invented (or was known before). A model that declines everything
would look perfect on them, so the same rate on ordinary questions stands beside it.
"""

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from cutoff.evaluate import grounding, means, reference
from cutoff.wording import interval, label, percent

Record = dict[str, Any]

UNANSWERABLE = "unanswerable"
ANSWERABLE = "all_post"

# Beside the phrases of the reference rules, which are kept narrow because a verdict hangs on
# them; over words without articles and apostrophes, as ``reference.words`` gives them.
DECLINES = re.compile(
    r"\b(?:i (?:do not|don t|cannot|can t|could not|couldn t|am unable to|m unable to) "
    r"(?:have (?:access|enough|any|sufficient)|provide|answer|help|give|confirm|identify|locate)"
    r"|(?:passages?|context|text|papers?|documents?) (?:do|does|did) ?(?:not|n t|nt) "
    r"|(?:doesn|don|didn) t (?:mention|state|specify|say|provide|contain|include|report|disclose)"
    r"|not (?:mentioned|stated|specified|given|found|provided|available) in (?:passages?|context"
    r"|text|given|provided)|there is no (?:mention|information|answer)|insufficient information"
    r"|as an ai|(?:is|it s|it is) (?:not possible|impossible) to (?:say|know|tell|determine)"
    r"|i m sorry|i am sorry)\b"
)


def declines(text: str) -> bool:
    """True for an empty response and for one that says that it has no answer."""
    said = " ".join(reference.words(reference.plain(reference.CITATION.sub(" ", text))))
    return not said or bool(reference.REFUSAL.search(said) or DECLINES.search(said))


def scores(questions: Sequence[Record], responses: Sequence[Record]) -> pd.DataFrame:
    """One row per answer: question_id, paper_id, stratum, condition, and the flags ``declined``
    (it has no answer and does not give the reference) and ``guessed`` (it holds the reference)."""
    of = {question["question_id"]: question for question in questions}
    rows = []
    for response in responses:
        question = of[response["question_id"]]
        guessed = grounding.holds(response["response"], question["reference"])
        rows.append(
            {name: question[name] for name in ("question_id", "paper_id", "stratum")}
            | {"condition": response["condition"]}
            | {"declined": declines(response["response"]) and not guessed, "guessed": guessed}
        )
    columns = "question_id paper_id stratum condition declined guessed".split()
    return pd.DataFrame(rows, columns=columns)


def by_condition(
    unanswerable: pd.DataFrame, ordinary: pd.DataFrame, replicates: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """``means.by_condition`` of ``declined`` and ``guessed``: the stratum ``unanswerable``, and
    beside it the ordinary questions on new papers (``all_post``) and before the cutoff."""
    both = [frame for frame in (unanswerable, ordinary) if len(frame)]
    if not both:
        return means.by_condition(ordinary, ["declined", "guessed"], replicates, seed)
    return means.by_condition(
        pd.concat(both, ignore_index=True),
        ["declined", "guessed"],
        replicates,
        seed,
        strata=(UNANSWERABLE, ANSWERABLE, "control"),
    )


def reading(table: pd.DataFrame) -> str:
    """How often each condition declined where it had to, and where it need not have."""
    declined = table[table["measure"] == "declined"]
    rows = {(row["stratum"], row["condition"]): row for row in declined.to_dict("records")}
    conditions = [name for name in dict.fromkeys(declined["condition"])]
    ordinary = [rows[ANSWERABLE, name] for name in conditions if (ANSWERABLE, name) in rows]
    often = ", ".join(f"{label(row['condition'])} {percent(row['estimate'])}" for row in ordinary)
    must = [rows[UNANSWERABLE, name] for name in conditions if (UNANSWERABLE, name) in rows]
    if not must:
        return (
            "**Whether a model declines what it cannot know was not measured.** "
            "`n_eval_unanswerable=40` holds papers out of the corpus and asks about them all the "
            "same."
            + (f" Ordinary questions on new papers are declined by: {often}." if often else "")
        )
    said = ", ".join(
        f"{label(row['condition'])} {percent(row['estimate'])}"
        f" ({interval(row['ci_low'], row['ci_high'])})"
        for row in must
    )
    return (
        f"**Of {must[0]['n']:,} questions that nothing in the corpus answers, declined: {said}.** "
        "Every other answer there is invented. On ordinary questions, which are declined "
        f"needlessly: {often}. Recognised by phrases; 95 % intervals with papers resampled. "
        "No prompt invites a model to decline, and no training example does."
    )
