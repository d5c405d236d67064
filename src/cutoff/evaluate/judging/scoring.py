"""Judgements as tidy frames: verdicts, outcomes, diagnostics and examples."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from cutoff.errors import CutoffError
from cutoff.evaluate.judging.judge import VERDICTS
from cutoff.experiment import CONDITIONS, RAG_CONDITIONS

Record = dict[str, Any]

FLAGS = ("passed", "retrieval_hit", "citation_present", "citation_right")


def verdicts(questions: Sequence[Record], judgements: Sequence[Record]) -> pd.DataFrame:
    """One row per condition and question, in the order of ``CONDITIONS`` and ``questions``.

    Columns: question_id, paper_id, stratum, condition, verdict, and the flags passed,
    retrieval_hit, citation_present, citation_right: True, False or missing, never filled in.
    Raises ``CutoffError`` when a judgement is missing or there are two.
    """
    by_pair: dict[tuple[str, str], Record] = {}
    for judgement in judgements:
        pair = (judgement["condition"], judgement["question_id"])
        if pair in by_pair:
            raise CutoffError(f"{pair[1]} was judged twice under {pair[0]}.")
        by_pair[pair] = judgement
    rows = []
    for condition in CONDITIONS:
        for question in questions:
            judgement = by_pair.get((condition, question["question_id"]), {})
            if not judgement:
                raise CutoffError(
                    f"{question['question_id']} has no judgement under {condition}; "
                    "run 04_evaluate again."
                )
            names = ("question_id", "paper_id", "stratum")
            rows.append(
                {name: question[name] for name in names}
                | {"condition": condition, "verdict": judgement["verdict"]}
                | {name: judgement[name] for name in FLAGS}
            )
    frame = pd.DataFrame(rows)
    return frame.astype(dict.fromkeys(FLAGS, "boolean"))


def outcomes(frame: pd.DataFrame) -> pd.DataFrame:
    """How many answers of each condition got which verdict; control papers included."""
    table = pd.crosstab(frame["condition"], frame["verdict"])
    table = table.reindex(index=list(CONDITIONS), columns=list(VERDICTS), fill_value=0)
    return table.rename_axis(columns=None).reset_index()


Passed = dict[str, bool]  # condition -> passed, of one question that has every verdict

KINDS: tuple[tuple[str, Callable[[Passed, Record, bool], bool]], ...] = (
    (
        "Retrieval supplied the answer",
        lambda p, q, hit: hit and p["base_rag"] and not p["base"],
    ),
    (
        "Training supplied the answer",
        lambda p, q, hit: q["stratum"] == "seen" and p["instruct_ft"] and not p["base"],
    ),
    (
        "Training did not reach a paper it never saw",
        lambda p, q, hit: q["stratum"] == "unseen_paper" and not p["instruct_ft"],
    ),
    (
        "The evidence was not retrieved",
        lambda p, q, hit: not hit and not p["base_rag"] and not p["rag_ft_rag"],
    ),
    (
        "The evidence was there and was not used",
        lambda p, q, hit: hit and not p["base_rag"],
    ),
    (
        "Training cost an answer that retrieval had supplied",
        lambda p, q, hit: p["base_rag"] and not p["instruct_ft_rag"],
    ),
    (
        "Known before, forgotten after training",
        lambda p, q, hit: q["stratum"] == "control" and p["base"] and not p["instruct_ft"],
    ),
)


def examples(
    frame: pd.DataFrame, questions: Sequence[Record], responses: Sequence[Record]
) -> list[tuple[str, pd.DataFrame]]:
    """(kind, six answers) of the first question of each kind of outcome, where there is one.

    A rule, not a person, picks them: the first question in the order of ``eval.jsonl``
    that no earlier kind has taken. Columns: question, reference, condition, response, passed.
    """
    by_question = {key: part.set_index("condition") for key, part in frame.groupby("question_id")}
    texts = {(r["question_id"], r["condition"]): r["response"] for r in responses}
    taken: set[str] = set()
    chosen = []
    for kind, is_kind in KINDS:
        for question in questions:
            name = question["question_id"]
            rows = by_question[name]
            if name in taken or rows["passed"].isna().any():
                continue
            hit = bool(rows.loc[RAG_CONDITIONS[0], "retrieval_hit"])
            if is_kind(rows["passed"].astype(bool).to_dict(), question, hit):
                taken.add(name)
                chosen.append((kind, _answers(question, rows, texts)))
                break
    return chosen


def _answers(
    question: Record, rows: pd.DataFrame, texts: dict[tuple[str, str], str]
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "question": question["question"],
            "reference": question["reference"],
            "condition": list(CONDITIONS),
            "response": [texts[question["question_id"], name] for name in CONDITIONS],
            "passed": rows.loc[list(CONDITIONS), "passed"].array,
        }
    )


def _share(flags: "pd.Series[bool]") -> float:
    """Share of True among the known flags; missing when none is known."""
    known = flags.dropna()
    return float(known.mean()) if len(known) else float("nan")
