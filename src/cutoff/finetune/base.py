"""The base model as it is trained on: its tokenizer, its weights in 16, 32 or 4 bits, and the
fresh adapter on top of it."""

import sys
from pathlib import Path
from typing import Any

from cutoff import chat_template
from cutoff.device import Device
from cutoff.errors import CutoffError
from cutoff.finetune.settings import Training

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Tokens that tokenizers reserve for padding without naming one as theirs (Llama 3.1, others).
RESERVED_FOR_PADDING = ("<|finetune_right_pad_id|>", "<|endoftext|>", "<pad>", "[PAD]", "<unk>")


def skip_bitsandbytes() -> None:
    """PEFT loads bitsandbytes, which loads PyTorch's compiler: seconds that only 4-bit training
    has a use for."""
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]


def load_tokenizer(folder: Path | str) -> Any:
    """The tokenizer that all stages use, with a token for padding that ends no turn.

    Padding is masked everywhere, so any token that is not the end of a turn will do; one that
    the tokenizer reserves for it is taken where none is named, or the end of a turn is.
    """
    tokenizer = chat_template.load_tokenizer(folder)
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        known = tokenizer.get_vocab()
        free = (t for t in RESERVED_FOR_PADDING if t in known and t != tokenizer.eos_token)
        tokenizer.pad_token = next(free, None)
    return tokenizer


def load(training: Training, here: Device) -> Any:
    """The frozen base model on its device, in 4 bits where ``load_in_4bit`` asks for it."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = getattr(torch, here.dtype)
    quantisation = None
    if training.load_in_4bit:
        require_bitsandbytes(here)
        quantisation = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    direct = training.load_in_4bit or here.index is not None
    model = AutoModelForCausalLM.from_pretrained(
        training.base_folder,
        dtype=dtype,
        attn_implementation="sdpa",
        quantization_config=quantisation,
        device_map={"": here.place} if direct else None,
    )
    if training.load_in_4bit:
        # What PEFT's prepare_model_for_kbit_training does, but for the embeddings and the head:
        # they are frozen, and 32 bits would cost gigabytes of a 7B model for nothing.
        for name, weight in model.named_parameters():
            weight.requires_grad = False
            if name.endswith("norm.weight"):
                weight.data = weight.data.float()
    return model


def lora_settings(training: Training) -> dict[str, Any]:
    """What ``peft.LoraConfig`` is made of."""
    return {
        "r": training.lora_rank,
        "lora_alpha": training.lora_alpha,
        "lora_dropout": training.lora_dropout,
        "target_modules": PROJECTIONS,
        "task_type": "CAUSAL_LM",
    }


def with_adapter(model: Any, training: Training, seed: int) -> Any:
    """``model`` with fresh LoRA weights, which follow from ``seed``; the others are frozen."""
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    set_seed(seed)
    return get_peft_model(model, LoraConfig(**lora_settings(training)))


def require_bitsandbytes(here: Device) -> None:
    """Raise ``CutoffError`` unless 4-bit weights can be made and used on this device."""
    import torch

    try:
        from bitsandbytes import functional

        packed, state = functional.quantize_4bit(
            torch.ones(64, 64, device=here.place), quant_type="nf4", compress_statistics=True
        )
        functional.dequantize_4bit(packed, state)
    except Exception as error:  # what a broken build raises is not foreseeable
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CutoffError(
            f"load_in_4bit needs the package bitsandbytes, which does not work on "
            f"{here.name}: {reason[:200]}. Install the version in requirements.txt, or set "
            "load_in_4bit to false."
        ) from None
