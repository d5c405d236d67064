"""Did the untouched model know the papers all along? Its closed-book answers, month by month.

A fall at the cutoff is what a model that knows old papers and not new ones shows. Answers
that are right on papers from long after the cutoff are guesses, or a sign that the data
set's cutoff is not the model's.
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
MISSING = (
    "**Whether the untouched model knew papers before it read them cannot be told by date:** no "
    "paper that was asked about has a date of its first version."
)


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
    """``bootstrap.pass_rates`` by month and period; the last rows hold papers without a date.

    ``dated`` is what ``answers`` returns.
    """
    return bootstrap.pass_rates(dated, ("month", "period"), sort=True)


def reading(dated: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> str:
    """The step at the cutoff, and the trend of the guesses behind it."""
    judged = dated.dropna(subset=["passed"])
    known = judged.dropna(subset=["month"])
    if known.empty:
        return MISSING
    text = f"{_step(judged)} {_trend(known[known['period'] == 'post'], replicates, seed)}"
    undated = judged.loc[judged["month"].isna(), "paper_id"].nunique()
    return text + (f" {undated} papers have no date and stand in no month." if undated else "")


def month(day: Any) -> str | None:
    """``2024-06`` of a date that begins so, else None."""
    found = MONTH.match(day) if isinstance(day, str) else None
    return found.group() if found else None


def years_of(months: "pd.Series[str]") -> "pd.Series[float]":
    """``2024-07`` as 2024.5."""
    return months.str[:4].astype(float) + (months.str[5:7].astype(float) - 1) / 12


def _step(judged: pd.DataFrame) -> str:
    """The pass rate before and after the cutoff; works without dates."""
    sides = [judged[judged["period"] == period] for period in ("control", "post")]
    before, after = (bootstrap.share(s["passed"].to_numpy(float), s["paper_id"]) for s in sides)
    if not before["n"] or not after["n"]:
        return "**The step at the cutoff is not measured:** one side of it has no judged question."
    ends = itemgetter("share", "ci_low", "ci_high")
    step, low, high = bootstrap.difference(ends(before), ends(after))
    few = min(before["n_papers"], after["n_papers"]) < FEWEST_PAPERS
    if few or low <= 0 <= high:
        claim = "A step at the cutoff is not established"
        claim += f" (fewer than {FEWEST_PAPERS} papers on one side)" if few else ""
    elif high < 0:
        claim = "The untouched model knows old papers better than new ones"
    else:
        claim = (
            "The untouched model does better on new papers than on old ones, which it should not: "
            "the cutoff, or the control papers, need a look"
        )
    return (
        f"**{claim}**: {with_interval(step, low, high)}, from {_told(before)} before the cutoff to "
        f"{_told(after)} after it."
    )


def _told(rate: dict[str, float]) -> str:
    text = with_interval(rate["share"], rate["ci_low"], rate["ci_high"], "percent")
    return f"{text} of {rate['n']:,} questions"


def _trend(post: pd.DataFrame, replicates: int, seed: int) -> str:
    """Whether early new papers are known better than late ones: the mark of a leak."""
    years, passed = years_of(post["month"]).to_numpy(), post["passed"].to_numpy(float)
    papers = post["paper_id"].to_numpy()
    change, low, high = bootstrap.slope(years, passed, papers, replicates, seed)
    if np.isnan(low):
        return "Whether early new papers are known better than late ones cannot be told."
    numbers = f"({with_interval(change, low, high)} a year)"
    if high < 0:
        return (
            f"Among new papers the earlier ones are known better {numbers}: the model may have "
            "read some of them, and a later `post_from` would be cleaner."
        )
    if low > 0:
        return f"Among new papers the later ones are known better {numbers}, which is no leak."
    return f"Among new papers no trend is established {numbers}, and so no leak is seen."
