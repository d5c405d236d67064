"""The golden set: responses whose verdict is beyond dispute, marked before anything else.

A judge that gets less than ``judge_min_golden`` of it right may not judge the run. Right is the
verdict and, with it, whether the response passes. The rules of ``reference`` are known to miss
some items (other words, a comparison turned round): the set shows what a judge cannot do.
"""

from pathlib import Path

import pandas as pd
import yaml

from cutoff import bootstrap
from cutoff.errors import CutoffError
from cutoff.evaluate.judging import opinions, panel, rubric
from cutoff.params import Params
from cutoff.report.wording import percent

# kind, question, reference, response, and the verdict that is right
GOLDEN: list[dict[str, str]] = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text("utf-8")
)


def results(p: Params, folder: Path) -> pd.DataFrame:
    """How every member of the panel marks the set; ``folder`` is that of the run.

    Columns: judge, kind, question, reference, response, expected, verdict, right. What is known
    is not asked again. Raises ``CutoffError``, which names what was marked wrongly, where the
    share of right ones is below ``judge_min_golden``.
    """
    return pd.concat([_check(judge, p, folder) for judge in panel.members(p)], ignore_index=True)


def _check(judge: panel.Judge, p: Params, folder: Path) -> pd.DataFrame:
    items = {
        f"golden-{number:02d}": (item["question"], item["reference"], item["response"])
        for number, item in enumerate(GOLDEN, start=1)
    }
    marked = opinions.of(judge, p, items, folder, ".golden", strict=True)
    frame = pd.DataFrame(GOLDEN).rename(columns={"verdict": "expected"})
    frame = frame.assign(judge=judge.name, verdict=[found["verdict"] for found in marked])
    passes = frame["expected"].map(rubric.passes) == [found["passed"] for found in marked]
    frame["right"] = passes & (frame["verdict"] == frame["expected"])
    if frame["right"].mean() < p.judge_min_golden:
        wrong = frame[~frame["right"]].itertuples()
        shown = [
            f"{row.kind}: {row.response[:60]!r} is {row.expected}, was marked {row.verdict}"
            for row in wrong
        ]
        raise CutoffError(
            f"The judge {judge.name!r} gets {frame['right'].sum()} of {len(frame)} golden answers "
            f"right, less than judge_min_golden = {p.judge_min_golden:g}, and may not judge this "
            f"run. Choose another judge_model. Marked wrongly: {'; '.join(shown[:5])}"
            f"{'; ...' if len(shown) > 5 else ''}."
        )
    return frame


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row per judge: n, right (share) with right_low and right_high (95 %), right answers that
    pass (sensitivity) and others that do not (specificity), and the kinds marked wrongly."""
    rows = []
    for name, part in results.groupby("judge", sort=False):
        found = bootstrap.share(part["right"].to_numpy(dtype=float), part.index.to_numpy())
        good = part["expected"] == "correct"
        row = {"judge": name, "n": len(part), "right": found["share"]}
        row |= {"right_low": found["ci_low"], "right_high": found["ci_high"]}
        row |= {"sensitivity": part.loc[good, "right"].mean()}
        row |= {"specificity": (part.loc[~good, "verdict"] != "correct").mean()}
        wrong = part.loc[~part["right"], "kind"].drop_duplicates()
        rows.append(row | {"marked wrongly": ", ".join(wrong) or "none"})
    return pd.DataFrame(rows)


def reading(results: pd.DataFrame, p: Params) -> str:
    """How the judges did on the golden set, in words."""
    by_judge = results.groupby("judge", sort=False)["right"].mean()
    parts = [f"`{name}` marks {percent(right)} right" for name, right in by_judge.items()]
    return (
        f"**Of {len(GOLDEN)} answers of known worth, some of which order the judge to pass them, "
        f"{'; '.join(parts)}** (at least {percent(p.judge_min_golden)} was asked for)."
    )
