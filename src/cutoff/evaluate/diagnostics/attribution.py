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

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cutoff import bootstrap
from cutoff.errors import CutoffError
from cutoff.evaluate.judging import reference
from cutoff.experiment import CONDITIONS, POST_STRATA, RAG_CONDITIONS
from cutoff.report.wording import interval, label, percent

Record = dict[str, Any]

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
CLOSED_BOOK = {
    with_rag: next(
        name
        for name, other in CONDITIONS.items()
        if other.model == CONDITIONS[with_rag].model and other.context == "none"
    )
    for with_rag in RAG_CONDITIONS
}


def kinds(
    questions: Sequence[Record], responses: Sequence[Record], verdicts: pd.DataFrame
) -> pd.DataFrame:
    """The kind of every answer with retrieval, one row each.

    ``verdicts`` is the frame of ``scoring.verdicts``. Columns: question_id, paper_id,
    stratum, condition, kind (one of ``KINDS``). Raises ``CutoffError`` when an answer has
    no verdict's row, or its closed-book twin none.
    """
    texts = {(r["condition"], r["question_id"]): r["response"] for r in responses}
    judged = {
        (row["condition"], row["question_id"]): row
        for row in verdicts.to_dict("records")
        if row["condition"] in CONDITIONS
    }
    rows = []
    for condition in RAG_CONDITIONS:
        for question in questions:
            pair, twin = (
                (name, question["question_id"]) for name in (condition, CLOSED_BOOK[condition])
            )
            for wanted in (pair, twin):
                if wanted not in judged or wanted not in texts:
                    raise CutoffError(
                        f"{wanted[1]} has no judged answer under {wanted[0]}; run 04_evaluate "
                        "again."
                    )
            kind = _kind(question, judged[pair], judged[twin], texts[pair], texts[twin])
            names = ("question_id", "paper_id", "stratum")
            rows.append({n: question[n] for n in names} | {"condition": condition, "kind": kind})
    return pd.DataFrame(rows, columns=["question_id", "paper_id", "stratum", "condition", "kind"])


def table(of_answers: pd.DataFrame) -> pd.DataFrame:
    """Share of every kind by condition, in every stratum that has questions.

    ``of_answers`` is what ``kinds`` returns. Columns: stratum (``all_post`` pools the three
    post-cutoff strata), condition, kind, n, n_papers, answers (of this kind), share, ci_low,
    ci_high (95 %, questions clustered in papers). The answers of a condition add up to n.
    """
    strata = {"all_post": POST_STRATA, **{name: (name,) for name in (*POST_STRATA, "control")}}
    rows = []
    for stratum, members in strata.items():
        part = of_answers[of_answers["stratum"].isin(members)]
        for condition, group in part.groupby("condition", sort=False):
            papers = group["paper_id"].to_numpy()
            for kind in KINDS:
                found = bootstrap.share(group["kind"].eq(kind).to_numpy(dtype=float), papers)
                rows.append({"stratum": stratum, "condition": condition, "kind": kind, **found})
    frame = pd.DataFrame(rows).rename(columns={"ones": "answers"})
    names = "stratum condition kind n n_papers answers share ci_low ci_high".split()
    return frame.reindex(columns=names)


def written(shares: pd.DataFrame, stratum: str = "all_post") -> pd.DataFrame:
    """``table`` of one stratum for reading: a row per kind that occurs, a column per condition."""
    part = shares[shares["stratum"] == stratum]
    text = [
        f"{row.answers:,} ({percent(row.share)}, {interval(row.ci_low, row.ci_high)})"
        for row in part.itertuples()
    ]
    grid = part.assign(text=text).pivot(index="kind", columns="condition", values="text")
    order = [kind for kind in KINDS if part.loc[part["kind"] == kind, "answers"].any()]
    grid = grid.loc[order, list(dict.fromkeys(part["condition"]))].rename(columns=label)
    grid.insert(0, "what became of the answer", [NAMES[kind] for kind in order])
    return grid.rename_axis(columns=None).reset_index(drop=True)


