"""Merging: the sum is PEFT's, and whatever cannot be merged faithfully is refused."""

import json
import shutil
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from cutoff.errors import CutoffError
from cutoff.export import families, merge


def merged(base: Path, adapter: Path | None) -> dict[str, torch.Tensor]:
    tensors = merge.locate_tensors(base)
    lora = None if adapter is None else merge.read_lora(adapter, tensors)
    return {name: merge.read_tensor(name, tensors, lora) for name in tensors}


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def change_config(folder: Path, name: str, **changes: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("use_rslora", [False, True])
def test_merged_weights_are_those_of_peft(
    base_model: Path, adapter: Path, tmp_path: Path, use_rslora: bool
) -> None:
    trained = copy_of(adapter, tmp_path)
    change_config(trained, "adapter_config.json", use_rslora=use_rslora)
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    expected = peft.PeftModel.from_pretrained(model, trained).merge_and_unload().state_dict()
    ours = merged(base_model, trained)
    for name, weight in ours.items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-6)
    changed = [n for n, w in merged(base_model, None).items() if not torch.equal(w, ours[n])]
    assert len(changed) == 7 * model.config.num_hidden_layers  # all seven projections


def test_a_sharded_model_reads_as_the_single_file_does(base_model: Path, tmp_path: Path) -> None:
    stored = load_file(base_model / "model.safetensors")
    names = sorted(stored)
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({n: stored[n] for n in part}, tmp_path / f"model-{number}.safetensors")
    whole = merged(base_model, None)
    sharded = merged(tmp_path, None)
    assert sharded.keys() == whole.keys()
    assert all(torch.equal(sharded[name], whole[name]) for name in whole)


def test_quantised_base_weights_are_refused(base_model: Path, tmp_path: Path) -> None:
    quantised = copy_of(base_model, tmp_path)
    change_config(quantised, "config.json", quantization_config={"load_in_4bit": True})
    with pytest.raises(CutoffError, match="16-bit or 32-bit"):
        families.config_of(quantised)


@pytest.mark.parametrize(
    "changes", [{"peft_type": "IA3"}, {"rank_pattern": {"q_proj": 2}}, {"use_dora": True}]
)
def test_adapters_that_are_not_plain_lora_are_refused(
    base_model: Path, adapter: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    other = copy_of(adapter, tmp_path)
    change_config(other, "adapter_config.json", **changes)
    with pytest.raises(CutoffError, match="plain LoRA"):
        merged(base_model, other)


def test_an_adapter_tensor_without_a_place_in_the_base_model_is_refused(
    base_model: Path, adapter: Path, tmp_path: Path
) -> None:
    other = copy_of(adapter, tmp_path)
    weights = load_file(other / "adapter_model.safetensors")
    weights["base_model.model.model.layers.9.mlp.up_proj.lora_A.weight"] = torch.zeros(4, 256)
    save_file(weights, other / "adapter_model.safetensors")
    with pytest.raises(CutoffError, match="layers.9"):
        merged(base_model, other)


def test_half_an_update_is_refused(base_model: Path, adapter: Path, tmp_path: Path) -> None:
    other = copy_of(adapter, tmp_path)
    weights = load_file(other / "adapter_model.safetensors")
    weights.pop(next(name for name in weights if "lora_B" in name))
    save_file(weights, other / "adapter_model.safetensors")
    with pytest.raises(CutoffError, match="lora_A and lora_B"):
        merged(base_model, other)


def test_a_torn_weight_file_is_named(base_model: Path, tmp_path: Path) -> None:
    torn = copy_of(base_model, tmp_path) / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:1000])
    with pytest.raises(CutoffError, match="model.safetensors"):
        merged(torn.parent, None)
