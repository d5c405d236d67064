"""A blinded sample of answers for a person to label: drawn, kept in ``calibration.csv``, read.

The person sees what the judge sees, and not what the judge said: question, reference answer
and response without citation markers, in random order, no condition and no verdict. The draw
knows nothing of any judge, so the same labels calibrate every judge and every measure. Answers
that read alike, from whatever condition, are one line of the sheet and are labelled once.

An ``item`` is named by a hash of what is shown: a label can never end up at another answer.
"""

import csv
import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.evaluate.judging.rubric import without_citations
from cutoff.records import Question, Response

LABELS = ("pass", "fail", "unsure")
SHOWN = ("question", "reference", "response")
COLUMNS = ("item", *SHOWN, "label", "note")
Rows = dict[str, dict[str, Any]]  # item -> its line of the file, and the line's number


def draw(
    questions: Sequence[Question], responses: Sequence[Response], size: int, seed: int
) -> pd.DataFrame:
    """At most ``size`` answers, equally many of every condition, each with the same chance:
    sorted by stratum, at random within it, and taken at equal steps from a random start.

    Columns: item, condition, question_id, paper_id, stratum, question, reference, response.
    """
    asked = {question["question_id"]: question for question in questions}
    conditions = list(dict.fromkeys(response["condition"] for response in responses))
    rows = []
    for i, condition in enumerate(conditions):
        own = [(asked[r["question_id"]], r) for r in responses if r["condition"] == condition]
        own.sort(key=lambda qr: (qr[0]["stratum"], _random(seed, condition, qr[0]["question_id"])))
        wanted = min(len(own), size // len(conditions) + (i < size % len(conditions)))
        start = _random(seed, condition)
        for step in range(wanted):
            question, response = own[int((start + step) * len(own) / wanted)]
            text = without_citations(response["response"])
            shown = [question["question"], question["reference"], text]
            # A leading letter and the hyphen keep spreadsheets from reading a number, like 1e10.
            item = "a-" + hashlib.sha256(files.to_json(shown)).hexdigest()[:12]
            ids = [question[name] for name in ("question_id", "paper_id", "stratum")]
            rows.append([item, condition, *ids, *shown])
    names = ("item", "condition", "question_id", "paper_id", "stratum", *SHOWN)
    return pd.DataFrame(rows, columns=list(names))


def open_sheet(path: Path, sample: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The sheet of ``sample`` with the labels that ``path`` holds, and what became of the file.

    Columns of the sheet: item, question, reference, response, label, note; label is one of
    ``LABELS`` or empty. The file is written where it lacks an answer. Labels of answers that are
    not in the sample stay in it, below the others, and count again when their answers return.
    Raises ``CutoffError`` for a file that cannot be read with certainty.
    """
    # One line per distinct item, in the order of their hashes, which is a random one.
    sheet = sample.drop_duplicates("item").sort_values("item", ignore_index=True)
    sheet = sheet.assign(label="", note="")[list(COLUMNS)]
    known = _read(path)
    for item, question in zip(sheet["item"], sheet["question"], strict=True):
        if item in known and _letters(known[item]["question"]) != _letters(question):
            raise CutoffError(
                f"{path.name}, line {known[item]['line']}: the question is not that of {item}; was "
                "a column sorted by itself? Undo that, or remove the file to start anew."
            )
    note = ""
    if not known:
        note = f"{path.name} was written: {len(sheet):,} answers wait for a person's label."
    elif others := _others(known, sheet):
        note = f"{path.name} also holds labels of {len(others):,} answers outside this sample."
    sheet = _filled(sheet, known)
    if not set(sheet["item"]) <= set(known):
        _write(path, sheet, known)
    return sheet, note


def set_label(path: Path, sheet: pd.DataFrame, item: str, label: str) -> pd.DataFrame:
    """Store one label, of ``LABELS`` or empty to take one back; the sheet as it now is.

    The file is read again first, so that what was meanwhile written elsewhere (a spreadsheet,
    another window) stays.
    """
    known = _read(path)
    now = _filled(sheet, known)
    now.loc[now["item"] == item, "label"] = label
    _write(path, now, known)
    return now


def compared(sample: pd.DataFrame, sheet: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """A row per sampled answer with what the person and the judge made of it.

    ``verdicts``: columns condition, question_id, passed. Columns: item, condition, question_id,
    paper_id, stratum, label, human, judge; the last two are True, False or missing.
    """
    keys = ["condition", "question_id"]
    frame = sample[["item", *keys, "paper_id", "stratum"]].merge(
        sheet[["item", "label"]], on="item", how="left", validate="m:1"
    )
    judged = frame[keys].merge(verdicts[[*keys, "passed"]], on=keys, how="left", validate="1:1")
    frame["human"] = frame["label"].map({"pass": True, "fail": False}).astype("boolean")
    return frame.assign(judge=judged["passed"].astype("boolean").array)


def _filled(sheet: pd.DataFrame, known: Rows) -> pd.DataFrame:
    """``sheet`` with the labels and notes of ``known``."""
    now = sheet.copy()
    for name in ("label", "note"):
        old = zip(sheet["item"], sheet[name], strict=True)
        now[name] = [known.get(item, {}).get(name, value) for item, value in old]
    return now


def _others(known: Rows, sheet: pd.DataFrame) -> Rows:
    """What a person has entered for answers that are not in ``sheet``."""
    given = {item: row for item, row in known.items() if row["label"] or row["note"]}
    return {item: row for item, row in given.items() if item not in set(sheet["item"])}


def _random(*parts: Any) -> float:
    """A number in [0, 1) that only its arguments decide."""
    digest = hashlib.sha256(files.to_json(list(parts))).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _write(path: Path, sheet: pd.DataFrame, known: Rows) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in [*sheet.to_dict("records"), *_others(known, sheet).values()]:
        cells = [str(row[name]) for name in COLUMNS]
        # A model's answer may begin with ``=``: a spreadsheet must not run it.
        writer.writerow(
            [f"'{c}" if c[:1] in ("=", "+", "-", "@", "\t", "\r") else c for c in cells]
        )
    # With the mark at its start Excel knows that the file is UTF-8.
    files.write_bytes_atomic(path, buffer.getvalue().encode("utf-8-sig", "backslashreplace"))


def _read(path: Path) -> Rows:
    """What the file holds, nothing where there is none; every doubt is an error."""
    if not path.exists():
        return {}
    names, rows = files.read_table(path)
    if sorted(names) != sorted(COLUMNS):
        raise CutoffError(
            f"{path.name} must have exactly the columns {', '.join(COLUMNS)}; "
            f"it has {', '.join(names) or 'none'}."
        )
    known: Rows = {}
    for line, row in rows:
        where = f"{path.name}, line {line}"
        if None in row or None in row.values():
            raise CutoffError(f"{where}, must have {len(names)} cells.")
        item, row["label"] = row["item"].strip(), row["label"].strip().lower()
        if row["label"] not in ("", *LABELS):
            allowed = ", ".join(LABELS)
            raise CutoffError(f"{where}: the label {row['label']!r} must be {allowed}, or empty.")
        if item in known:
            raise CutoffError(f"{where}, repeats the item {item}.")
        if "".join(row.values()).strip():  # a spreadsheet may leave empty lines
            known[item] = row | {"line": line}
    return known


def _letters(text: str) -> str:
    """What a spreadsheet leaves of a sentence, whatever it does to blanks and signs."""
    return re.sub(r"[^a-z0-9]", "", text.lower())
