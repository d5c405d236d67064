"""The one place that decides what ``results.json`` holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cutoff import files, prompts
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
    parity = files.read_json(stage.require(stage.folder / "parity.json", "03_export_gguf"))
    pooled = rates[rates["stratum"] == "all_post"].to_dict("records")
    names = ("n", "judge_failed", "passed", "pass_rate")
    conditions = {
        row["condition"]: {n: row[n] for n in names} | {"ci95": [row["ci_low"], row["ci_high"]]}
        for row in pooled
    }
    one = rates[rates["stratum"].ne("all_post") & rates["condition"].eq(rates["condition"].iloc[0])]
    content: dict[str, Any] = _plain(
        {
            "size": p.size,
            "base_model": p.base_model,
            "n_parameters": int(parity["n_parameters"]),
            "dataset_id": stage.dataset_folder.name,
            "prompts_sha256": prompts.prompts_sha256(),
            "judge": p.judge_model,
            "scoring": judge.scoring(p),
            "served": answering.served(stage),
            "n_questions": int((one["n"] + one["judge_failed"]).sum()),
            "conditions": conditions,
            "pass_rates": rates,
            "contrasts": contrasts,
            "claims": list(claims),
            "diagnostics": tables,
        }
    )
    return content


def _plain(value: Any) -> Any:
    """Python's own types, six significant digits, None for missing."""
    if isinstance(value, pd.DataFrame):
        value = value.to_dict("records")
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return None if value is pd.NA else value
