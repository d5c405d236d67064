"""What notebook 02 shows of a training: the masked example and the tables of its report."""

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd

from cutoff.report.wording import label

Report = dict[str, Any]


def title(report: Report) -> str:
    """What readers call an adapter: its variant, and its seed where it is a further one."""
    further = report["adapter"] != report["variant"]
    return label(report["variant"]) + (f" (seed {report['training_seed']})" if further else "")


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
    caption = html.escape(f"{title(report)}: {report['example']['example_id']}")
    return (
        f"<p><strong>{caption}</strong> (marked: the loss is computed here)</p>"
        f'<pre class="text" style="white-space: pre-wrap">{"".join(parts)}</pre>'
    )


ON_GPU = ["peak_gpu_mb", "gpu_hours", "mfu"]


def effort(reports: Mapping[str, Report]) -> pd.DataFrame:
    """One row per adapter: what was trained, how much of it, and what it took.

    Columns about GPUs appear where there was one; an unknown GPU has no MFU.
    """
    frame = pd.DataFrame(reports.values()).assign(adapter=[title(r) for r in reports.values()])
    epochs = [r["settings"]["epochs"] for r in reports.values()]
    frame["tokens"] = (frame["mean_tokens"] * frame["n_examples"] * epochs).round().astype(int)
    kept = ["adapter", "steps", "tokens", "tokens_per_second", "train_seconds", "peak_rss_mb"]
    return frame[kept + [column for column in ON_GPU if frame[column].notna().any()]]


def lengths(reports: Mapping[str, Report]) -> pd.DataFrame:
    """One row per adapter: tokens of the examples against the room they have."""
    frame = pd.DataFrame(reports.values()).assign(adapter=[title(r) for r in reports.values()])
    return frame[
        ["adapter", "mean_tokens", "longest_tokens", "max_length",
         "trained_tokens_per_example", "padding_share"]
    ]  # fmt: skip


def held_out(report: Report) -> pd.DataFrame:
    """Loss on questions that are not trained, by step: columns ``step`` and the strata."""
    return pd.DataFrame(report["held_out"])


def reading(report: Report) -> str:
    """The two curves of an adapter in one sentence, from its data."""
    first, last = report["losses"][0]["loss"], report["losses"][-1]["loss"]
    text = f"**{title(report)}**: training loss from {first:.2f} to {last:.2f} nats per token"
    curve = held_out(report)
    changes = []
    for stratum in curve.columns.drop("step", errors="ignore"):
        start, least, end = curve[stratum].iloc[0], curve[stratum].min(), curve[stratum].iloc[-1]
        rise = f", {end - least:.2f} above its lowest point" if end > least + 0.05 else ""
        changes.append(f"on {label(stratum).lower()} from {start:.2f} to {end:.2f}{rise}")
    return text + ("; other questions: " + "; ".join(changes) if changes else "") + "."


def spread(reports: Mapping[str, Report]) -> str:
    """How far the seeds of a variant end apart; empty where there is one seed."""
    ends: dict[str, list[float]] = {}
    for report in reports.values():
        ends.setdefault(report["variant"], []).append(report["losses"][-1]["loss"])
    return " ".join(
        f"{label(variant)}: {len(values)} seeds end between {min(values):.3f} and "
        f"{max(values):.3f} nats per token."
        for variant, values in ends.items()
        if len(values) > 1
    )


def answers(report: Report) -> pd.DataFrame:
    """Training questions with what was trained and what the adapter answers."""
    frame = pd.DataFrame(report["samples"])
    return frame.rename(columns={"reference": "trained_answer"})
