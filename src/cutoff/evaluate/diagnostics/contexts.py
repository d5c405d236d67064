"""Other contexts beside the retrieved one: the evidence alone, and passages without it.

    questions = contexts.add(stage, questions)
    responses = conditions.answer_extra(stage, questions)

``oracle`` is what a perfect retriever would bring: the evidence and nothing else.
``distractor`` is its opposite and looks as convincing: the passages that the retriever ranks
best among those that do not hold the answer. What lies between ``retrieved`` and ``oracle`` is
the retriever's to gain, what lies between ``oracle`` and 100 % is the reader's. These
conditions are no part of the planned contrasts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.evaluate.answering import extra_contexts
from cutoff.evaluate.diagnostics import grounding
from cutoff.evaluate.stats import averages
from cutoff.evaluate.stats import differences as paired_differences
from cutoff.experiment import ALL_CONDITIONS, MODELS, POST_STRATA
from cutoff.params import Params
from cutoff.report.wording import interval, label, percent, points
from cutoff.run import folders

Record = dict[str, Any]

# Differences of pass rates, model by model: (name, context, the context it is compared with).
DIFFERENCES = (
    ("evidence_alone", "oracle", "retrieved"),
    ("useless_passages", "distractor", "none"),
)


def add(stage: folders.Run, questions: Sequence[Record]) -> list[Record]:
    """``questions`` with ``extra_contexts``: context -> ``context`` and ``context_passage_ids``.

    They are made from ``passages.jsonl`` and the stored rankings of the data set. Without the
    parameter ``extra_contexts`` the questions come back as they are.
    """
    wanted = extra_contexts(stage.params)
    if not wanted:
        return list(questions)
    folder = stage.dataset_folder
    read = {
        name: files.read_jsonl(stage.require(folder / f"{name}.jsonl", "01_generate"))
        for name in ("passages", "retrieval")
    }
    passages = {passage["passage_id"]: passage for passage in read["passages"]}
    rankings = {ranking["question_id"]: ranking["passage_ids"] for ranking in read["retrieval"]}
    make = {"oracle": oracle, "distractor": distractor}
    return [
        question
        | {
            "extra_contexts": {
                kind: _context(
                    make[kind](question, rankings.get(question["question_id"], []), passages),
                    kind,
                    question,
                    passages,
                    stage.params,
                )
                for kind in wanted
            }
        }
        for question in questions
    ]


def oracle(
    question: Record, ranking: Sequence[str], passages: Mapping[str, Record]
) -> Sequence[str]:
    """Ids of the passages that hold the evidence, those first that the retriever ranks best."""
    gold = [name for name in question["gold_passage_ids"] if name in passages]
    place = {name: rank for rank, name in enumerate(ranking)}
    return sorted(gold, key=lambda name: place.get(name, len(place)))


def distractor(
    question: Record, ranking: Sequence[str], passages: Mapping[str, Record]
) -> Sequence[str]:
    """Ids of the best ranked passages that do not hold the answer.

    Neither the evidence counts, nor another passage that names both the subject of the
    question and its answer; the answer alone ("90 percent") says nothing about the subject.
    """
    gold = set(question["gold_passage_ids"])

    def gives_away(name: str) -> bool:
        text = passages[name]["text"]
        subject = grounding.holds(text, question.get("subject", ""))
        return subject and grounding.holds(text, question["reference"])

    return [name for name in ranking if name not in gold and not gives_away(name)]


def _context(
    names: Sequence[str],
    kind: str,
    question: Record,
    passages: Mapping[str, Record],
    p: Params,
) -> Record:
    """The first ``top_k`` whole passages that fit ``context_tokens``; none is shortened."""
    chosen: list[str] = []
    room = p.context_tokens
    for name in names[: p.top_k]:
        if passages[name]["n_tokens"] <= room:
            chosen.append(name)
            room -= passages[name]["n_tokens"]
    if not chosen:
        raise CutoffError(
            f"No {kind} context for {question['question_id']}: "
            + (
                f"its passages do not fit context_tokens = {p.context_tokens}; raise it"
                if names
                else "the data set holds no such passage; use more papers"
            )
            + f", or take {kind} out of extra_contexts."
        )
    return {"context_passage_ids": chosen, "context": [passages[name]["text"] for name in chosen]}


# --- results ---------------------------------------------------------------------------


def verdicts(questions: Sequence[Record], judgements: Sequence[Record]) -> pd.DataFrame:
    """Judgements of any conditions as rows: question_id, paper_id, stratum, condition, passed.

    Raises ``CutoffError`` unless each condition that occurs has every question exactly once.
    """
    of = {question["question_id"]: question for question in questions}
    rows = [
        {name: of[j["question_id"]][name] for name in ("question_id", "paper_id", "stratum")}
        | {"condition": j["condition"], "passed": j["passed"]}
        for j in judgements
    ]
    frame = pd.DataFrame(rows, columns="question_id paper_id stratum condition passed".split())
    for condition, part in frame.groupby("condition", sort=False):
        if len(part) != len(of) or part["question_id"].nunique() != len(of):
            raise CutoffError(
                f"{condition} has {len(part)} judgements of {part['question_id'].nunique()} "
                f"questions; {len(of)} are needed, one each. Run 04_evaluate again."
            )
    return frame.astype({"passed": "boolean"})


def pass_rates(frame: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """Pass rates of new papers by model and context, 95 % intervals with papers resampled.

    ``frame``: ``verdicts`` of the six conditions and the others together. Columns: model,
    context, condition, n, estimate, ci_low, ci_high.
    """
    new = frame[frame["stratum"].isin(POST_STRATA)]
    table = averages.by_condition(new, ["passed"], replicates, seed, strata=("all_post",))
    condition = table["condition"].map(ALL_CONDITIONS.__getitem__)
    table.insert(0, "model", [c.model for c in condition])
    table.insert(1, "context", [c.context for c in condition])
    return table[["model", "context", "condition", "n", "estimate", "ci_low", "ci_high"]]


def differences(frame: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """What another context changes, per model and stratum, on the same questions.

    ``evidence_alone``: oracle minus retrieved. ``useless_passages``: distractor minus closed
    book. Columns: name, stratum, model, a, b and those of ``differences.summary`` (b - a). No
    p value is adjusted: these rows were not planned.
    """
    present = list(dict.fromkeys(frame["condition"]))
    name_of = {(ALL_CONDITIONS[n].model, ALL_CONDITIONS[n].context): n for n in present}
    rows = []
    for stratum, part in averages.by_stratum(frame):
        numbers = part.assign(passed=part["passed"].astype("Float64").astype(float))
        wide = numbers.pivot(
            index=["paper_id", "question_id"], columns="condition", values="passed"
        )
        papers, _ = pd.factorize(wide.index.get_level_values("paper_id"))
        for name, kind, without in DIFFERENCES:
            for model in MODELS:
                a, b = name_of.get((model, without)), name_of.get((model, kind))
                if a and b:
                    values = (wide[b] - wide[a]).to_numpy()
                    row = {"name": name, "stratum": stratum, "model": model, "a": a, "b": b}
                    rows.append(row | paired_differences.summary(values, papers, replicates, seed))
    return pd.DataFrame(rows)


def reading(rates: pd.DataFrame, table: pd.DataFrame) -> str:
    """What perfect and useless passages change, in sentences; how to measure it where it is not."""
    if table.empty:
        return (
            "**Perfect and useless passages were not tried.** `extra_contexts=both` asks every "
            "question with the evidence alone and with passages that do not hold it."
        )
    sentences = []
    if alone := _changes(table, "evidence_alone", "all_post"):
        oracle = rates[rates["context"] == "oracle"].itertuples()
        left = ", ".join(f"{label(row.model)} {percent(1 - row.estimate)}" for row in oracle)
        sentences.append(
            "**The evidence alone, instead of what the retriever brought, changes the pass rate on "
            f"new papers by: {alone}.** What fails even then is the reader's, not the "
            f"retriever's: {left}."
        )
    if useless := _changes(table, "useless_passages", "all_post"):
        sentences.append(
            f"**Passages without the answer, instead of none, change it by: {useless}.**"
        )
    if known := _changes(table, "useless_passages", "control"):
        sentences.append(f"On papers before the cutoff, where more is known by heart: {known}.")
    return (
        " ".join(sentences) + " Points with 95 % intervals, papers resampled; *open*: the interval "
        "contains zero. These comparisons were not planned and are not adjusted for their number."
    )


def _changes(table: pd.DataFrame, name: str, stratum: str) -> str:
    rows = table[(table["name"] == name) & (table["stratum"] == stratum)].to_dict("records")
    return ", ".join(
        f"{label(row['model'])} {points(row['difference'])} "
        f"({interval(row['ci_low'], row['ci_high'])}{_open(row)})"
        for row in rows
    )


def _open(row: Record) -> str:
    clear = row["ci_low"] > 0 or row["ci_high"] < 0  # neither where there is no interval
    return "" if clear else ", *open*"
