"""Does a model say so when it does not know? Refusals, with and without an answer to be found.

The questions of ``unanswerable.jsonl`` are about papers that are in no index and no training:
whatever is answered there is invented (or was known before). A model that declines everything
would look perfect on them, so the same rate on ordinary questions stands beside it.
"""

import re

import pandas as pd

from cutoff.evaluate.diagnostics import grounding
from cutoff.evaluate.judging import reference
from cutoff.evaluate.stats import averages
from cutoff.report.wording import each

UNANSWERABLE = "unanswerable"
ANSWERABLE = "all_post"
FLAGS = ("declined", "guessed", "not_attempted")
MISSING = (
    "**Whether a model declines what it cannot know was not measured.** `n_eval_unanswerable=40` "
    "holds papers out of the corpus and asks about them all the same."
)
# Beside the phrases of the reference rules, which are kept narrow because a verdict hangs on
# them; over words without articles and apostrophes, as ``reference.words`` gives them.
DECLINES = re.compile(
    r"\b(?:i (?:do not|don t|cannot|can t|could not|couldn t|am unable to|m unable to) "
    r"(?:have (?:access|enough|any|sufficient)|provide|answer|help|give|confirm|identify|locate)"
    r"|(?:doesn|don|didn) t (?:mention|state|specify|say|provide|contain|include|report|disclose)"
    r"|not (?:mentioned|stated|specified|given|found|provided|available) in (?:passages?|context"
    r"|text|given|provided)|there is no (?:mention|information|answer)|insufficient information"
    r"|as ai|(?:is|it s|it is) (?:not possible|impossible) to (?:say|know|tell|determine)"
    r"|i m sorry|i am sorry)\b"
)


def declines(text: str) -> bool:
    """True for an empty response and for one that says that it has no answer."""
    said = " ".join(grounding.words(text))
    return not said or bool(reference.REFUSAL.search(said) or DECLINES.search(said))


def scores(answers: pd.DataFrame) -> pd.DataFrame:
    """One row per answer (see ``joined.join``): question_id, paper_id, stratum, condition, and

    * ``declined``: by its phrases it has no answer, and it does not hold the reference.
    * ``guessed``: it holds the reference.
    * ``not_attempted``: the judge says so; missing where it gave no verdict.
    """
    both = zip(answers["response"], answers["reference"], strict=True)
    guessed = [grounding.holds(said, wanted) for said, wanted in both]
    declined = [declines(said) for said in answers["response"]]
    judged = answers["verdict"].where(answers["verdict"] != "judge_failed")
    frame = answers[["question_id", "paper_id", "stratum", "condition"]].assign(
        guessed=guessed,
        declined=[said and not held for said, held in zip(declined, guessed, strict=True)],
        not_attempted=judged.eq("not_attempted").where(judged.notna(), None),
    )
    return frame.astype(dict.fromkeys(FLAGS, "boolean"))


def by_condition(
    unanswerable: pd.DataFrame, ordinary: pd.DataFrame, replicates: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """``averages.by_condition`` of the flags: the stratum ``unanswerable``, and beside it the
    ordinary questions on new papers (``all_post``) and on those before the cutoff."""
    both = [frame for frame in (unanswerable, ordinary) if len(frame)]
    strata = (UNANSWERABLE, ANSWERABLE, "control")
    together = pd.concat(both, ignore_index=True) if both else ordinary
    return averages.by_condition(together, FLAGS, replicates, seed, strata)


def reading(table: pd.DataFrame) -> str:
    """How often each condition declined where it had to, and where it need not have."""
    declined = table[table["measure"] == "declined"].set_index("stratum", drop=False)
    must, needless = (
        each(declined[declined["stratum"] == name], "condition", "estimate")
        for name in (UNANSWERABLE, ANSWERABLE)
    )
    first = f"**Of the questions that nothing here answers, declined: {must}.**"
    needless = needless or "not measured"
    return f"{first if must else MISSING} Of ordinary ones on new papers, needlessly: {needless}."
