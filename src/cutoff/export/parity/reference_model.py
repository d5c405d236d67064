"""The reference of the gate: each model in transformers, the adapter beside the base, unmerged."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from cutoff.chat_template import load_tokenizer
from cutoff.engines.hf_generation import CPU_BATCH_TOKENS, Engine
from cutoff.export.parity import divergence
from cutoff.export.parity.transcript import Transcript, answered, unanswered
from cutoff.params import Params
from cutoff.prompts import Message


def answer(
    base: Path, adapter: Path | None, chats: Sequence[list[Message]], p: Params
) -> list[Transcript]:
    """Greedy answers to ``chats``, in their order, with the next tokens along each."""
    engine = load(base, adapter)
    given = answered(engine, engine.tokenizer, unanswered(engine.tokenizer, chats), p)
    return [replace(each, next_tokens=next_tokens(engine.model, each)) for each in given]


def load(base: Path, adapter: Path | None) -> Engine:
    """The model in ``number_format``, with texts that are not tidied up after decoding."""
    spread = {"device_map": "auto"} if torch.cuda.is_available() else {}
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=number_format(base), **spread)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    tokenizer = load_tokenizer(base)
    tokenizer.clean_up_tokenization_spaces = False  # true with Llama 3; no server does it
    return Engine(model.eval(), tokenizer, CPU_BATCH_TOKENS)


def number_format(base: Path) -> str:
    """float32 on a CPU and where it fits the GPUs' free memory.

    Sums in 16 bits are rounded more coarsely than what the gate looks for, so they are
    the second choice: bfloat16 where the GPU computes it, else float16.
    """
    if not torch.cuda.is_available():
        return "float32"
    stored = sum(path.stat().st_size for path in base.glob("*.safetensors"))  # 16 bits each
    free = sum(torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count()))
    if 2 * stored * 1.2 < free:  # a fifth for activations and the cache
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


@torch.inference_mode()
def next_tokens(model: Any, given: Transcript) -> dict[int, Any]:
    """Place in the answer -> log-probabilities of every token there, an array."""
    wanted = divergence.places(len(given.answer_ids))
    tokens = torch.tensor([given.prompt_ids + given.answer_ids], device=model.device)
    rows = torch.tensor([len(given.prompt_ids) - 1 + place for place in wanted])
    logits = model(input_ids=tokens, logits_to_keep=rows.to(model.device)).logits[0]
    return dict(zip(wanted, logits.float().log_softmax(-1).cpu().numpy(), strict=True))
