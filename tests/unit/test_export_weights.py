"""Which files 03 makes of a model: those that answer, and those that 04 compares them with."""

from pathlib import Path

import pytest

from cutoff import models, params
from cutoff.errors import CutoffError
from cutoff.export import file_facts, weights


def test_a_compared_quantisation_is_a_file_of_its_own_made_once(
    base_model: Path, tmp_path: Path
) -> None:
    p = params.load("tiny", {"compare_quantizations": "F16, Q8_0"})
    files = models.files_of(tmp_path, "base", p)
    assert weights.export(files, base_model, None, p) == 3
    assert weights.export(files, base_model, None, p) == 0
    found = {path.name for path in (tmp_path / "models").glob("*.gguf")}
    assert found == {path.name for path in files.every}
    for kind, path in {"Q8_0": files.compared["Q8_0"], "Q4_K": files.served}.items():
        facts = file_facts.read(path)
        assert facts is not None and kind in facts["matrix_types"]


def test_the_16_bit_file_and_the_served_one_are_compared_without_a_further_file(
    tmp_path: Path,
) -> None:
    for served, compared in (("Q4_K_M", "F16"), ("Q8_0", "Q8_0,F16"), ("F16", "F16")):
        given = {"quantization": served, "compare_quantizations": compared}
        assert not models.files_of(tmp_path, "base", params.load("tiny", given)).compared
    assert not models.compared_quantizations(params.load("tiny", {"compare_quantizations": None}))


def test_adapters_over_one_base_share_its_compared_file(tmp_path: Path) -> None:
    p = params.load("tiny", {"export_mode": "adapter", "compare_quantizations": "Q8_0"})
    of_models = [models.files_of(tmp_path, model, p) for model in ("base", *models.adapters(p))]
    assert len({files.compared["Q8_0"] for files in of_models}) == 1


def test_an_unknown_quantisation_is_named(tmp_path: Path) -> None:
    p = params.load("tiny", {"compare_quantizations": "F16,Q5_K_M"})
    with pytest.raises(CutoffError, match="compare_quantizations.*'Q5_K_M'"):
        models.files_of(tmp_path, "base", p)
