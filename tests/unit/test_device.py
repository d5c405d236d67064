"""The device: number format, useful operations against its peak, and what it is too small for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Config, Qwen2ForCausalLM

from cutoff import device
from cutoff.device import Device
from cutoff.errors import CutoffError
from cutoff.finetune import base, launch, training_errors
from cutoff.finetune.settings import Training

CPU = Device(None, "CPU", "float32", "")


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [(None, "float32"), ((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")],
)
def test_number_format_follows_the_devices_capability(
    capability: tuple[int, int] | None, dtype: str
) -> None:
    chosen, why = device.choose_dtype(capability)
    assert chosen == dtype and why


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("Tesla T4", 65.1),
        ("NVIDIA L4", 121.2),
        ("NVIDIA A10G", 70.0),
        ("NVIDIA A100-SXM4-40GB", 311.9),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.5),
    ],
)
def test_the_peak_is_found_under_the_drivers_name(name: str, tera: float) -> None:
    assert device.peak_flops(name) == pytest.approx(tera * 1e12)


def test_an_unknown_device_has_no_utilisation_rather_than_none_of_it() -> None:
    assert device.peak_flops("CPU") is None and device.peak_flops("Radeon") is None
    assert device.utilisation(1e12, 1.0, "CPU", 1) is None
    assert device.utilisation(65.1e12, 2.0, "Tesla T4", 2) == pytest.approx(0.25)


def test_counted_operations_agree_with_pytorchs_own_counter() -> None:
    """Of a forward pass: the formula's third, less what only the backward pass does."""
    config = Qwen2Config(
        vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2ForCausalLM._from_config(config, attn_implementation="eager")
    length = 96
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, length, dtype=torch.long))
    counted = counter.get_total_flops()
    whole = device.training_flops(config, [length], length, 0, epochs=1)
    squares = 6.0 * 3 * 128 * length**2
    # Weights: half of the formula is the forward pass. Attention: a third of it is, and the
    # counter counts all pairs of tokens where the formula counts those that look back.
    assert counted == pytest.approx((whole - squares) / 2 + 2 * squares / 3, rel=1e-3)


def folder_of(config: Any, folder: Path) -> Path:
    """A folder whose weight files declare a model's true shapes; their data are holes."""
    import json

    with torch.device("meta"):
        shapes = {k: list(v.shape) for k, v in Qwen2ForCausalLM(config).named_parameters()}
    heads, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(torch.tensor(shape).prod())
        heads[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(heads).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return folder


@pytest.fixture(scope="module")
def seven_billion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = Qwen2Config(
        vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
        num_attention_heads=28, num_key_value_heads=4, tie_word_embeddings=False,
    )  # fmt: skip
    return folder_of(config, tmp_path_factory.mktemp("7b"))


def test_a_large_model_without_a_gpu_is_refused_before_it_is_loaded(seven_billion: Path) -> None:
    n_weights = device.base_parameters(seven_billion)
    assert n_weights == 7_615_616_512
    with pytest.raises(CutoffError) as info:
        device.require_feasible(seven_billion, 1_000_000, None, load_in_4bit=False, gpu=False)
    text = str(info.value)
    assert "7.6 billion" in text and "hours" in text and "34 GB" in text
    assert "training_processes=1" in text
    device.require_feasible(seven_billion, 1_000_000, 1, load_in_4bit=False, gpu=False)
    device.require_feasible(seven_billion, 1_000_000, None, load_in_4bit=True, gpu=True)


def test_a_small_model_trains_without_a_gpu(small_base: Path) -> None:
    device.require_feasible(small_base, 10**9, None, load_in_4bit=True, gpu=False)


def test_visible_gpus_are_those_that_the_environment_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-3f")
    assert device.visible_gpus() == ["1", "GPU-3f"]
    for nothing in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert device.visible_gpus() == []


@pytest.mark.parametrize(
    ("asked", "n_gpus", "expected"),
    [(None, 0, 1), (None, 1, 1), (None, 2, 2), (None, 3, 2), (None, 8, 4), (1, 4, 1), (2, 0, 2)],
)
def test_processes_are_as_asked_else_as_many_gpus_as_share_a_step(
    small_training: dict[str, Any], asked: int | None, n_gpus: int, expected: int
) -> None:
    training = Training(**{**small_training, "training_processes": asked})
    assert launch.count_processes(training, n_gpus) == expected


def test_more_processes_than_gpus_are_refused(small_training: dict[str, Any]) -> None:
    training = Training(**{**small_training, "training_processes": 4})
    with pytest.raises(CutoffError, match="there are 2 GPUs"):
        launch.count_processes(training, 2)


def test_four_bits_without_bitsandbytes_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(CutoffError, match=r"load_in_4bit needs the package bitsandbytes.*to false"):
        base.require_bitsandbytes(CPU)


def test_four_bit_base_weights_leave_norms_in_32_bits_and_the_rest_as_it_is(
    small_training: dict[str, Any],
) -> None:
    training = Training(**{**small_training, "load_in_4bit": True})
    half = Device(None, "CPU", "bfloat16", "")
    model = base.with_adapter(base.load(training, half), training, seed=0)
    formats = {name: str(weight.dtype) for name, weight in model.named_parameters()}
    for name, dtype in formats.items():
        trained = "lora_" in name
        assert model.get_parameter(name).requires_grad == trained
        if trained or name.endswith("norm.weight"):
            assert dtype == "torch.float32", name
        elif "embed_tokens" in name:
            assert dtype == "torch.bfloat16"
        elif name.endswith("base_layer.weight"):
            assert dtype == "torch.uint8", name
    state = model.get_parameter(
        "base_model.model.model.layers.0.mlp.up_proj.base_layer.weight"
    ).quant_state
    assert (state.quant_type, state.nested) == ("nf4", True)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", "load_in_4bit"),
        ("CUDA error: device-side assert triggered", "nvidia-smi"),
        ("The NVIDIA driver on your system is too old (found version 11040)", "nvidia-smi"),
        ("NCCL error in: ProcessGroupNCCL.cpp:1970", "nvidia-smi"),
    ],
)
def test_failures_of_a_gpu_name_their_remedy(text: str, remedy: str, tmp_path: Path) -> None:
    sentence = training_errors.explain(RuntimeError(text), tmp_path)
    assert sentence and remedy in sentence and "\n" not in sentence
