"""The plan before a run: needs from shapes alone, held against what was measured."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cutoff import models, params
from cutoff.errors import CutoffError
from cutoff.evaluate.judging import golden
from cutoff.finetune import base
from cutoff.finetune.settings import Training
from cutoff.plan import architecture, checklist, forecast, memory
from cutoff.plan.architecture import Architecture

REAL_SIZES = ("0.5b", "1.5b", "3b", "7b", "14b", "llama-8b")


@pytest.fixture(autouse=True)
def nothing_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, no server, no cache and no GPU, whatever machine this is."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(forecast, "gpus", dict)


def shape(size: str) -> Architecture:
    return architecture.find(params.load(size))


@pytest.mark.parametrize(
    ("size", "n"),
    [
        ("tiny", 2_900_224),
        ("smollm2", 134_515_008),
        ("0.5b", 494_032_768),
        ("1.5b", 1_543_714_304),
        ("3b", 3_085_938_688),
        ("7b", 7_615_616_512),
        ("14b", 14_770_033_664),
        ("llama-8b", 8_030_261_248),
    ],
)
def test_parameters_follow_from_the_shape(size: str, n: int) -> None:
    assert shape(size).n_parameters == n


@pytest.mark.parametrize(
    ("size", "kind", "megabytes"),
    [
        # Measured with random weights of 0.5B's dimensions; the others as published.
        ("0.5b", "F16", 991.6),
        ("0.5b", "Q4_K_M", 395.3),
        ("1.5b", "Q4_K_M", 986),
        ("3b", "Q4_K_M", 1930),
        ("7b", "Q4_K_M", 4683),
        ("14b", "Q4_K_M", 8988),
        ("llama-8b", "Q4_K_M", 4921),
        ("tiny", "F16", 5.844),
        ("tiny", "Q4_K_M", 1.855),
    ],
)
def test_file_sizes_are_right_within_two_percent(size: str, kind: str, megabytes: float) -> None:
    tolerance = 0.04 if size == "tiny" else 0.02  # half of four layers is not what it is of many
    assert memory.file_size(shape(size), kind) / 1e6 == pytest.approx(megabytes, rel=tolerance)


def test_the_adapter_of_tiny_has_the_weights_that_training_counted() -> None:
    assert shape("tiny").n_lora(16) == 278_528


@pytest.mark.parametrize(
    ("size", "tokens", "micro", "measured"),
    [("0.5b", 179, 4, 6908e6), ("tiny", 40, 16, 713e6), ("tiny", 179, 8, 924e6)],
)
def test_the_training_peak_is_within_a_fifth_of_what_was_measured(
    size: str, tokens: int, micro: int, measured: float
) -> None:
    """0.5B's true dimensions with the notebook's kernel beside; tiny without."""
    p = params.load("tiny", {"lora_dropout": 0.0, "lora_rank": 16})
    found = memory.training(shape(size), p, tokens, micro, checkpointing=False, gpu=False)
    total = found + (memory.KERNEL if size == "0.5b" else 0)
    assert total == pytest.approx(measured, rel=0.2)


def test_the_export_peak_is_within_15_percent_of_what_was_measured() -> None:
    assert memory.export_memory(shape("0.5b"), gpu=False) == pytest.approx(3534e6, rel=0.15)
    assert memory.export_memory(shape("tiny"), gpu=False) == pytest.approx(868e6, rel=0.15)


def test_the_answering_peak_is_an_upper_bound_within_a_third() -> None:
    """Two engines on two cores; their compute buffers are reserved and only partly touched."""
    weights = memory.serving(shape("0.5b"), "Q4_K_M", 2048, 2, copies=2)
    total = memory.LIBRARIES["evaluation"] + weights
    assert 1505e6 <= total <= 1505e6 * 4 / 3


def kept(model: Architecture, rank: int, half: bool, tokens: int = 64, rows: int = 4) -> float:
    """Bytes per token that autograd keeps for a model of this shape, without its weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        hidden_size=model.hidden_size, intermediate_size=model.intermediate_size,
        num_hidden_layers=model.num_hidden_layers, num_attention_heads=model.num_attention_heads,
        num_key_value_heads=model.num_key_value_heads, vocab_size=model.vocab_size,
        tie_word_embeddings=True, use_cache=False,
    )  # fmt: skip
    plain = Qwen2ForCausalLM._from_config(config, attn_implementation="sdpa")
    training = Training(
        base_folder="", train_file="", adapters_folder="", progress_file="", lora_rank=rank,
        lora_alpha=32, lora_dropout=0.0, learning_rate=1e-4, lr_scheduler="constant",
        warmup_ratio=0.0, epochs=1, batch_size=rows, training_seed=0,
    )  # fmt: skip
    wrapped = base.with_adapter(plain.to(torch.bfloat16 if half else torch.float32), training, 0)
    for weight in wrapped.parameters():
        weight.data = weight.data.float() if weight.requires_grad else weight.data
    wrapped.train()
    own = {w.untyped_storage().data_ptr() for w in wrapped.parameters()}
    seen: dict[int, Any] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.zeros(rows, tokens, dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=half),
    ):
        hidden = wrapped.base_model.model.model(input_ids=ids)
    assert hidden.last_hidden_state.requires_grad
    return sum(t.untyped_storage().nbytes() for t in seen.values()) / (rows * tokens)


