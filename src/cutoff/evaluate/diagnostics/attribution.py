"""What became of every answer with retrieval: one name for each, and no answer without one.

Three facts name an answer: whether the evidence was among its passages, whether the same
weights knew the answer without passages (guesses included), and whether the answer is right.

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

``no_verdict``: the judge failed on the answer or on its closed-book twin. A wrong answer
*misread* the evidence when at least half of the words that it has beyond the question and beyond
the closed-book answer stand in the passages; else, or when it declined, it *ignored* it.
"""

from collections.abc import Mapping
from typing import Any

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
KINDS = tuple(NAMES)
RIGHT, WRONG = KINDS[:4], KINDS[4:9]
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
    rows = [
        {"stratum": stratum, "condition": condition, "kind": kind, **_share(group, kind)}
        for stratum, part in by_stratum(of_answers)
        for condition, group in part.groupby("condition", sort=False)
        for kind in KINDS
    ]
    frame = pd.DataFrame(rows).rename(columns={"ones": "answers"})
    names = "stratum condition kind n n_papers answers share ci_low ci_high".split()
    return frame.reindex(columns=names)


def reading(of_answers: pd.DataFrame) -> str:
    """Where answers on new papers are lost, and how many known ones passages cost."""
    if not of_answers["stratum"].isin(POST_STRATA).any():
        return "**Where answers are lost is not measured:** there are no questions on new papers."
    losses, known = [], []
    for condition, part in of_answers.groupby("condition", sort=False):
        new = part[part["stratum"].isin(POST_STRATA)]
        wrong = new[new["kind"].isin(WRONG)]
        absent = _share(wrong, "missed", "distracted")
        told = with_interval(absent["share"], absent["ci_low"], absent["ci_high"], "percent")
        losses.append(f"{label(condition)} {len(wrong):,} of {len(new):,}, {told}")
        lost = _share(part[part["kind"].isin(["kept", "held", "destroyed", "distracted"])],
                      "destroyed", "distracted")  # fmt: skip
        known.append(f"{label(condition)} {lost['ones']} of {lost['n']}")
    return (
        "**Wrong on new papers, and the share of these in which the evidence was not retrieved: "
        f"{'; '.join(losses)}.** Known without passages and wrong with them, control papers "
        f"included: {', '.join(known)}."
    )


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
