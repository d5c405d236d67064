"""Did the untouched model know the papers all along? Its closed-book answers, month by month.

A fall at the cutoff is what a model that knows old papers and not new ones shows. Answers that are
right on papers from long after it are guesses, or a sign that the data set's cutoff is not the
model's; early new papers known better than late ones are the mark of a leak.
"""

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from cutoff import bootstrap
from cutoff.bootstrap import FEWEST_PAPERS
from cutoff.records import Paper
from cutoff.report.wording import with_interval

CONDITION = "base"
MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])(?!\d)")
MISSING = "**The step at the cutoff is not measured:** one side of it has no judged question."


def answers(verdicts: pd.DataFrame, papers: Sequence[Paper]) -> pd.DataFrame:
    """The untouched model's closed-book answers with the month of their paper.

    Columns: question_id, paper_id, period (``control`` before, ``post`` after the cutoff), month
    (``2024-06``, missing where the paper has no date), passed (missing where the judge failed).
    """
    dates = {paper["paper_id"]: month(paper.get("first_version")) for paper in papers}
    base = verdicts[verdicts["condition"] == CONDITION]
    period = np.where(base["stratum"] == "control", "control", "post")
    found = base.assign(period=period, month=base["paper_id"].map(dates))
    return found[["question_id", "paper_id", "period", "month", "passed"]].reset_index(drop=True)


def table(dated: pd.DataFrame) -> pd.DataFrame:
    """``bootstrap.pass_rates`` of ``answers`` by month and period; the last rows have no date."""
    return bootstrap.pass_rates(dated, ("month", "period"), sort=True)


def reading(dated: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> str:
    """The step at the cutoff (works without dates), and the trend among new papers."""
    judged = dated.dropna(subset=["passed"])
    old, new = (judged[judged["period"] == period] for period in ("control", "post"))
    if old.empty or new.empty:
        return MISSING
    before, after = (
        bootstrap.share(s["passed"].to_numpy(float), s["paper_id"]) for s in (old, new)
    )
    ends = itemgetter("share", "ci_low", "ci_high")
    step, low, high = bootstrap.difference(ends(before), ends(after))
    claim = "A step at the cutoff is not established"
    if min(before["n_papers"], after["n_papers"]) >= FEWEST_PAPERS and not low <= 0 <= high:
        claim = f"The untouched model knows {'old' if high < 0 else 'new'} papers better"
    sides = " to ".join(
        with_interval(side["share"], side["ci_low"], side["ci_high"], "percent")
        for side in (before, after)
    )
    return f"**{claim}**: {with_interval(step, low, high)}, from {sides}. " + _trend(
        new.dropna(subset=["month"]), replicates, seed
    )


def month(day: Any) -> str | None:
    """``2024-06`` of a date that begins so, else None."""
    found = MONTH.match(day) if isinstance(day, str) else None
    return found.group() if found else None


def years_of(months: "pd.Series[str]") -> "pd.Series[float]":
    """``2024-07`` as 2024.5."""
    return months.str[:4].astype(float) + (months.str[5:7].astype(float) - 1) / 12


def _trend(dated: pd.DataFrame, replicates: int, seed: int) -> str:
    years, passed = years_of(dated["month"]).to_numpy(), dated["passed"].to_numpy(float)
    change = bootstrap.slope(years, passed, dated["paper_id"].to_numpy(), replicates, seed)
    if np.isnan(change[1]):
        return "Whether early new papers are known better than late ones cannot be told."
    direction = "earlier" if change[2] < 0 else "later" if change[1] > 0 else "no"
    known = "month is known better than another" if direction == "no" else "ones are known better"
    return f"Among new papers {direction} {known} ({with_interval(*change)} a year)."
