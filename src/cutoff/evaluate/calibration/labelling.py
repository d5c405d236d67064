"""Labelling in the notebook: one answer at a time, by keyboard or mouse, every label saved.

Where nobody sits in front of the notebook (``make``, a report), it says in a sentence where
the answers wait instead. A spreadsheet does as well.
"""

import html
from pathlib import Path
from typing import Any

import pandas as pd

from cutoff.errors import CutoffError
from cutoff.evaluate.calibration.label_sheet import SHOWN, set_label

KEYS = {"p": "pass", "f": "fail", "u": "unsure", "b": "back", "s": "skip"}
HELP = ", ".join(f"{key} = {name}" for key, name in KEYS.items())


def show(path: Path, sheet: pd.DataFrame) -> None:
    """Display the answers of ``sheet`` for labelling, or a sentence where nobody can.

    ``sheet`` and ``path`` are those of ``label_sheet.open_sheet``. Labels that exist are kept
    and can be changed by going back; the first answer shown is the first without a label.
    """
    from IPython.core.getipython import get_ipython
    from IPython.display import Markdown, display

    kernel: Any = getattr(get_ipython(), "kernel", None)
    # A front end that cannot be asked for input has nobody in front of it: nbclient and
    # papermill, which make reports, are of this kind.
    if len(sheet) and getattr(kernel, "_allow_stdin", False):
        display(panel(path, sheet))  # type: ignore[no-untyped-call]
        return
    text = (
        f"**{(sheet['label'] != '').sum():,} of {len(sheet):,} answers are labelled.** To label "
        "more, open this notebook and run it to this cell, or write pass, fail or unsure into the "
        f"column *label* of `{path.name}` with a spreadsheet; then run 04 again."
    )
    display(Markdown(text))  # type: ignore[no-untyped-call]


def panel(path: Path, sheet: pd.DataFrame) -> Any:
    """The widgets, top to bottom: how many are done, the answer, a text field, buttons.

    A key typed into the text field acts at once; the buttons do the same.
    """
    import ipywidgets as widgets

    state = {"sheet": sheet, "at": _first_open(sheet, 0)}
    shown, counted = widgets.HTML(), widgets.HTML()
    keys = widgets.Text(placeholder=HELP, description="key", continuous_update=True)
    buttons = [widgets.Button(description=f"{name} ({key})") for key, name in KEYS.items()]

    def refresh() -> None:
        table, at = state["sheet"], state["at"]
        done = (table["label"] != "").sum()
        counted.value = f"<p>{done:,} of {len(table):,} labelled. {HELP}</p>"
        shown.value = _answer(table.iloc[at], at) if at < len(table) else "<p>That was all.</p>"

    def act(key: str) -> None:
        table, at = state["sheet"], state["at"]
        if key == "b":
            state["at"] = max(at - 1, 0)
        elif key == "s":
            state["at"] = min(at + 1, len(table))
        elif at < len(table) and key in KEYS:
            try:
                state["sheet"] = set_label(path, table, table["item"].iloc[at], KEYS[key])
            except (CutoffError, OSError) as error:  # a callback's traceback would go nowhere
                counted.value = f"<p><strong>Not saved: {html.escape(str(error))}</strong></p>"
                return
            state["at"] = _first_open(state["sheet"], at + 1)
        refresh()

    def typed(change: dict[str, Any]) -> None:
        if change["new"]:
            keys.value = ""
            act(change["new"][-1].lower())

    keys.observe(typed, names="value")
    for button, key in zip(buttons, KEYS, strict=True):
        button.on_click(lambda _, key=key: act(key))
    refresh()
    return widgets.VBox([counted, shown, keys, widgets.HBox(buttons)])


def _first_open(sheet: pd.DataFrame, start: int) -> int:
    """The first line without a label from ``start`` on, then from the top; else the end."""
    lines = (*range(start, len(sheet)), *range(start))
    return next((at for at in lines if sheet["label"].iloc[at] == ""), len(sheet))


def _answer(row: Any, at: int) -> str:
    """One answer as HTML: what a model wrote is text here, never markup."""
    parts = [f"<p>Answer {at + 1:,}" + (f", now <b>{row['label']}</b>" if row["label"] else "")]
    for name in SHOWN:
        text = html.escape(str(row[name])) or "<i>(empty)</i>"
        parts.append(f"<p><b>{name}</b><br><span style='white-space: pre-wrap'>{text}</span>")
    return "</p>".join(parts) + "</p>"
