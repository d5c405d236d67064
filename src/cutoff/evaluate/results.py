"""The one place that decides what ``results.json`` holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cutoff.errors import CutoffError

IDENTITY = (
    "size",
    "base_model",
    "n_parameters",
    "dataset_id",
    "prompts_sha256",
    "judge",
    "scoring",
)


def build(
    identity: Mapping[str, Any],
    rates: pd.DataFrame,
    contrasts: pd.DataFrame,
    claims: Sequence[str],
    diagnostics: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of the file: JSON values only, equal for equal input.

    ``identity`` holds the values named in ``IDENTITY``: what 05 needs to decide whether two
    runs may stand side by side. ``conditions`` are the pooled post-cutoff figures.
    Numbers keep six digits; missing is null.
    """
    missing = [name for name in IDENTITY if name not in identity]
    if missing:
        raise CutoffError(f"results.json needs {', '.join(missing)}: not given.")
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
            "diagnostics": dict(diagnostics),
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
