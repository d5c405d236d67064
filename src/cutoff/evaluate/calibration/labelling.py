"""Labelling in the notebook: one answer at a time, by keyboard or mouse, every label saved.

    labelling.show(stage.folder / "calibration.csv", sheet)

Where nobody sits in front of the notebook (``make``, a report), it says in a sentence where
the answers wait instead. A spreadsheet does as well.
"""

import html
from pathlib import Path
from typing import Any

import pandas as pd

from cutoff.errors import CutoffError
from cutoff.evaluate.calibration.label_sheet import set_label

KEYS = {"p": "pass", "f": "fail", "u": "unsure"}
BACK, SKIP = "b", "s"
HELP = "p = pass, f = fail, u = unsure, b = back, s = skip"


def show(path: Path, sheet: pd.DataFrame) -> None:
    """Display the answers of ``sheet`` for labelling, or a sentence where nobody can.

    ``sheet`` and ``path`` are those of ``label_sheet.open_sheet``. Labels that exist are kept
    and can be changed by going back; the first answer shown is the first without a label.
    """
    from IPython.display import Markdown, display

    if reason := cannot(sheet):
        display(Markdown(waiting(path, sheet, reason)))  # type: ignore[no-untyped-call]
    else:
        display(panel(path, sheet))  # type: ignore[no-untyped-call]


def cannot(sheet: pd.DataFrame) -> str:
    """Why no panel can be shown, or nothing when it can."""
    if sheet.empty:
        return "no answers were drawn (`calibration_sample` is 0)"
    try:
        import ipywidgets  # noqa: F401
        from IPython.core.getipython import get_ipython
    except ImportError:
        return "the package ipywidgets is not installed"
    kernel: Any = getattr(get_ipython(), "kernel", None)
    # A front end that cannot be asked for input has nobody in front of it: nbclient and
    # papermill, which make reports, are of this kind.
    if not getattr(kernel, "_allow_stdin", False):
        return "nobody sits in front of this notebook"
    return ""


def waiting(path: Path, sheet: pd.DataFrame, reason: str) -> str:
    """The sentence that stands where the panel would."""
    done = int((sheet["label"] != "").sum())
    if sheet.empty:
        return f"**Nothing to label:** {reason}."
    return (
        f"**{done:,} of {len(sheet):,} answers are labelled.** They cannot be labelled here: "
        f"{reason}. Open this notebook and run it to this cell, or write pass, fail or unsure "
        f"into the column *label* of `{path.name}` with a spreadsheet; then run 04 again."
    )


def panel(path: Path, sheet: pd.DataFrame) -> Any:
    """The widgets, top to bottom: how many are done, the answer, a text field, buttons.

    A key typed into the text field acts at once; the buttons do the same.
    """
    import ipywidgets as widgets

    state = {"sheet": sheet, "at": _first_open(sheet, 0)}
    shown, counted = widgets.HTML(), widgets.HTML()
    keys = widgets.Text(placeholder=HELP, description="key", continuous_update=True)
    names = {**KEYS, BACK: "back", SKIP: "skip"}
    buttons = [widgets.Button(description=f"{name} ({key})") for key, name in names.items()]

    def draw() -> None:
        table, at = state["sheet"], state["at"]
        done = int((table["label"] != "").sum())
        counted.value = f"<p>{done:,} of {len(table):,} labelled. {html.escape(HELP)}</p>"
        shown.value = _answer(table.iloc[at], at) if at < len(table) else "<p>That was all.</p>"

    def act(key: str) -> None:
        table, at = state["sheet"], state["at"]
        if key == BACK:
            state["at"] = max(at - 1, 0)
        elif at < len(table) and key == SKIP:
            state["at"] = at + 1
        elif at < len(table) and key in KEYS:
            try:
                state["sheet"] = set_label(path, table, table["item"].iloc[at], KEYS[key])
            except (CutoffError, OSError) as error:  # a callback's traceback would go nowhere
                counted.value = f"<p><strong>Not saved: {html.escape(str(error))}</strong></p>"
                return
            state["at"] = _first_open(state["sheet"], at + 1)
        draw()

    def typed(change: dict[str, Any]) -> None:
        if change["new"]:
            keys.value = ""
            act(change["new"][-1].lower())

    keys.observe(typed, names="value")
    for button, key in zip(buttons, names, strict=True):
        button.on_click(lambda _, key=key: act(key))
    draw()
    return widgets.VBox([counted, shown, keys, widgets.HBox(buttons)])


def _first_open(sheet: pd.DataFrame, start: int) -> int:
    """The first line without a label from ``start`` on, then from the top; else the end."""
    lines = (*range(start, len(sheet)), *range(start))
    return next((at for at in lines if sheet["label"].iloc[at] == ""), len(sheet))


def _answer(row: Any, at: int) -> str:
    """One answer as HTML: what a model wrote is text here, never markup."""
    parts = [f"<p>Answer {at + 1:,}" + (f", now <b>{row['label']}</b>" if row["label"] else "")]
    for name in ("question", "reference", "response"):
        text = html.escape(str(row[name])) or "<i>(empty)</i>"
        parts.append(f"<p><b>{name}</b><br><span style='white-space: pre-wrap'>{text}</span>")
    return "</p>".join(parts) + "</p>"
