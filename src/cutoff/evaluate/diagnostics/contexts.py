"""Other contexts beside the retrieved one: the evidence alone, and passages without it.

``oracle`` is what a perfect retriever would bring: the evidence and nothing else. ``distractor``
is its opposite and looks as convincing: the passages that the retriever ranks best among those
that do not hold the answer. What lies between ``retrieved`` and ``oracle`` is the retriever's to
gain, what lies between ``oracle`` and 100 % is the reader's. No planned contrast has a part in it.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cutoff import bootstrap, files
from cutoff.errors import CutoffError
from cutoff.evaluate.answering import extra_contexts
from cutoff.evaluate.diagnostics import grounding
from cutoff.evaluate.stats.averages import by_stratum
from cutoff.evaluate.stats.effect_table import by_question, compared
from cutoff.experiment import ALL_CONDITIONS, MODELS, POST_STRATA
from cutoff.params import Params
from cutoff.records import Passage, Question
from cutoff.report.wording import each, label, percent
from cutoff.run import folders

# Differences of pass rates, model by model: (name, context, the context it is compared with).
DIFFERENCES = (
    ("evidence_alone", "oracle", "retrieved"),
    ("useless_passages", "distractor", "none"),
)


def add(stage: folders.Run, questions: Sequence[Question]) -> list[Question]:
    """``questions`` with ``extra_contexts``: context -> ``context`` and ``context_passage_ids``.

    They are made from ``passages.jsonl`` and the stored rankings of the data set. Without the
    parameter ``extra_contexts`` the questions come back as they are.
    """
    wanted = extra_contexts(stage.params)
    if not wanted:
        return list(questions)
    read: dict[str, list[Any]] = {
        name: files.read_jsonl(stage.require(stage.dataset_folder / f"{name}.jsonl", "01_generate"))
        for name in ("passages", "retrieval")
    }
    passages = {passage["passage_id"]: passage for passage in read["passages"]}
    rankings = {ranking["question_id"]: ranking["passage_ids"] for ranking in read["retrieval"]}
    added: list[Question] = []
    for question in questions:
        ranking = rankings.get(question["question_id"], [])
        names = {kind: MADE[kind](question, ranking, passages) for kind in wanted}
        held = {kind: _fitting(names[kind], passages, stage.params) for kind in wanted}
        if empty := [kind for kind in wanted if not held[kind]["context"]]:
            raise CutoffError(
                f"No {empty[0]} context for {question['question_id']}: the data set holds no such "
                f"passage that fits context_tokens = {stage.params.context_tokens}; raise it, use "
                f"more papers, or take {empty[0]} out of extra_contexts."
            )
        whole = question.copy()
        whole["extra_contexts"] = held
        added.append(whole)
    return added


def oracle(
    question: Question, ranking: Sequence[str], passages: Mapping[str, Passage]
) -> Sequence[str]:
    """Ids of the passages that hold the evidence, those first that the retriever ranks best."""
    gold = [name for name in question["gold_passage_ids"] if name in passages]
    place = {name: rank for rank, name in enumerate(ranking)}
    return sorted(gold, key=lambda name: place.get(name, len(place)))


def distractor(
    question: Question, ranking: Sequence[str], passages: Mapping[str, Passage]
) -> Sequence[str]:
    """Ids of the best ranked passages that do not hold the answer.

    Neither the evidence counts, nor another passage that names both the subject of the
    question and its answer; the answer alone ("90 percent") says nothing about the subject.
    """
    both = (question["subject"], question["reference"])
    return [
        name
        for name in ranking
        if name not in question["gold_passage_ids"]
        and not all(grounding.holds(passages[name]["text"], part) for part in both)
    ]


MADE = {"oracle": oracle, "distractor": distractor}


def _fitting(
    names: Sequence[str], passages: Mapping[str, Passage], p: Params
) -> dict[str, list[str]]:
    """The first ``top_k`` whole passages that fit ``context_tokens``; none is shortened."""
    chosen: list[str] = []
    room = p.context_tokens
    for name in names[: p.top_k]:
        if passages[name]["n_tokens"] <= room:
            chosen.append(name)
            room -= passages[name]["n_tokens"]
    return {"context_passage_ids": chosen, "context": [passages[name]["text"] for name in chosen]}


def pass_rates(answers: pd.DataFrame) -> pd.DataFrame:
    """``bootstrap.pass_rates`` of new papers by model, context and condition.

    ``answers``: those of the six conditions and of the others together, see ``joined.join``.
    """
    new = answers[answers["stratum"].isin(POST_STRATA)]
    of = new["condition"].map(ALL_CONDITIONS)
    new = new.assign(model=[c.model for c in of], context=[c.context for c in of])
    return bootstrap.pass_rates(new, ["model", "context", "condition"])


def differences(answers: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """What another context changes, per model and stratum, on the same questions.

    ``evidence_alone``: oracle minus retrieved. ``useless_passages``: distractor minus closed
    book. Columns: name, stratum, model and those of ``effect_table.compared`` (b - a). No
    p value is adjusted: these rows were not planned.
    """
    names = {(c.model, c.context): name for name, c in ALL_CONDITIONS.items()}
    rows = []
    for stratum, part in by_stratum(answers):
        wide = by_question(part)
        for (name, kind, without), model in itertools.product(DIFFERENCES, MODELS):
            a, b = names[model, without], names[model, kind]
            if {a, b} <= set(wide.columns):
                row = {"name": name, "stratum": stratum, "model": model}
                rows.append(row | compared(wide, a, b, replicates, seed))
    return pd.DataFrame(rows)


def reading(rates: pd.DataFrame, table: pd.DataFrame) -> str:
    """What perfect and useless passages change, in sentences; how to measure it where it is not."""
    if table.empty:
        return (
            "**Perfect and useless passages were not tried.** `extra_contexts=both` asks every "
            "question with the evidence alone and with passages that do not hold it."
        )
    sentences = []
    for name, stratum, start in (
        ("evidence_alone", "all_post", "**On new papers the evidence alone changes:"),
        ("useless_passages", "all_post", "Useless passages instead of none, new papers:"),
        ("useless_passages", "control", "Useless passages, papers before the cutoff:"),
    ):
        rows = table[(table["name"] == name) & (table["stratum"] == stratum)]
        if len(rows):
            end = ".**" if start.startswith("**") else "."
            sentences.append(f"{start} {each(rows, 'model', 'difference', 'points')}{end}")
    failed = rates[rates["context"] == "oracle"]
    left = ", ".join(f"{label(r.model)} {percent(1 - r.pass_rate)}" for r in failed.itertuples())
    return " ".join(
        [*sentences, *([f"With the evidence alone still wrong: {left}."] if left else [])]
    )
