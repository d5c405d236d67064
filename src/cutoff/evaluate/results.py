"""The one place that decides what ``results.json`` holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cutoff import prompts
from cutoff.evaluate import answering
from cutoff.evaluate.judging import judge
from cutoff.run import folders


def build(
    stage: folders.Run,
    rates: pd.DataFrame,
    contrasts: pd.DataFrame,
    claims: Sequence[str],
    tables: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of the file: JSON values only, equal for equal input.

    First what 05 needs to decide whether two runs may stand side by side. ``conditions`` are the
    pooled post-cutoff figures, ``tables`` (frames or values, by name) the diagnostics. Numbers
    keep six digits; missing is null.
    """
    p = stage.params
    identity = {
        "size": p.size,
        "base_model": p.base_model,
        "n_parameters": answering.n_parameters(stage),
        "dataset_id": stage.dataset_folder.name,
        "prompts_sha256": prompts.prompts_sha256(),
        "judge": p.judge_model,
        "scoring": judge.scoring(p),
        "served": answering.served(stage),
    }
    pooled = rates[rates["stratum"] == "all_post"]
    conditions = {
        row["condition"]: {
            "n": row["n"],
            "judge_failed": row["judge_failed"],
            "passed": row["passed"],
            "pass_rate": row["pass_rate"],
            "ci95": [row["ci_low"], row["ci_high"]],
        }
        for row in pooled.to_dict("records")
    }
    strata = rates[rates["stratum"] != "all_post"]
    one = strata[strata["condition"] == rates["condition"].iloc[0]]
    cleaned: dict[str, Any] = _plain(
        {
            **identity,
            "n_questions": int((one["n"] + one["judge_failed"]).sum()),
            "conditions": conditions,
            "pass_rates": rates.to_dict("records"),
            "contrasts": contrasts.to_dict("records"),
            "claims": list(claims),
            "diagnostics": {
                name: found.to_dict("records") if isinstance(found, pd.DataFrame) else found
                for name, found in tables.items()
            },
        }
    )
    return cleaned


def _plain(value: Any) -> Any:
    """Python's own types, six significant digits, None for missing."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return None if value is pd.NA else value
