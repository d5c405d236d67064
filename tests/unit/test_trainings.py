"""The spread between trainings is computed, and is missing where there was only one."""

import math

import pandas as pd
import pytest

from cutoff.evaluate import trainings


def contrasts(qa: float, rag_style: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": ["rag", "ft_closed_book_instruct", "ft_under_rag_rag", "ft_under_rag_rag"],
            "stratum": ["all_post", "seen", "all_post", "control"],
            "planned": [True, True, True, False],
            "difference": [0.8, qa, rag_style, 0.5],
        }
    )


def test_the_spread_is_the_standard_deviation_of_planned_contrasts_of_trained_models() -> None:
    table = trainings.spread({0: contrasts(0.5, 0.1), 1: contrasts(0.7, -0.1)})
    assert list(table["name"]) == ["ft_closed_book_instruct", "ft_under_rag_rag"]
    assert table["sd"].tolist() == pytest.approx([math.sqrt(0.02)] * 2)
    sentence = trainings.reading(table)
    assert "Between 2 trainings" in sentence and "at most 14.1" in sentence
    assert "1 of 2 keep their direction" in sentence


def test_one_training_has_no_spread() -> None:
    table = trainings.spread({0: contrasts(0.5, 0.1)})
    assert table["sd"].isna().all()
    assert "not known" in trainings.reading(table)
