"""Answers from elsewhere, of people or of earlier runs, judged by the panel of this run.

    python -m cutoff judge responses=human.jsonl [questions=exam.jsonl] [judge_model=...]

``responses`` holds one JSON object a line: ``question_id`` and ``response``, and where it has
one a ``condition`` (else the file's name). ``questions`` holds ``question_id``, ``question`` and
``reference``; without it the evaluation questions of the run's data set are meant. The
judgements go to a folder beside the responses: ``human.judged/judgements.jsonl``.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cutoff import bootstrap, deadline, files
from cutoff.errors import CutoffError
from cutoff.evaluate.judging import golden, judge
from cutoff.params import Params
from cutoff.report.wording import each
from cutoff.run import folders

Record = dict[str, Any]  # of a file from elsewhere: more fields than are asked for may be there


def judge_file(p: Params, responses: Path, questions: Path | None = None) -> str:
    """Judge a file of answers; what came of it, in Markdown, and where the judgements are.

    A further call goes on where an earlier one was stopped. Raises ``CutoffError`` for a file
    that lacks something, an answer without its question, and a judge that cannot be used.
    """
    deadline.start(p.deadline_minutes)
    if questions is None:
        stage = folders.locate("04_evaluate", p)
        questions = stage.require(stage.dataset_folder / "eval.jsonl", "01_generate")
    asked = _read(questions, ("question_id", "question", "reference"))
    _once([question["question_id"] for question in asked], questions, "question")
    answers = _answers(responses, {question["question_id"] for question in asked})
    folder = responses.with_name(f"{responses.stem}.judged")
    files.make_folder(folder)
    judgements = judge.decide(p, folder, asked, answers)
    path = folder / "judgements.jsonl"
    files.write_jsonl_atomic(path, judgements)
    frame = pd.DataFrame(judgements).astype({"passed": "boolean"})
    # a question without a paper is one of its own
    frame["paper_id"] = frame["paper_id"].fillna(frame["question_id"]).astype(str)
    rates = bootstrap.pass_rates(frame, ["condition"])
    return (
        f"{judge.reading(p, judgements)}\n{golden.reading(golden.results(p, folder), p)}\n"
        f"Passed: {each(rates, 'condition', 'pass_rate')}.\nThe judgements are in {path}."
    )


def _answers(path: Path, known: set[str]) -> list[Record]:
    """Answers of ``path`` with key, condition, question_id and response; ``known``: the ids of
    the questions."""
    records = []
    for number, answer in enumerate(_read(path, ("question_id", "response")), start=1):
        name, condition = answer["question_id"], str(answer.get("condition") or path.stem)
        if name not in known:
            raise CutoffError(
                f"{path}, line {number}: there is no question {name!r}; give the file that holds "
                "it with questions=FILE."
            )
        kept = {"condition": condition, "question_id": name, "response": answer["response"]}
        records.append({"key": f"{condition}|{name}", **kept})
    _once([record["key"] for record in records], path, "answer")
    return records


def _read(path: Path, fields: Sequence[str]) -> list[Record]:
    """Records of a JSONL file whose ``fields`` are all texts; something must be there."""
    records = files.read_jsonl(path)
    if not records:
        raise CutoffError(f"{path} holds no record.")
    for number, record in enumerate(records, start=1):
        for field in fields:
            if not isinstance(record, dict) or not isinstance(record.get(field), str):
                raise CutoffError(
                    f"{path}, record {number}: the field {field!r} is missing or no text; every "
                    f"line must hold {', '.join(fields)}."
                )
    return records


def _once(keys: Sequence[str], path: Path, what: str) -> None:
    [(key, n)] = Counter(keys).most_common(1)
    if n > 1:
        raise CutoffError(f"{path}: the {what} {key!r} stands there {n} times.")
