"""The reference of the gate: each model in transformers, the adapter beside the base, unmerged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from cutoff.chat_template import load_tokenizer
from cutoff.engines.hf_generation import Engine
from cutoff.export.parity import divergence
from cutoff.export.parity.transcript import Transcript
from cutoff.prompts import Message

BATCH = 8  # prompts answered at a time


def answer(
    base: Path, adapter: Path | None, chats: Sequence[list[Message]], max_new_tokens: int
) -> list[Transcript]:
    """Greedy answers to ``chats``, in their order, with the next tokens along each."""
    engine = load(base, adapter)
    asked = [
        engine.tokenizer.apply_chat_template(m, add_generation_prompt=True, return_dict=False)
        for m in chats
    ]
    order = sorted(range(len(asked)), key=lambda i: len(asked[i]))  # little padding
    answers: dict[int, Transcript] = {}
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        generated = generate(engine, [asked[i] for i in batch], max_new_tokens)
        for i, answer_ids in zip(batch, generated, strict=True):
            answers[i] = Transcript(
                messages=chats[i],
                prompt_ids=asked[i],
                answer_ids=answer_ids,
                text=engine.tokenizer.decode(answer_ids, skip_special_tokens=True),
                stopped=answer_ids[-1] in engine.end_ids,
                n_read=len(asked[i]),
                next_tokens=next_tokens(engine, asked[i], answer_ids),
            )
    return [answers[i] for i in range(len(asked))]


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


def load(base: Path, adapter: Path | None) -> Engine:
    """The model in ``number_format``; what its publisher recommends for sampling is left out."""
    spread = {"device_map": "auto"} if torch.cuda.is_available() else {}
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=number_format(base), **spread)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    return Engine(model.eval(), load_tokenizer(base), batch_tokens=0)


def generate(engine: Engine, asked: Sequence[list[int]], max_new_tokens: int) -> list[list[int]]:
    """Greedy answers to prompts of token ids, in one batch padded on the left."""
    width, pad = max(map(len, asked)), engine.model.generation_config.pad_token_id
    tokens = torch.tensor([[pad] * (width - len(ids)) + ids for ids in asked])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in asked])
    generated = engine.model.generate(
        input_ids=tokens.to(engine.model.device),
        attention_mask=mask.to(engine.model.device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
    )
    answers = []
    for ids in generated[:, width:].tolist():
        end = next((n for n, token in enumerate(ids, start=1) if token in engine.end_ids), len(ids))
        answers.append(ids[:end])  # padding follows the end of the shorter answers
    return answers


@torch.inference_mode()
def next_tokens(engine: Engine, prompt_ids: list[int], answer_ids: list[int]) -> dict[int, Any]:
    """Place in the answer -> log-probabilities of every token there, an array."""
    wanted = divergence.places(len(answer_ids))
    tokens = torch.tensor([prompt_ids + answer_ids], device=engine.model.device)
    rows = torch.tensor([len(prompt_ids) - 1 + place for place in wanted])
    logits = engine.model(input_ids=tokens, logits_to_keep=rows.to(engine.model.device)).logits[0]
    return dict(zip(wanted, logits.float().log_softmax(-1).cpu().numpy(), strict=True))