@pytest.mark.parametrize("half", [False, True])
def test_what_the_backward_pass_keeps_is_what_autograd_lists(
    half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a shape that the numbers were not taken from."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # PEFT would load it for seconds
    few = Architecture(192, 640, 2, 6, 2, 512, True, True)
    many = Architecture(192, 640, 4, 6, 2, 512, True, True)
    counted = (kept(many, 8, half) - kept(few, 8, half)) / 2
    width = memory.HALF if half else memory.FULL
    assert memory.kept_per_token(few, 8, 0.0, width) == pytest.approx(counted, rel=0.05)


@pytest.mark.parametrize("size", ["tiny", *REAL_SIZES])
def test_every_size_has_a_plan_with_formulas(size: str) -> None:
    p = params.load(size, {"deadline_minutes": 240.0})
    rows = forecast.rows(p)
    assert all(row.value for row in rows) and {row.state for row in rows} <= {
        "green", "amber", "red", "",
    }  # fmt: skip
    text = forecast.report(p)
    assert p.base_model in text and "Checklist" in text and "of 240 min" in text
    assert "nan" not in text and "None" not in text


def test_the_plan_counts_what_the_run_will_ask() -> None:
    p = params.load("tiny", {"training_seeds": 3})
    work = forecast.workload(p)
    assert work.answers == 340 * (6 + 2 * 4)
    assert work.judgements == work.answers + len(golden.GOLDEN)


def test_a_larger_model_needs_more_of_everything() -> None:
    needs = []
    for size in ("0.5b", "1.5b", "3b", "7b", "14b"):
        model, p = shape(size), params.load(size, {"load_in_4bit": True})
        one = memory.training(model, p, 1000, 1, checkpointing=True, gpu=True)
        needs.append((one, memory.export_memory(model, False),
                      memory.serving(model, "Q4_K_M", 4096, 8)))  # fmt: skip
    assert all(
        a < b for x, y in zip(needs, needs[1:], strict=False) for a, b in zip(x, y, strict=True)
    )


def test_checkpointing_and_four_bits_save_memory() -> None:
    def total(four_bit: bool, checkpointing: bool) -> float:
        p = params.load("7b", {"load_in_4bit": four_bit})
        return memory.training(shape("7b"), p, 1152, 4, checkpointing, gpu=True)

    assert total(True, True) < total(True, False) < total(False, False)
    assert total(False, True) - total(True, True) == pytest.approx(9.7e9, rel=0.02)


def test_a_model_of_the_hub_whose_shape_is_not_known_is_an_error_with_a_remedy() -> None:
    p = params.load("7b", {"base_model": "someone/unheard-of-9B"})
    with pytest.raises(CutoffError, match="hf download someone/unheard-of-9B"):
        forecast.report(p)


def test_a_folder_is_read_from_its_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((models.PHANTOMS["phantom"] / "config.json").read_text())
    found = architecture.find(params.load("tiny", {"base_model": str(tmp_path)}))
    assert found.n_parameters == shape("tiny").n_parameters
    config = json.loads((tmp_path / "config.json").read_text())
    del config["hidden_size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CutoffError, match="hidden_size"):
        architecture.find(params.load("tiny", {"base_model": str(tmp_path)}))


def test_a_base_model_that_cannot_be_exported_is_told_before_the_training(tmp_path: Path) -> None:
    config = json.loads((models.PHANTOMS["phantom"] / "config.json").read_text())
    config["use_sliding_window"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    p = params.load("tiny", {"base_model": str(tmp_path)})
    found = checklist.items(p)[0]
    assert found.state == "missing" and "sliding windows" in found.detail


def test_the_mark_says_whether_a_need_fits() -> None:
    assert [forecast.held_against(n, 100) for n in (80, 81, 100, 101)] == [
        "green", "amber", "amber", "red",
    ]  # fmt: skip


def training_row(size: str, **changed: object) -> forecast.Row:
    rows = forecast.rows(params.load(size, changed))
    return next(row for row in rows if row.name == "02 training")


def test_a_gpu_of_this_machine_is_planned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert training_row("7b").state == "red" and "16 GB" in training_row("7b").value
    monkeypatch.setattr(forecast, "gpus", lambda: {"Tesla T4": 15.6e9})
    assert training_row("7b").state == "green"
    too_large = training_row("14b", load_in_4bit=False)
    assert too_large.state == "red" and "does not fit" in too_large.value
    hours = [row for row in forecast.rows(params.load("7b")) if row.section == "Hours"]
    assert hours[0].amount and 0.5 < hours[0].amount < 5


def test_more_questions_find_smaller_differences() -> None:
    few, many = (
        next(r for r in forecast.rows(p) if r.name == "Trained facts").amount
        for p in (params.load("7b", {"n_eval_seen": n}) for n in (60, 600))
    )
    assert few and many and few > many


def test_the_checklist_names_what_is_missing_and_never_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    p = params.load("llama-8b", {"judge_model": "gpt-4o"})
    state = {item.name: item for item in checklist.items(p)}
    assert state["base model"].state == "missing" and "HF_TOKEN" in state["base model"].detail
    assert state["generator: server"].state == "missing"
    assert state["judge: key"].state == "missing" and "OPENAI_API_KEY" in state["judge: key"].detail
    assert state["judge: credits"].state == "unknown"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    text = forecast.report(p)
    assert "ready    judge: key" in text and "sk-secret" not in text


def test_an_address_with_a_password_is_not_repeated() -> None:
    url = "http://me:hush@127.0.0.1:9/v1"
    p = params.load("0.5b", {"judge_model": "gpt-4o", "judge_base_url": url})
    found = [item for item in checklist.items(p) if item.name == "judge: server"]
    assert found[0].state == "missing" and "hush" not in forecast.report(p)
