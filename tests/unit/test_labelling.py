"""The labelling panel: keys and buttons store labels at once; without a person, a sentence."""

from pathlib import Path
from typing import Any

import nbclient
import nbformat.v4 as v4
import pandas as pd
import pytest

from cutoff.evaluate.calibration import label_sheet, labelling

Opened = tuple[Path, pd.DataFrame]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    questions = [
        {
            "question_id": f"q{i}",
            "paper_id": "p",
            "stratum": "seen",
            "question": f"Number {i}?",
            "reference": "<b>bold</b>",
        }
        for i in range(4)
    ]
    responses = [
        {"condition": "base", "question_id": f"q{i}", "response": f"<script>alert({i})</script>"}
        for i in range(4)
    ]
    path = tmp_path / "calibration.csv"
    sheet, _ = label_sheet.open_sheet(path, label_sheet.draw(questions, responses, 4, 0))
    return path, sheet


def labels(path: Path) -> list[str]:
    return pd.read_csv(path, keep_default_na=False)["label"].tolist()


def press(panel: Any, key: str) -> None:
    panel.children[2].value = key


def test_every_key_stores_its_label_at_once_and_moves_on(opened: Opened) -> None:
    path, sheet = opened
    panel = labelling.panel(path, sheet)
    for key, expected in (
        ("p", ["pass", "", "", ""]),
        ("s", ["pass", "", "", ""]),
        ("F", ["pass", "", "fail", ""]),
        ("x", ["pass", "", "fail", ""]),  # no such key
        ("u", ["pass", "", "fail", "unsure"]),
        ("f", ["pass", "fail", "fail", "unsure"]),  # the skipped one comes back
        ("p", ["pass", "fail", "fail", "unsure"]),  # nothing left to label
        ("b", ["pass", "fail", "fail", "unsure"]),
        ("p", ["pass", "fail", "fail", "pass"]),  # corrected
    ):
        press(panel, key)
        assert labels(path) == expected
        assert panel.children[2].value == ""
    [unsure] = [button for button in panel.children[3].children if "(u)" in button.description]
    press(panel, "b")
    unsure.click()  # a button does what its key does
    assert labels(path) == ["pass", "fail", "fail", "unsure"]
    assert "4 of 4" in panel.children[0].value and "all" in panel.children[1].value


def test_the_panel_starts_where_the_last_one_ended_and_shows_text_not_markup(
    opened: Opened,
) -> None:
    path, sheet = opened
    sheet = label_sheet.set_label(path, sheet, sheet["item"][0], "pass")
    panel = labelling.panel(path, sheet)
    shown = panel.children[1].value
    assert sheet["question"][1] in shown and "1 of 4" in panel.children[0].value
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    assert "<b>bold" not in shown and "&lt;b&gt;bold" in shown
    path.write_text("damaged", encoding="utf-8")  # what cannot be saved is said, and stays
    press(panel, "p")
    assert "Not saved" in panel.children[0].value and panel.children[1].value == shown


def test_in_a_report_the_panel_is_a_sentence_and_leaves_no_widget(opened: Opened) -> None:
    """A real kernel, run the way reports are made."""
    path, _ = opened
    source = (
        "import pandas as pd\nfrom pathlib import Path\n"
        "from cutoff.evaluate.calibration import labelling\n"
        f"path = Path({str(path)!r})\n"
        "labelling.show(path, pd.read_csv(path, keep_default_na=False, encoding='utf-8-sig'))"
    )
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    text = output["data"]["text/markdown"]
    assert "0 of 4 answers are labelled" in text and "calibration.csv" in text
    assert str(path.parent) not in text  # no path of this machine
    assert "widgets" not in notebook.metadata
