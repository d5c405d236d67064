"""A blinded sample of answers for a person to label: drawn, kept in ``calibration.csv``, read.

    sample = label_sheet.draw(questions, responses, p.calibration_sample, p.seed)
    sheet, note = label_sheet.open_sheet(stage.folder / "calibration.csv", sample)

The person sees what the judge sees, and not what the judge said: question, reference answer
and response without citation markers, in random order, no condition and no verdict. The draw
knows nothing of any judge, so the same labels calibrate every judge and every measure. Answers
that read alike, from whatever condition, are one line of the sheet and are labelled once.

An ``item`` is named by a hash of what is shown: a label can never end up at another answer.
"""

import csv
import hashlib
import io
import os
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


def draw(
    questions: Sequence[Question], responses: Sequence[Response], size: int, seed: int
) -> pd.DataFrame:
    """At most ``size`` answers, equally many of every condition, spread over the strata.

    Within a condition every answer has the same chance: answers are sorted by stratum, at
    random within it, and taken at equal steps from a random start. Columns: item, condition,
    question_id, paper_id, stratum, question, reference, response (as shown).
    """
    asked = {question["question_id"]: question for question in questions}
    conditions = list(dict.fromkeys(response["condition"] for response in responses))
    rows = []
    for i, condition in enumerate(conditions):
        own = [(asked[r["question_id"]], r) for r in responses if r["condition"] == condition]
        wanted = min(len(own), size // len(conditions) + (i < size % len(conditions)))
        own.sort(
            key=lambda both: (
                both[0]["stratum"],
                _random(seed, both[1]["condition"], both[1]["question_id"]),
            )
        )
        start = _random(seed, condition)
        for step in range(wanted):
            question, response = own[int((start + step) * len(own) / wanted)]
            shown = {
                "question": question["question"],
                "reference": question["reference"],
                "response": without_citations(response["response"]),
            }
            ids = [question[name] for name in ("question_id", "paper_id", "stratum")]
            rows.append([_item(shown), condition, *ids, *shown.values()])
    names = ("item", "condition", "question_id", "paper_id", "stratum", *SHOWN)
    return pd.DataFrame(rows, columns=list(names))


def open_sheet(path: Path, sample: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The sheet of ``sample`` with the labels that ``path`` holds, and what became of the file.

    Columns of the sheet: item, question, reference, response, label, note; label is one of
    ``LABELS`` or empty. The file is written where there is none. Labels of answers that are no
    longer in the sample are never lost: the file is set aside under the hash of its content,
    and labels come back from such files when the sample holds their answers again.
    Raises ``CutoffError`` for a file that cannot be read with certainty.
    """
    sheet = _blank(sample)
    if not path.exists():
        known: dict[str, dict[str, Any]] = {}
        note = f"{path.name} was written: {len(sheet):,} answers wait for a person's label."
    else:
        known = _read(path)
        note = f"{path.name} was read."
    texts = dict(zip(sheet["item"], sheet["question"], strict=True))
    for item, row in known.items():
        if item in texts and _letters(row["question"]) != _letters(texts[item]):
            raise CutoffError(
                f"{path.name}, line {row['line']}: the question is not that of {item}; was a "
                "column sorted by itself? Undo that, or remove the file to start anew."
            )
    foreign = [item for item in known if item not in texts]
    absent = [item for item in texts if item not in known]
    if known and foreign:
        content = path.read_bytes()
        aside = path.with_name(f"{path.stem}.{hashlib.sha256(content).hexdigest()[:12]}.csv")
        files.write_bytes_atomic(aside, content)
        lost = sum(bool(known[item]["label"]) for item in foreign)
        note += (
            f" It also held {len(foreign):,} answers ({lost:,} labelled) that are not in this "
            f"sample; it is kept as {aside.name}."
        )
    elif known and absent:
        note += f" {len(absent):,} answers of this sample were not in it and have been added."
    earlier = _set_aside(path) if absent else {}
    found = {**{item: earlier[item] for item in absent if item in earlier}, **known}
    for name in ("label", "note"):
        sheet[name] = [found.get(item, {}).get(name, "") for item in sheet["item"]]
    if set(known) != set(texts):
        _write(path, sheet)
    return sheet, note


def set_label(path: Path, sheet: pd.DataFrame, item: str, label: str) -> pd.DataFrame:
    """Store one label, and return the sheet as it now is.

    The file is read again first, so that what was meanwhile written elsewhere (a spreadsheet,
    another window) stays. ``label`` is one of ``LABELS``, or empty to take one back.
    """
    if label not in ("", *LABELS):
        raise ValueError(f"unknown label {label!r}")
    known = _read(path) if path.exists() else {}
    now = sheet.copy()
    for name in ("label", "note"):
        old = zip(sheet["item"], sheet[name], strict=True)
        now[name] = [known.get(other, {}).get(name, value) for other, value in old]
    now.loc[now["item"] == item, "label"] = label
    _write(path, now)
    return now


def compared(sample: pd.DataFrame, sheet: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """A row per sampled answer with what the person and the judge made of it.

    ``verdicts``: columns condition, question_id, passed (of a judge, or of a measure that
    decides by rule). Columns: item, condition, question_id, paper_id, stratum, label, human,
    judge; the last two are True, False or missing (no label, *unsure*, judge failed).
    """
    label = dict(zip(sheet["item"], sheet["label"], strict=True))
    frame = sample[["item", "condition", "question_id", "paper_id", "stratum"]].copy()
    frame["label"] = frame["item"].map(label).fillna("")
    frame["human"] = frame["label"].map({"pass": True, "fail": False}).astype("boolean")
    keys = ["condition", "question_id"]
    judged = frame[keys].merge(verdicts[[*keys, "passed"]], on=keys, how="left", validate="1:1")
    frame["judge"] = judged["passed"].astype("boolean").array
    return frame


def _blank(sample: pd.DataFrame) -> pd.DataFrame:
    """One line per distinct item, in the order of their hashes, which is a random one."""
    sheet = sample.drop_duplicates("item").sort_values("item", ignore_index=True)
    return sheet.assign(label="", note="")[list(COLUMNS)]


def _item(shown: dict[str, str]) -> str:
    # A leading letter and the hyphen keep spreadsheets from reading a number, such as 1e10.
    text = files.to_json([shown[name] for name in SHOWN])
    return "a-" + hashlib.sha256(text).hexdigest()[:12]


def _random(*parts: Any) -> float:
    """A number in [0, 1) that only its arguments decide."""
    digest = hashlib.sha256(files.to_json(list(parts))).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _write(path: Path, sheet: pd.DataFrame) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in sheet[list(COLUMNS)].itertuples(index=False):
        writer.writerow([_inert(str(value)) for value in row])
    # With the mark at its start Excel knows that the file is UTF-8.
    files.write_bytes_atomic(path, buffer.getvalue().encode("utf-8-sig", "backslashreplace"))


def _inert(text: str) -> str:
    """Text that a spreadsheet does not run: a model's answer may begin with ``=``."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """item -> question, label, note and line of a sheet; every doubt is an error."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CutoffError(
            f"{path.name} is not UTF-8; save it as 'CSV UTF-8' in the spreadsheet."
        ) from None
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    known: dict[str, dict[str, Any]] = {}
    try:
        names = [name.strip() for name in next(rows, [])]
        if sorted(names) != sorted(COLUMNS):
            raise CutoffError(
                f"{path.name} must have exactly the columns {', '.join(COLUMNS)}; "
                f"it has {', '.join(names) or 'none'}."
            )
        for cells in rows:
            where = f"{path.name}, line {rows.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                raise CutoffError(f"{where}, has {len(cells)} cells, not {len(names)}.")
            row: dict[str, Any] = dict(zip(names, cells, strict=True))
            item, row["label"] = row["item"].strip(), row["label"].strip().lower()
            if row["label"] not in ("", *LABELS):
                raise CutoffError(
                    f"{where}: the label {row['label']!r} must be {', '.join(LABELS)}, or empty."
                )
            if item in known:
                raise CutoffError(f"{where}, repeats the item {item}.")
            known[item] = row | {"line": rows.line_num}
    except csv.Error as error:
        raise CutoffError(f"{path.name}, line {rows.line_num}, is damaged ({error}).") from None
    return known


def _set_aside(path: Path) -> dict[str, dict[str, Any]]:
    """What earlier sheets beside ``path`` held, the newest winning."""
    found: dict[str, dict[str, Any]] = {}
    files = path.parent.glob(f"{path.stem}.{'[0-9a-f]' * 12}.csv")
    for other in sorted(files, key=lambda file: (os.stat(file).st_mtime_ns, file.name)):
        found |= {item: row for item, row in _read(other).items() if row["label"]}
    return found


def _letters(text: str) -> str:
    """What a spreadsheet leaves of a sentence, whatever it does to blanks and signs."""
    return re.sub(r"[^a-z0-9]", "", text.lower())
