"""The sample is blind and balanced; the sheet is read strictly; no label is ever lost."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from cutoff.errors import CutoffError
from cutoff.evaluate.calibration import label_sheet

CONDITIONS = ("base", "base_rag", "instruct_ft", "instruct_ft_rag", "rag_ft", "rag_ft_rag")
STRATA = ("seen", "seen", "unseen_fact", "unseen_paper", "control")


def questions(n: int = 100) -> list[dict[str, str]]:
    ids = [{"question_id": f"q{i}", "paper_id": f"paper{i // 4}"} for i in range(n)]
    return [
        own | {"stratum": STRATA[i % 5], "question": f"Which is no. {i}?", "reference": f"No. {i}"}
        for i, own in enumerate(ids)
    ]


def responses(n: int = 100, text: str = "{condition} says {i} [1]") -> list[dict[str, str]]:
    return [
        {"condition": name, "question_id": f"q{i}", "response": text.format(condition=name, i=i)}
        for name in CONDITIONS
        for i in range(n)
    ]


def draw(size: int = 60, seed: int = 0, **given: object) -> pd.DataFrame:
    return label_sheet.draw(questions(), responses(**given), size, seed)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calibration.csv"


def rewrite(path: Path, change: object, delimiter: str = ",", encoding: str = "utf-8") -> None:
    """What a spreadsheet would do: read all rows, let ``change`` work on them, write them."""
    text = path.read_bytes().decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    rows = change(rows) or rows  # type: ignore[operator]
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows(rows)
    path.write_text(buffer.getvalue(), encoding=encoding, newline="")


# --- the draw ----------------------------------------------------------------------------


def test_the_draw_takes_equally_many_of_every_condition_and_spreads_them_over_strata() -> None:
    sample = draw(62)
    assert sample["condition"].value_counts().tolist() == [11, 11, 10, 10, 10, 10]
    table = pd.crosstab(sample["condition"], sample["stratum"])
    assert (abs(table["seen"] - 4) <= 1).all()
    assert (abs(table.drop(columns="seen") - 2) <= 1).all(axis=None)
    assert not sample.duplicated(["condition", "question_id"]).any()


def test_every_answer_has_the_same_chance_to_be_drawn() -> None:
    asked, answered = questions(), responses()[:100]
    taken = pd.Series(0, index=[f"q{i}" for i in range(100)])
    for seed in range(200):
        sample = label_sheet.draw(asked, answered, 10, seed)
        taken = taken.add(sample["question_id"].value_counts(), fill_value=0)
    # 10 of 100 in 200 draws: 20 expected, standard deviation 4.2
    assert taken.between(20 - 17, 20 + 17).all()
    assert taken.sum() == 2000


def test_the_seed_alone_decides_and_small_sets_are_taken_whole() -> None:
    pd.testing.assert_frame_equal(draw(seed=1), draw(seed=1))
    assert not draw(seed=1)["item"].equals(draw(seed=2)["item"])
    assert len(draw(10_000)) == 600
    assert draw(0).empty


def test_the_sheet_tells_neither_condition_nor_verdict_nor_citations(path: Path) -> None:
    sheet, _ = label_sheet.open_sheet(path, draw(text="an answer [1]"))
    assert list(sheet.columns) == ["item", "question", "reference", "response", "label", "note"]
    text = path.read_text(encoding="utf-8-sig")
    assert not any(condition in text for condition in CONDITIONS)
    assert "[1]" not in text and "an answer" in text
    assert sheet["item"].is_monotonic_increasing  # hashes: no order of conditions or papers


def test_answers_that_read_alike_are_one_line_and_one_label(path: Path) -> None:
    sample = draw(600, text="the same [2]")
    sheet, _ = label_sheet.open_sheet(path, sample)
    assert len(sample) == 600 and len(sheet) == 100
    sheet = label_sheet.set_label(path, sheet, sheet["item"][0], "pass")
    verdicts = sample[["condition", "question_id"]].assign(passed=True)
    compared = label_sheet.compared(sample, sheet, verdicts)
    assert compared["human"].sum() == 6
    assert compared.loc[compared["human"].notna(), "condition"].nunique() == 6


# --- the file ----------------------------------------------------------------------------


def test_labels_are_kept_as_they_come_also_those_set_elsewhere_meanwhile(path: Path) -> None:
    sample = draw()
    sheet, note = label_sheet.open_sheet(path, sample)
    assert "60 answers wait" in note
    for item, label in zip(sheet["item"][:3], ("pass", "fail", "unsure"), strict=True):
        now = label_sheet.set_label(path, sheet, item, label)  # ``sheet`` knows of no label
    again, _ = label_sheet.open_sheet(path, sample)
    pd.testing.assert_frame_equal(again, now)
    assert again["label"].tolist() == ["pass", "fail", "unsure", *[""] * 57]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_a_spreadsheet_makes_of_the_file_is_understood(path: Path, delimiter: str) -> None:
    sample = draw(text="two\nlines; and, signs\té {i}")
    label_sheet.open_sheet(path, sample)

    def change(rows: list[list[str]]) -> list[list[str]]:
        rows[1][4], rows[2][4], rows[2][5] = " PASS ", "Fail", "odd"
        rows[3][2] = "0.9"  # a number that the spreadsheet has rewritten
        return [rows[0], *rows[:0:-1], [""] * 6]

    rewrite(path, change, delimiter)
    sheet, _ = label_sheet.open_sheet(path, sample)
    assert sheet["label"].tolist()[:3] == ["pass", "fail", ""]
    assert sheet["note"][1] == "odd"
    assert sheet["reference"][2] == sample.set_index("item")["reference"][sheet["item"][2]]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda rows: rows[3].__setitem__(4, "passs"), "line 4: the label 'passs' must"),
        (lambda rows: rows.append(rows[1]), "line 62, repeats the item"),
        (lambda rows: [row[:4] for row in rows], "exactly the columns"),
        (lambda rows: rows[2].append("x"), "line 3, must have 6 cells"),
        (lambda rows: rows[2].__setitem__(1, rows[3][1]), "line 3: the question is not that of"),
        (lambda rows: rows, "CSV UTF-8"),
    ],
)
def test_what_cannot_be_read_with_certainty_is_an_error(
    path: Path, change: object, message: str
) -> None:
    sample = draw(text="é {condition} {i}")
    label_sheet.open_sheet(path, sample)
    rewrite(path, change, encoding="cp1252" if "UTF-8" in message else "utf-8")
    before = path.read_bytes()
    with pytest.raises(CutoffError, match=message):
        label_sheet.open_sheet(path, sample)
    assert path.read_bytes() == before


def test_labels_survive_other_answers_and_return_with_their_own(path: Path) -> None:
    sample, other = draw(), draw(text="of other weights {i}")
    sheet, _ = label_sheet.open_sheet(path, sample)
    label_sheet.set_label(path, sheet, sheet["item"][0], "fail")
    emptied, note = label_sheet.open_sheet(path, other)
    assert "labels of 1 answers outside this sample" in note
    assert set(emptied["label"]) == {""}
    label_sheet.set_label(path, emptied, emptied["item"][0], "pass")
    again, _ = label_sheet.open_sheet(path, sample)
    assert again["label"].tolist()[:2] == ["fail", ""]
    assert label_sheet.open_sheet(path, other)[0]["label"].tolist()[:2] == ["pass", ""]
    bigger, _ = label_sheet.open_sheet(path, draw(600))
    assert (bigger.loc[bigger["item"] == sheet["item"][0], "label"] == "fail").all()


def test_an_answer_that_is_a_formula_is_no_formula_in_the_file(path: Path) -> None:
    sample = draw(text="=HYPERLINK({i})")
    label_sheet.open_sheet(path, sample)
    text = path.read_text(encoding="utf-8-sig")
    assert "'=HYPERLINK" in text and ",=HYPERLINK" not in text
    assert label_sheet.open_sheet(path, sample)[0]["response"].str.startswith("=").all()


def test_unsure_and_failed_judgements_are_missing_on_their_side(path: Path) -> None:
    sample = draw()
    sheet, _ = label_sheet.open_sheet(path, sample)
    sheet["label"] = ["unsure", "pass"] + ["fail"] * 58
    passed = pd.array([pd.NA] + [True] * 59, dtype="boolean")
    verdicts = sample[["condition", "question_id"]].assign(passed=passed)
    compared = label_sheet.compared(sample, sheet, verdicts)
    assert compared["human"].isna().sum() == compared["judge"].isna().sum() == 1
    assert compared["human"].sum() == 1
