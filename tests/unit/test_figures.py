"""Figures: one colour per condition, told apart by everybody, with words beside them."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cutoff.report import figures

# What deuteranopia and protanopia leave of linear RGB (Machado et al. 2009, severity 1).
BLINDNESS = {
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "full colour": np.eye(3),
}


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(xyz) @ rgb / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def linear(colour: str) -> np.ndarray:
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("kind", BLINDNESS)
def test_conditions_can_be_told_apart(kind: str) -> None:
    seen = {
        name: lab(np.clip(np.array(BLINDNESS[kind]) @ linear(colour), 0, 1))
        for name, colour in figures.COLOURS.items()
    }
    for one, two in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[two]) > 15, (one, two)


def rates() -> pd.DataFrame:
    rows = [
        (stratum, condition, 80, 0.5, 0.4, 0.6)
        for stratum in ("all_post", "seen")
        for condition in figures.COLOURS
    ]
    return pd.DataFrame(rows, columns="stratum condition n pass_rate ci_low ci_high".split())


def contrasts(low: float = 0.1) -> pd.DataFrame:
    row = {"name": "rag", "stratum": "all_post", "planned": True, "n": 80, "n_missing": 0}
    row |= {"difference": 0.2, "ci_low": low, "ci_high": 0.3, "p_holm": 0.01}
    return pd.DataFrame([row, row | {"name": "left out", "planned": False}])


def words(figure: Figure) -> str:
    figure.draw_without_rendering()
    return " | ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_pass_rates_name_every_condition_and_state_n() -> None:
    figure = figures.pass_rates(rates())
    assert len(figure.axes) == 2
    text = words(figure)
    assert "Trained facts (n = 80)" in text and "RAG-tuned + RAG" in text and "50.0" in text
    drawn = {line.get_color() for line in figure.axes[0].lines}
    assert drawn == set(figures.COLOURS.values())


def test_forest_shows_planned_contrasts_and_fills_only_established_ones() -> None:
    for low, filled in ((0.1, True), (-0.1, False)):
        figure = figures.forest(contrasts(low))
        text = words(figure)
        assert "Retrieval, no training" in text and "left out" not in text
        (dot,) = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
        assert (dot.get_markerfacecolor() != "white") is filled


def test_every_figure_draws_and_equal_figures_are_equal_bytes() -> None:
    curve = pd.DataFrame({"step": [1, 2, 3], "loss": [3.0, 2.0, 1.0]})
    recall = pd.DataFrame({"stratum": ["seen"] * 2, "k": [1, 3], "recall": [0.5, 0.9]})
    bars = pd.DataFrame({"label": ["F16", "Q4_K_M"], "bytes": [7e6, 3e6]})
    drawings = {
        "pass_rates": lambda: figures.pass_rates(rates()),
        "forest": lambda: figures.forest(contrasts()),
        "losses": lambda: figures.losses({"instruct_ft": curve}),
        "recall": lambda: figures.recall_at_k(recall, used_k=3),
        "bars": lambda: figures.size_bars(bars),
    }
    for name, draw in drawings.items():
        picture = figures.png(draw())
        assert picture.startswith(b"\x89PNG"), name
        assert picture == figures.png(draw()), name


def test_a_shown_figure_carries_its_alt_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    figures.show(figures.pass_rates(rates()), alt="Half of the questions, everywhere.")
    data, metadata = shown[0]._repr_mimebundle_()
    assert "image/png" in data
    assert metadata["image/png"]["alt"] == "Half of the questions, everywhere."
