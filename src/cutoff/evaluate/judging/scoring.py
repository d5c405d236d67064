"""Judgements as tables: how many answers got which verdict, and examples chosen by rule."""

from collections.abc import Callable

import pandas as pd

from cutoff.evaluate.judging.rubric import VERDICTS
from cutoff.experiment import CONDITIONS, RAG_CONDITIONS

Passed = dict[str, bool]  # condition -> passed, of one question that has every verdict

# What happened -> whether it did, by passes, stratum, and whether retrieval found the evidence.
KINDS: dict[str, Callable[[Passed, str, bool], bool]] = {
    "Retrieval supplied the answer": (
        lambda p, stratum, hit: hit and p["base_rag"] and not p["base"]
    ),
    "Training supplied the answer": (
        lambda p, stratum, hit: stratum == "seen" and p["instruct_ft"] and not p["base"]
    ),
    "Training did not reach a paper it never saw": (
        lambda p, stratum, hit: stratum == "unseen_paper" and not p["instruct_ft"]
    ),
    "The evidence was not retrieved": (
        lambda p, stratum, hit: not hit and not p["base_rag"] and not p["rag_ft_rag"]
    ),
    "The evidence was there and was not used": lambda p, stratum, hit: hit and not p["base_rag"],
    "Training cost an answer that retrieval had supplied": (
        lambda p, stratum, hit: p["base_rag"] and not p["instruct_ft_rag"]
    ),
    "Known before, forgotten after training": (
        lambda p, stratum, hit: stratum == "control" and p["base"] and not p["instruct_ft"]
    ),
}


def outcomes(answers: pd.DataFrame) -> pd.DataFrame:
    """How many answers of each condition got which verdict; control papers included."""
    table = pd.crosstab(answers["condition"], answers["verdict"])
    table = table.reindex(index=list(CONDITIONS), columns=list(VERDICTS), fill_value=0)
    return table.rename_axis(columns=None).reset_index()


def examples(answers: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(kind, six answers) of the first question of each kind of outcome, where there is one.

    A rule, not a person, picks them: the first question in the order of ``answers`` (see
    ``joined.join``) that no earlier kind has taken. Columns: question, reference, condition,
    response, passed.
    """
    whole = [
        rows.set_index("condition", drop=False)
        for _, rows in answers.groupby("question_id", sort=False)
        if rows["passed"].notna().all()
    ]
    taken: set[int] = set()
    chosen = []
    for kind, is_kind in KINDS.items():
        for number, rows in enumerate(whole):
            passed = {str(name): bool(flag) for name, flag in rows["passed"].items()}
            hit = bool(rows.loc[RAG_CONDITIONS[0], "retrieval_hit"])
            if number not in taken and is_kind(passed, rows["stratum"].iloc[0], hit):
                taken.add(number)
                names = ["question", "reference", "condition", "response", "passed"]
                chosen.append((kind, rows.loc[list(CONDITIONS), names].reset_index(drop=True)))
                break
    return chosen
