"""Figures of measures, contexts and refusals draw what the tables hold."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from cutoff.evaluate.diagnostics import pictures_metrics
from cutoff.report import figures


def table(**columns: list[object]) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    return frame.assign(ci_low=frame["estimate"] - 0.1, ci_high=frame["estimate"] + 0.1)


def dots(figure: Figure) -> list[tuple[float, float]]:
    """(x, y) of every drawn mean, intervals left out."""
    lines = [
        line for axes in figure.axes for line in axes.get_lines() if line.get_marker() != "None"
    ]
    return [(float(x), float(y)) for line in lines for x, y in line.get_xydata()]


def test_every_measure_of_every_condition_is_drawn_with_its_n() -> None:
    frame = table(
        stratum=["all_post"] * 4 + ["seen"],
        condition=["base", "base_rag", "base", "base_rag", "base"],
        measure=["stated", "stated", "numeric_match", "numeric_match", "stated"],
        n=[20, 20, 7, 5, 9],
        estimate=[0.2, 0.4, 0.6, float("nan"), 0.9],
    )
    figure = pictures_metrics.by_measure(frame, ["stated", "numeric_match"])
    assert sorted(x for x, _ in dots(figure) if x == x) == [0.2, 0.4, 0.6]
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["Reference stated\n(n = 20)", "Numbers match\n(n = 5 to 7)"]
    assert figures.png(figure)


def test_contexts_stand_from_none_to_perfect_and_absent_ones_leave_no_gap() -> None:
    frame = table(
        model=["base", "base", "base"],
        context=["oracle", "none", "retrieved"],
        condition=["base_oracle", "base", "base_rag"],
        n=[9, 9, 9],
        estimate=[0.9, 0.1, 0.5],
    )
    figure = pictures_metrics.by_context(frame)
    assert dots(figure) == [(0, 0.1), (1, 0.5), (2, 0.9)]
    names = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert names == ["No\npassages", "Retrieved\npassages", "Evidence\nonly"]


@pytest.mark.parametrize("strata", [["all_post"], ["unanswerable", "all_post", "control"]])
def test_refusals_have_a_panel_per_kind_of_question(strata: list[str]) -> None:
    frame = table(
        stratum=strata * 2,
        condition=["base"] * len(strata) + ["base_rag"] * len(strata),
        measure=["declined"] * 2 * len(strata),
        n=[8] * 2 * len(strata),
        estimate=[0.25] * 2 * len(strata),
    )
    figure = pictures_metrics.refusals(frame)
    assert len(figure.axes) == len(strata) and len(dots(figure)) == 2 * len(strata)
    assert all("(n = 8)" in axes.get_title(loc="left") for axes in figure.axes)