def reading(of_answers: pd.DataFrame) -> str:
    """What the kinds say: where answers on new papers are lost, and what known answers suffer."""
    post = of_answers[of_answers["stratum"].isin(POST_STRATA)]
    if post.empty:
        return "**Where answers are lost is not measured:** there are no questions on new papers."
    sentences = [_losses(post[post["condition"] == name], name) for name in RAG_CONDITIONS]
    sentences[0] = f"**{sentences[0]}**"
    unjudged = int(of_answers["kind"].eq("no_verdict").sum())
    if unjudged:
        sentences.append(f"{unjudged:,} answers could not be placed: a verdict is missing.")
    return " ".join([*sentences, _known(of_answers)])


def _kind(question: Record, own: Record, twin: Record, text: str, closed_book: str) -> str:
    if pd.isna(own["passed"]) or pd.isna(twin["passed"]):
        return "no_verdict"
    kind = BY_FACTS[bool(own["retrieval_hit"]), bool(twin["passed"]), bool(own["passed"])]
    if kind == "ignored or misread":
        declined = own["verdict"] == "not_attempted"
        return "ignored" if declined or _ignores(question, text, closed_book) else "misread"
    return kind


def _ignores(question: Record, text: str, closed_book: str) -> bool:
    """Whether little or nothing that an answer says anew stands in its passages."""
    new = set(_words(text)) - set(_words(closed_book)) - set(_words(question["question"]))
    new -= reference.FUNCTION_WORDS
    held = {word for passage in question["context"] for word in _words(passage)}
    return not new or len(new & held) < LEAST_FROM_PASSAGES * len(new)


def _words(text: str) -> list[str]:
    return reference.words(reference.plain(reference.CITATION.sub(" ", text)))


def _losses(answers: pd.DataFrame, condition: str) -> str:
    """One condition's wrong answers on new papers: how many, and whether search or reading."""
    n, wrong = len(answers), answers[answers["kind"].isin(WRONG)]
    start = f"{label(condition)} gets {len(wrong):,} of {n:,} questions on new papers wrong"
    if wrong.empty:
        return f"{start}."
    counts = wrong["kind"].value_counts()
    parts = "; ".join(f"{NAMES[kind]}: {counts[kind]:,}" for kind in WRONG if kind in counts)
    unseen = wrong["kind"].isin(["missed", "distracted"]).to_numpy(dtype=float)
    found = bootstrap.share(unseen, wrong["paper_id"].to_numpy())
    low, high = found["ci_low"], found["ci_high"]
    if np.isnan(low) or low <= 0.5 <= high:
        verdict = "whether more are lost in retrieval or in reading cannot be told"
    else:
        verdict = f"most are lost in {'retrieval' if low > 0.5 else 'reading'}"
    return (
        f"{start} ({parts}); {verdict} (evidence absent in {percent(found['share'])} of them, "
        f"95\u00a0% interval {interval(low, high)})."
    )


def _known(of_answers: pd.DataFrame) -> str:
    """How many answers that the weights knew without passages are wrong with them."""
    parts = []
    for condition in RAG_CONDITIONS:
        of_condition = of_answers[of_answers["condition"] == condition]
        known = of_condition[of_condition["kind"].isin(["kept", "held", "destroyed", "distracted"])]
        if known.empty:
            parts.append(f"{label(condition)} none known")
            continue
        lost = known["kind"].isin(["destroyed", "distracted"]).to_numpy(dtype=float)
        found = bootstrap.share(lost, known["paper_id"].to_numpy())
        parts.append(
            f"{label(condition)} {found['ones']:,} of {found['n']:,} "
            f"({percent(found['share'])}, {interval(found['ci_low'], found['ci_high'])})"
        )
    return (
        "Answers that the same weights got right without passages, control papers included, and "
        f"wrong with them: {'; '.join(parts)}."
    )
