"""Knowledge by date: the step at the cutoff, a leak behind it, and papers without a date."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cutoff.evaluate.diagnostics import contamination, diagnostic_figures
from cutoff.report import figures

Record = dict[str, Any]


def world(
    before: float, after: float, slope: float = 0.0, papers: int = 30, seed: int = 1
) -> tuple[pd.DataFrame, list[Record]]:
    """Base verdicts on papers of 2023 (control) and 2025 (new), three questions each."""
    rng = np.random.default_rng(seed)
    rows, records = [], []
    for stratum, year, rate in (("control", 2023, before), ("unseen_paper", 2025, after)):
        for i in range(papers):
            month = i % 12 + 1
            name = f"{stratum}{i}"
            records.append({"paper_id": name, "first_version": f"{year}-{month:02d}-15"})
            chance = rate + (slope * (month - 6.5) / 12 if stratum != "control" else 0)
            for n in range(3):
                passed = bool(rng.random() < chance)
                rows.append((f"{name}/{n}", name, stratum, "base", passed))
                rows.append((f"{name}/{n}", name, stratum, "base_rag", True))
    names = ["question_id", "paper_id", "stratum", "condition", "passed"]
    return pd.DataFrame(rows, columns=names).astype({"passed": "boolean"}), records


def test_every_month_counts_its_own_closed_book_answers_of_the_untouched_model() -> None:
    verdicts, papers = world(0.8, 0.1)
    months = contamination.table(contamination.answers(verdicts, papers))
    assert months["n"].sum() == 180  # not the 360 with retrieval
    assert list(months["month"]) == sorted(months["month"])
    march = verdicts[
        verdicts["condition"].eq("base")
        & verdicts["paper_id"].isin(
            [p["paper_id"] for p in papers if "2025-03" in p["first_version"]]
        )
    ]
    row = months.set_index("month").loc["2025-03"]
    assert (row["n"], row["passed"], row["period"]) == (len(march), march["passed"].sum(), "post")


@pytest.mark.parametrize(
    "before, after, said",
    [
        (0.8, 0.1, "knows old papers better"),
        (1.0, 0.0, "knows old papers better"),  # no spread at all
        (0.3, 0.3, "A step at the cutoff is not established"),
        (0.1, 0.7, "knows new papers better"),
    ],
)
def test_the_step_is_claimed_only_where_the_interval_excludes_zero(
    before: float, after: float, said: str
) -> None:
    text = contamination.reading(contamination.answers(*world(before, after)), 500)
    assert said in text


def test_few_papers_establish_no_step() -> None:
    text = contamination.reading(contamination.answers(*world(1.0, 0.0, papers=9)), 200)
    assert "not established" in text


def test_a_leak_shows_as_a_fall_among_new_papers() -> None:
    dated = contamination.answers(*world(0.9, 0.45, slope=-0.9, papers=60))
    assert "earlier ones are known better" in contamination.reading(dated, 1000)


def test_without_a_leak_a_trend_is_claimed_in_at_most_five_percent_of_runs() -> None:
    claimed = 0
    for seed in range(40):
        dated = contamination.answers(*world(0.9, 0.45, seed=seed))
        claimed += "no month is known better" not in contamination.reading(dated, 300, seed)
    assert claimed <= 6  # 2 expected; more than 6 has a probability of 0.3 %


def test_papers_without_a_date_are_counted_and_none_is_given_a_month() -> None:
    verdicts, papers = world(0.8, 0.1)
    papers[0]["first_version"] = None
    papers[1] = {"paper_id": papers[1]["paper_id"]}
    papers[2]["first_version"] = "spring 2023"
    dated = contamination.answers(verdicts, papers)
    months = contamination.table(dated)
    assert months["n"].sum() == 180
    assert months.loc[months["month"].isna(), "n"].sum() == 9
    undated = dated.assign(month=None)
    assert "old papers better" in contamination.reading(undated)


def test_dates_that_are_none_are_no_months() -> None:
    assert contamination.month("2024-06-11T09:00:00Z") == "2024-06"
    assert contamination.month("2024-06") == "2024-06"
    for wrong in ("2024-13-01", "2024-061", "2024", "", None, 20240611):
        assert contamination.month(wrong) is None


def test_without_control_papers_there_is_no_step_to_speak_of() -> None:
    dated = contamination.answers(*world(0.8, 0.1))
    text = contamination.reading(dated[dated["period"] == "post"], 200)
    assert "step at the cutoff is not measured" in text


def test_the_figure_draws_every_dated_month_and_the_cutoff() -> None:
    months = contamination.table(contamination.answers(*world(0.8, 0.1)))
    figure = diagnostic_figures.by_month(months)
    (panel,) = figure.axes
    dots = [line for line in panel.lines if line.get_marker() != "None"]
    assert sum(len(line.get_xdata()) for line in dots) == len(months)
    ticks = [text.get_text() for text in panel.get_xticklabels()]
    assert ticks[0] == "2023-01" and ticks[-1] == "2025-12" and len(ticks) == 5
    assert len(panel.lines) == len(dots) + 1  # the cutoff
    assert figures.png(figure).startswith(b"\x89PNG")
