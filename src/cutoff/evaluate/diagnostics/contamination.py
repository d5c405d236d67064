"""Did the untouched model know the papers all along? Its closed-book answers, month by month.

A fall at the cutoff is what a model that knows old papers and not new ones shows. Answers
that are right on papers from long after the cutoff are guesses, or a sign that the data
set's cutoff is not the model's.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cutoff import bootstrap
from cutoff.report.wording import interval, percent, points

Record = dict[str, Any]

CONDITION = "base"
MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])(?!\d)")
FEWEST_PAPERS = 10  # on each side; a bootstrap over fewer papers promises too much
MISSING = (
    "**Whether the untouched model knew papers before it read them cannot be told by date:** no "
    "paper that was asked about has a date of its first version."
)


def answers(verdicts: pd.DataFrame, papers: Sequence[Record]) -> pd.DataFrame:
    """The untouched model's closed-book answers with the month of their paper.

    ``papers`` are the records of ``papers.jsonl``. Columns: question_id, paper_id, period
    (``control`` before, ``post`` after the cutoff), month (``2024-06``, missing where the
    paper has no date), passed (missing where the judge failed).
    """
    dates = {paper["paper_id"]: month(paper.get("first_version")) for paper in papers}
    base = verdicts[verdicts["condition"] == CONDITION]
    period = np.where(base["stratum"] == "control", "control", "post")
    found = base.assign(period=period, month=base["paper_id"].map(dates))
    return found[["question_id", "paper_id", "period", "month", "passed"]].reset_index(drop=True)


def table(dated: pd.DataFrame) -> pd.DataFrame:
    """Pass rate by month and side of the cutoff; the last rows hold papers without a date.

    ``dated`` is what ``answers`` returns. Columns: month, period, n (judged), judge_failed,
    n_papers, passed, pass_rate, ci_low, ci_high (95 %, questions clustered in papers).
    """
    return bootstrap.pass_rates(dated, ("month", "period"), sort=True)


def written(months: pd.DataFrame) -> pd.DataFrame:
    """``table`` for reading."""
    names = "month period n n_papers passed pass_rate ci_low ci_high".split()
    shown = months[names].rename(columns={"period": "papers are from"})
    sides = {"control": "before the cutoff", "post": "after the cutoff"}
    return shown.assign(**{"papers are from": shown["papers are from"].map(sides)})


def reading(dated: pd.DataFrame, replicates: int = 10_000, seed: int = 0) -> str:
    """The step at the cutoff, and the trend of the guesses behind it."""
    judged = dated.dropna(subset=["passed"])
    known = judged.dropna(subset=["month"])
    if known.empty:
        return MISSING
    sentences = [_step(judged), _trend(known, replicates, seed)]
    undated = judged.loc[judged["month"].isna(), "paper_id"].nunique()
    if undated:
        sentences.append(f"{undated} papers have no date and stand in no month.")
    return " ".join(sentences)


def month(day: Any) -> str | None:
    """``2024-06`` of a date that begins so, else None."""
    found = MONTH.match(day) if isinstance(day, str) else None
    return found.group() if found else None


def _step(judged: pd.DataFrame) -> str:
    """The pass rate before and after the cutoff; works without dates."""
    sides = {name: judged[judged["period"] == name] for name in ("control", "post")}
    rates = {
        name: bootstrap.share(part["passed"].to_numpy(dtype=float), part["paper_id"].to_numpy())
        for name, part in sides.items()
    }
    after = rates["post"]
    on_new = (
        f"{percent(after['share'])} ({interval(after['ci_low'], after['ci_high'])}) of "
        f"{after['n']:,} questions on papers from after the cutoff"
    )
    if not rates["control"]["n"]:
        return (
            f"**Without passages the untouched model passes {on_new}.** There are no questions on "
            "papers from before it, so nothing says how much that is."
        )
    if not after["n"]:
        return "**No question on a paper from after the cutoff was judged.**"
    before = rates["control"]
    ends = "share", "ci_low", "ci_high"
    step, low, high = bootstrap.difference(*([side[e] for e in ends] for side in (before, after)))
    few = min(rates[name]["n_papers"] for name in sides) < FEWEST_PAPERS
    numbers = f"{points(step)} points, 95\u00a0% interval {interval(low, high)}"
    if few or low <= 0 <= high:
        why = f"fewer than {FEWEST_PAPERS} papers on one side" if few else numbers
        claim = f"A step at the cutoff is not established ({why})"
    elif high < 0:
        claim = f"The untouched model knows old papers better than new ones ({numbers})"
    else:
        claim = (
            f"The untouched model does better on new papers than on old ones ({numbers}), which "
            "an untouched model should not: the cutoff, or the control papers, need a look"
        )
    return (
        f"**{claim}.** Without passages it passes {percent(before['share'])} "
        f"({interval(before['ci_low'], before['ci_high'])}) of {before['n']:,} questions on papers "
        f"from before the cutoff and {on_new}."
    )


def _trend(known: pd.DataFrame, replicates: int, seed: int) -> str:
    """Whether early new papers are known better than late ones: the mark of a leak."""
    post = known[known["period"] == "post"]
    years = years_of(post["month"])
    y = post["passed"].to_numpy(dtype=float)
    papers = post["paper_id"].to_numpy()
    change, low, high = bootstrap.slope(years, y, papers, replicates, seed)
    if post["paper_id"].nunique() < FEWEST_PAPERS or np.isnan(low):
        return "Whether early new papers are known better than late ones cannot be told."
    numbers = (
        f"{points(change)} points a year, 95\u00a0% interval {interval(low, high)}, "
        f"{post['month'].min()} to {post['month'].max()}"
    )
    if high < 0:
        return (
            f"Among new papers the earlier ones are known better ({numbers}): the model may have "
            "read some of them, and a later `post_from` would be cleaner."
        )
    if low > 0:
        return f"Among new papers the later ones are known better ({numbers}), which is no leak."
    return (
        f"Among new papers no trend is established ({numbers}): no leak is seen, and one within "
        "that interval is not excluded."
    )


def years_of(months: "pd.Series[str]") -> np.ndarray[Any, np.dtype[np.float64]]:
    """``2024-07`` as 2024.5."""
    numbers = [int(m[:4]) + (int(m[5:7]) - 1) / 12 for m in months]
    return np.array(numbers, dtype=np.float64)
