"""One palette and one theme for every figure.

A condition keeps its colour everywhere: grey is the untouched model, orange was trained on
questions and answers, blue on passages with citations; the dark shade has retrieval. The
three hues stay apart for colour-blind readers and the two shades in greyscale.
"""

import matplotlib

COLOURS = {
    "base": "#a8adb4",
    "base_rag": "#4a5058",
    "instruct_ft": "#f2a65a",
    "instruct_ft_rag": "#b3560f",
    "rag_ft": "#79b4e3",
    "rag_ft_rag": "#0b5394",
}
INK, QUIET, LINE = "#1c2430", "#5b6675", "#dde2e8"
GAIN, LOSS = "#0b5394", "#b3560f"
WIDTH_INCHES = 5.6
SHOWN_PIXELS = 620
ON_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # no line crosses such a text
STYLES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"), ("v", "-"))  # marker, line
SCALE = {"percent": 100.0, "points": 100.0, "number": 1.0}

matplotlib.rcParams.update(
    {
        "font.size": 11,
        "font.family": "DejaVu Sans",
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": QUIET,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "legend.frameon": False,
    }
)
