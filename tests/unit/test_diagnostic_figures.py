"""Figures of measures draw what their tables hold."""

import pandas as pd

from cutoff.evaluate.diagnostics import diagnostic_figures
from cutoff.report import figures


def test_every_measure_of_every_condition_is_drawn_with_its_n() -> None:
    frame = pd.DataFrame(
        {
            "stratum": ["all_post"] * 4 + ["seen"],
            "condition": ["base", "base_rag", "base", "base_rag", "base"],
            "measure": ["stated", "stated", "numeric_match", "numeric_match", "stated"],
            "n": [20, 20, 7, 5, 9],
            "estimate": [0.2, 0.4, 0.6, float("nan"), 0.9],
        }
    )
    frame = frame.assign(ci_low=frame["estimate"] - 0.1, ci_high=frame["estimate"] + 0.1)
    figure = diagnostic_figures.by_measure(frame, ["stated", "numeric_match"])
    dots = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert sorted(round(x) for x in dots if x == x) == [20, 40, 60]
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["Reference stated\n(n = 20)", "Numbers match\n(n = 5 to 7)"]
    assert figures.png(figure)
