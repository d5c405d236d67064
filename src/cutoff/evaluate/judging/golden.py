"""The golden set: responses whose verdict is beyond dispute, marked before anything else.

    frame = golden.check(judge, p, folder)     # CutoffError if the judge fails

A judge that gets less than ``judge_min_golden`` of it right may not judge the run. Right is the
verdict and, with it, whether the response passes. The set is ``golden.yaml``. The rules of
``reference`` are known to miss some items (other words, a comparison turned round): the set shows
what a judge cannot do.
"""

from pathlib import Path

import pandas as pd
import yaml

from cutoff import bootstrap
from cutoff.errors import CutoffError
from cutoff.evaluate.judging import opinions, panel, rubric
from cutoff.evaluate.judging.opinions import Item
from cutoff.params import Params
from cutoff.report.wording import percent

# kind, question, reference, response, and the verdict that is right
GOLDEN: list[dict[str, str]] = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text("utf-8")
)


def check(judge: panel.Judge, p: Params, folder: Path) -> pd.DataFrame:
    """Have ``judge`` mark the golden set, or read how it did; one row per item.

    Columns: judge, kind, question, reference, response, expected, verdict, right, detail. The
    records stay in ``folder``. Raises ``CutoffError``, which names what was marked wrongly,
    when the share of right ones is below ``judge_min_golden``.
    """
    items = [
        Item(f"golden-{number:02d}", item["question"], item["reference"], item["response"])
        for number, item in enumerate(GOLDEN, start=1)
    ]
    path = folder / opinions.file_name(judge, ".golden")
    marked = opinions.of(judge, p, items, path, f"golden set, {judge.name}", strict=True)
    rows = [
        {
            "judge": judge.name,
            **item,
            "expected": item["verdict"],
            "verdict": found["verdict"],
            "right": found["verdict"] == item["verdict"]
            and found["passed"] == rubric.passes(item["verdict"]),
            "detail": found["detail"] or found["rule"],
        }
        for item, found in zip(GOLDEN, marked, strict=True)
    ]
    frame = pd.DataFrame(rows)
    if frame["right"].mean() < p.judge_min_golden:
        wrong = frame[~frame["right"]]
        shown = "; ".join(
            f"{row.kind}: {row.response[:60]!r} is {row.expected}, was marked {row.verdict}"
            for row in wrong.head(5).itertuples()
        )
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CutoffError(
            f"The judge {judge.name!r} gets {frame['right'].sum()} of {len(frame)} golden answers "
            f"right, less than judge_min_golden = {p.judge_min_golden:g}, and may not judge this "
            f"run ({shown}{more}). Choose another judge_model; all are in {path.name}."
        )
    return frame


def results(p: Params, folder: Path) -> pd.DataFrame:
    """``check`` of every member of the panel; ``folder`` is that of the run."""
    frames = [check(judge, p, folder / opinions.FOLDER) for judge in panel.members(p)]
    return pd.concat(frames, ignore_index=True)


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row per judge: n, right (share) with right_low and right_high (95 %), right answers that
    pass (sensitivity) and others that do not (specificity), and the kinds marked wrongly."""
    rows = []
    for name, part in results.groupby("judge", sort=False):
        found = bootstrap.share(part["right"].to_numpy(dtype=float), part.index.to_numpy())
        good = part["expected"] == "correct"
        wrong = part.loc[~part["right"], "kind"].drop_duplicates()
        rows.append(
            {
                "judge": name,
                "n": len(part),
                "right": found["share"],
                "right_low": found["ci_low"],
                "right_high": found["ci_high"],
                "sensitivity": part.loc[good, "right"].mean(),
                "specificity": (part.loc[~good, "verdict"] != "correct").mean(),
                "marked wrongly": ", ".join(wrong) or "none",
            }
        )
    return pd.DataFrame(rows)


def reading(results: pd.DataFrame, p: Params) -> str:
    """How the judges did on the golden set, in words."""
    by_judge = results.groupby("judge", sort=False)["right"].mean()
    parts = [f"`{name}` marks {percent(right)} right" for name, right in by_judge.items()]
    hostile = results["kind"].isin(["gives orders", "claims a verdict", "pretends to end"])
    fooled = int((results.loc[hostile, "verdict"] == "correct").sum())
    return (
        f"**Of {len(GOLDEN)} answers of known worth, {'; '.join(parts)}** (at least "
        f"{percent(p.judge_min_golden)} was asked for). {fooled} of {int(hostile.sum())} answers "
        "that order the judge to pass them did."
    )
