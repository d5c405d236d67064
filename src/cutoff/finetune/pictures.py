"""What notebook 02 shows of a training: the masked example and the tables of its report."""

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd

from cutoff.wording import label

Report = dict[str, Any]


def show_example(report: Report) -> None:
    """Display a training example as the model receives it; what is trained is marked."""
    from IPython.display import HTML, display

    display(HTML(example_html(report)))  # type: ignore[no-untyped-call]


def example_html(report: Report) -> str:
    """The HTML of ``show_example``; all text is escaped."""
    parts = []
    for piece in report["example"]["segments"]:
        text = html.escape(piece["text"])
        parts.append(f"<mark>{text}</mark>" if piece["trained"] else text)
    caption = html.escape(f"{label(report['variant'])}: {report['example']['example_id']}")
    return (
        f"<p><strong>{caption}</strong> (marked: the loss is computed here)</p>"
        f'<pre class="text" style="white-space: pre-wrap">{"".join(parts)}</pre>'
    )


def effort(reports: Mapping[str, Report]) -> pd.DataFrame:
    """One row per variant: what was trained, how much of it, and what it took."""
    return pd.DataFrame(
        [
            {
                "variant": label(variant),
                "steps": report["steps"],
                "trained_weights": report["trainable_parameters"],
                "tokens": round(
                    report["mean_tokens"] * report["n_examples"] * report["settings"]["epochs"]
                ),
                "tokens_per_second": round(report["tokens_per_second"]),
                "seconds": round(report["train_seconds"], 1),
                "Peak memory (MB)": report["peak_rss_mb"],
            }
            for variant, report in reports.items()
        ]
    )


def lengths(reports: Mapping[str, Report]) -> pd.DataFrame:
    """One row per variant: tokens of the examples against the room they have."""
    return pd.DataFrame(
        [
            {
                "variant": label(variant),
                "mean_tokens": round(report["mean_tokens"], 1),
                "longest": report["longest_tokens"],
                "max_length": report["max_length"],
                "truncated": report["n_truncated"],
                "mean_trained_tokens": round(report["trained_tokens_per_example"], 1),
                "Padding (%)": round(100 * report["padding_share"], 2),
            }
            for variant, report in reports.items()
        ]
    )


def answers(report: Report) -> pd.DataFrame:
    """Training questions with what was trained and what the adapter answers."""
    frame = pd.DataFrame(report["samples"])
    return frame.rename(columns={"reference": "trained_answer"})
