"""Judgements as tables: how many answers got which verdict, and examples chosen by rule."""

import pandas as pd

from cutoff.evaluate.judging.rubric import VERDICTS
from cutoff.experiment import CONDITIONS, RAG_CONDITIONS

# What happened -> a condition on a question: its stratum, whether retrieval found the evidence
# (hit), and which conditions passed.
KINDS = {
    "Retrieval supplied the answer": "hit and base_rag and not base",
    "Training supplied the answer": "stratum == 'seen' and instruct_ft and not base",
    "Training did not reach a paper it never saw": "stratum == 'unseen_paper' and not instruct_ft",
    "The evidence was not retrieved": "not hit and not base_rag and not rag_ft_rag",
    "The evidence was there and was not used": "hit and not base_rag",
    "Training cost an answer that retrieval had supplied": "base_rag and not instruct_ft_rag",
    "Known before, forgotten after training": "stratum == 'control' and base and not instruct_ft",
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
    names = ["question", "reference", "condition", "response", "passed"]
    wide = answers.pivot(index="question_id", columns="condition", values="passed")
    wide = wide.loc[answers["question_id"].unique()].dropna().astype(bool)
    first = answers[answers["condition"] == RAG_CONDITIONS[0]].set_index("question_id")
    first = first.loc[wide.index]
    wide = wide.assign(stratum=first["stratum"], hit=first["retrieval_hit"].astype(bool))
    chosen = []
    for kind, rule in KINDS.items():
        found = wide.query(rule, engine="python").index
        if len(found):
            rows = answers[answers["question_id"] == found[0]].set_index("condition", drop=False)
            chosen.append((kind, rows.loc[list(CONDITIONS), names].reset_index(drop=True)))
            wide = wide.drop(found[0])
    return chosen
