"""Forgetting is paired, on control papers only, and claimed only where it is established."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from cutoff.evaluate.diagnostics import forgetting
from cutoff.evaluate.stats import effect_table
from cutoff.experiment import CONDITIONS


def make(rates: dict[str, float], papers: int = 40, control: bool = True) -> pd.DataFrame:
    """Verdicts with these pass rates on control papers; on new papers nothing passes."""
    rng = np.random.default_rng(0)
    rows = []
    for stratum in ("seen", "control") if control else ("seen",):
        for i in range(papers * 2):
            draw = rng.random()
            for condition in CONDITIONS:
                passed = stratum == "control" and draw < rates[condition]
                rows.append((f"{stratum}{i}", f"{stratum}-p{i // 2}", stratum, condition, passed))
    frame = pd.DataFrame(rows, columns="question_id paper_id stratum condition passed".split())
    return frame.astype({"passed": "boolean"})


LOSS = {
    "base": 0.9,
    "base_rag": 0.9,
    "instruct_ft": 0.4,
    "instruct_ft_rag": 0.9,
    "rag_ft": 0.87,
    "rag_ft_rag": 0.88,
}


def changes_of(verdicts: pd.DataFrame) -> pd.DataFrame:
    return forgetting.table(verdicts, effect_table.planned_contrasts(verdicts, 500, 0))


def test_changes_are_those_of_control_questions_before_and_after() -> None:
    verdicts = make(LOSS)
    found = changes_of(verdicts)
    assert list(found["b"]) == ["instruct_ft", "rag_ft", "instruct_ft_rag", "rag_ft_rag"]
    wide = verdicts[verdicts["stratum"] == "control"].pivot(
        index="question_id", columns="condition", values="passed"
    )
    for row in found.itertuples():
        before, after = wide[row.a].astype(bool), wide[row.b].astype(bool)
        assert row.n == 80
        assert row.difference == pytest.approx(after.mean() - before.mean())
        assert row.lost == (before & ~after).sum()
        assert row.retained == pytest.approx((before & after).sum() / before.sum())
        assert row.retained_low <= row.retained <= row.retained_high
    assert found["p_holm"].to_numpy() == pytest.approx(multipletests(found["p"], method="holm")[1])


def test_only_an_established_loss_is_called_forgetting() -> None:
    text = forgetting.reading(changes_of(make(LOSS)))
    assert "QA-tuned forgets (" in text
    assert "RAG-tuned: no change is established" in text
    assert text.count("forgets") == 1
    same = forgetting.reading(changes_of(make(dict.fromkeys(LOSS, 0.6))))
    assert "forgets" not in same and "gains" not in same


def test_without_control_papers_it_says_what_is_missing() -> None:
    found = changes_of(make(LOSS, control=False))
    assert found.empty
    assert forgetting.reading(found) == forgetting.MISSING
    assert "n_eval_control" in forgetting.MISSING
