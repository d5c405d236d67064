"""What became of every answer with retrieval: one name for each, and no answer without one.

Three facts name an answer: whether the evidence was among its passages, whether the same
weights knew the answer without passages, and whether the answer is right.

=========  ========  =======  ==========================================
evidence   known     answer   kind
=========  ========  =======  ==========================================
there      no        right    ``recovered``
there      yes       right    ``kept``
there      yes       wrong    ``destroyed``: a known answer was lost
there      no        wrong    ``ignored`` or ``misread`` (by its text)
missing    no        wrong    ``missed``: retrieval could not supply it
missing    yes       right    ``held``: known, and held without evidence
missing    yes       wrong    ``distracted``: lost among other passages
missing    no        right    ``lucky``: right without known or gold evidence
=========  ========  =======  ==========================================

``no_verdict`` is what remains: the judge failed on the answer or on its closed-book twin.
"Known" is what the closed-book answer passed, which holds guesses too.

A wrong answer *misread* the evidence when at least half of the words that it has beyond the
question and beyond the closed-book answer stand in the passages; it *ignored* the evidence
when fewer do, when it has none, or when it declined. That line is drawn by text, and is the
least certain of these.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cutoff import bootstrap
from cutoff.evaluate.diagnostics.grounding import words
from cutoff.evaluate.judging import reference
from cutoff.evaluate.stats.averages import by_stratum
from cutoff.experiment import CONDITIONS, POST_STRATA, RAG_CONDITIONS
from cutoff.report.wording import label, with_interval

BY_FACTS = {  # (evidence among the passages, known without them, right)
    (True, False, True): "recovered",
    (True, True, True): "kept",
    (False, True, True): "held",
    (False, False, True): "lucky",
    (False, False, False): "missed",
    (True, False, False): "ignored or misread",
    (True, True, False): "destroyed",
    (False, True, False): "distracted",
}
RIGHT = ("recovered", "kept", "held", "lucky")
WRONG = ("missed", "ignored", "misread", "destroyed", "distracted")
KINDS = (*RIGHT, *WRONG, "no_verdict")
NAMES = {
    "recovered": "evidence read, answer recovered",
    "kept": "known, kept with evidence",
    "held": "known, held without evidence",
    "lucky": "right without evidence, not known",
    "missed": "retrieval missed the evidence",
    "ignored": "evidence there, ignored",
    "misread": "evidence there, misread",
    "destroyed": "known, lost despite evidence",
    "distracted": "known, lost among other passages",
    "no_verdict": "no verdict",
}
LEAST_FROM_PASSAGES = 0.5  # share of an answer's new words
CLOSED_BOOK = {name: CONDITIONS[name].model for name in RAG_CONDITIONS}  # condition of its twin


def kinds(answers: pd.DataFrame) -> pd.DataFrame:
    """The kind of every answer with retrieval, one row each.

    ``answers``: every answer of the six conditions, see ``joined.join``. Columns: question_id,
    paper_id, stratum, condition, kind (one of ``KINDS``).
    """
    by_pair = {(row["condition"], row["question_id"]): row for row in answers.to_dict("records")}
    own = answers[answers["condition"].isin(RAG_CONDITIONS)]
    found = [
        _kind(row, by_pair[CLOSED_BOOK[row["condition"]], row["question_id"]])
        for row in own.to_dict("records")
    ]
    names = ["question_id", "paper_id", "stratum", "condition"]
    return own[names].assign(kind=found).reset_index(drop=True)


def table(of_answers: pd.DataFrame) -> pd.DataFrame:
    """Share of every kind by condition, in every stratum that has questions.

    ``of_answers`` is what ``kinds`` returns. Columns: stratum (``all_post`` pools the three
    post-cutoff strata), condition, kind, n, n_papers, answers (of this kind), share, ci_low,
    ci_high (95 %, questions clustered in papers). The answers of a condition add up to n.
    """
    rows = []
    for stratum, part in by_stratum(of_answers):
        for condition, group in part.groupby("condition", sort=False):
            for kind in KINDS:
                found = _share(group, kind)
                rows.append({"stratum": stratum, "condition": condition, "kind": kind, **found})
    frame = pd.DataFrame(rows).rename(columns={"ones": "answers"})
    names = "stratum condition kind n n_papers answers share ci_low ci_high".split()
    return frame.reindex(columns=names)


def reading(of_answers: pd.DataFrame) -> str:
    """Where answers on new papers are lost, and how many known ones passages cost."""
    if not of_answers["stratum"].isin(POST_STRATA).any():
        return "**Where answers are lost is not measured:** there are no questions on new papers."
    losses, known = [], []
    for condition, part in of_answers.groupby("condition", sort=False):
        losses.append(f"{label(condition)} {_losses(part[part['stratum'].isin(POST_STRATA)])}")
        of_known = part[part["kind"].isin(["kept", "held", "destroyed", "distracted"])]
        lost = _share(of_known, "destroyed", "distracted")
        known.append(f"{label(condition)} {lost['ones']} of {lost['n']}")
    text = f"**{'; '.join(losses)}.** Known without passages and wrong with them: "
    text += f"{', '.join(known)}, control papers included."
    unjudged = int(of_answers["kind"].eq("no_verdict").sum())
    return text + (f" {unjudged:,} answers lack a verdict." if unjudged else "")


def _kind(own: Mapping[str, Any], twin: Mapping[str, Any]) -> str:
    if pd.isna(own["passed"]) or pd.isna(twin["passed"]):
        return "no_verdict"
    kind = BY_FACTS[bool(own["retrieval_hit"]), bool(twin["passed"]), bool(own["passed"])]
    if kind == "ignored or misread":
        declined = own["verdict"] == "not_attempted"
        return "ignored" if declined or _ignores(own, twin["response"]) else "misread"
    return kind


def _ignores(own: Mapping[str, Any], closed_book: str) -> bool:
    """Whether little or nothing that an answer says anew stands in its passages."""
    known = words(closed_book) + words(own["question"])
    new = set(words(own["response"])) - set(known) - reference.FUNCTION_WORDS
    held = {word for passage in own["context"] for word in words(passage)}
    return not new or len(new & held) < LEAST_FROM_PASSAGES * len(new)


def _share(group: pd.DataFrame, *kinds: str) -> dict[str, float]:
    return bootstrap.share(group["kind"].isin(kinds).to_numpy(float), group["paper_id"])


def _losses(answers: pd.DataFrame) -> str:
    """One condition's wrong answers on new papers: how many, and whether search or reading."""
    wrong = answers[answers["kind"].isin(WRONG)]
    start = f"gets {len(wrong):,} of {len(answers):,} questions on new papers wrong"
    if wrong.empty:
        return start
    absent = _share(wrong, "missed", "distracted")
    low, high = absent["ci_low"], absent["ci_high"]
    if np.isnan(low) or low <= 0.5 <= high:
        verdict = "whether in retrieval or in reading cannot be told"
    else:
        verdict = f"most are lost in {'retrieval' if low > 0.5 else 'reading'}"
    numbers = with_interval(absent["share"], low, high, "percent")
    return f"{start}, {verdict} (evidence absent in {numbers})"
