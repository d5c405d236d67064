"""Training throughput at the true dimensions of real models, with random weights.

    python tests/bench/training.py --size 7b --adapter qlora lora --length 512 2048

A plain command on a machine with a GPU; needs no weights, no network and no data set. Each
case is a LoRA training of ``--steps`` optimiser steps through ``cutoff.finetune`` itself:
padded (examples as they come), grouped (by length, as 02 trains) and packed (several
examples in a row, kept apart by their position ids). Tokens are those of the examples,
padding not counted. Prints a table and, with ``--json FILE``, writes it.
"""

import argparse
import dataclasses
import gc
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2] / "src"
sys.path[:0] = [str(SOURCE)] if str(SOURCE) not in sys.path else []

import torch  # noqa: E402
from transformers import Qwen2Config, Qwen2ForCausalLM, TrainerCallback  # noqa: E402

from cutoff import device  # noqa: E402
from cutoff.finetune import adapter, base, examples, gpu_memory, trainer  # noqa: E402
from cutoff.finetune.settings import Training  # noqa: E402
from cutoff.micro_batch import GIB, Plan  # noqa: E402

SIZES = {  # hidden, intermediate, layers, heads, key-value heads, vocabulary, tied
    "small": (64, 128, 2, 4, 2, 2048, True),
    "0.5b": (896, 4864, 24, 14, 2, 151936, True),
    "7b": (3584, 18944, 28, 28, 4, 152064, False),
}
WAYS = ("padded", "grouped", "packed")
TRAINED_SHARE = 0.2  # of an example's tokens, at its end
PACKED_TOKENS = 8192  # of one pass: the mask that keeps examples apart grows with its square
PHANTOM = SOURCE / "cutoff" / "phantom" / "base_model"


def random_model(size: str, four_bit: bool, here: device.Device) -> Any:
    """A model of the true dimensions whose weights are noise, built layer by layer on its
    device, so that it never needs more memory than the finished one."""
    hidden, inner, layers, heads, kv_heads, vocabulary, tied = SIZES[size]
    config = Qwen2Config(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, dtype=here.dtype,
        num_attention_heads=heads, num_key_value_heads=kv_heads, vocab_size=vocabulary,
        tie_word_embeddings=tied, max_position_embeddings=32768, rope_theta=1e6, use_cache=False,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    dtype = getattr(torch, here.dtype)
    with torch.device("meta"):
        model = Qwen2ForCausalLM(config).to(dtype)
    for name, module in list(model.named_modules()):
        for key, weight in list(module.named_parameters(recurse=False)):
            noise = torch.empty(weight.shape, dtype=dtype, device=here.place)
            value = torch.ones_like(noise) if "norm" in name else noise.normal_(std=0.02)
            setattr(module, key, torch.nn.Parameter(value, requires_grad=False))
        if four_bit and isinstance(module, torch.nn.Linear) and ".layers." in name:
            model.set_submodule(name, _packed(module, dtype))
    rotary = model.model.rotary_emb
    model.model.rotary_emb = type(rotary)(config).to(here.place)
    model.tie_weights()
    model.is_loaded_in_4bit = four_bit
    return model


def _packed(linear: torch.nn.Linear, dtype: torch.dtype) -> Any:
    from bitsandbytes.nn import Linear4bit, Params4bit

    place = linear.weight.device
    packed = Linear4bit(
        linear.in_features, linear.out_features, bias=linear.bias is not None,
        compute_dtype=dtype, compress_statistics=True, quant_type="nf4", device="meta",
    )  # fmt: skip
    packed.weight = Params4bit(
        linear.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4"
    ).to(place)
    packed.bias = linear.bias
    return packed


def made_up(n: int, longest: int, vocabulary: int) -> list[examples.Example]:
    """Examples of random tokens, from a quarter of ``longest`` to all of it."""
    rng = random.Random(0)
    made: list[examples.Example] = []
    for _ in range(n):
        length = rng.randint(longest // 4, longest)
        ids = [rng.randrange(100, min(vocabulary, 400)) for _ in range(length)]
        silent = round((1 - TRAINED_SHARE) * length)
        made.append({"input_ids": ids, "labels": [examples.IGNORED] * silent + ids[silent:]})
    made[0] = {"input_ids": [100] * longest, "labels": [examples.IGNORED, *[100] * (longest - 1)]}
    return made


class Clock(TrainerCallback):
    """Times of the ends of the steps, once the device is done with them."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note one."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def measure(
    size: str,
    four_bit: bool,
    longest: int,
    way: str,
    steps: int,
    batch_size: int,
    more_sft: dict[str, Any] | None = None,
    dropout: float = 0.05,
) -> dict[str, Any]:
    """One row of the table; the first third of the steps is not timed.

    ``more_sft``: further settings of ``SFTConfig``, to see what they are worth."""
    from transformers import AutoTokenizer

    here = device.find()
    tokenized = made_up(steps * batch_size, longest, SIZES[size][5])
    training = Training(
        base_folder="", train_file="", adapters_folder="", progress_file="", lora_rank=16,
        lora_alpha=32, lora_dropout=dropout, learning_rate=1e-4, lr_scheduler="constant",
        warmup_ratio=0.0, epochs=1, batch_size=batch_size, training_seed=0, load_in_4bit=four_bit,
    )  # fmt: skip
    model = base.with_adapter(random_model(size, four_bit, here), training, 0)
    tokenizer = AutoTokenizer.from_pretrained(PHANTOM)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)

        def build(plan: Plan, rows: int = batch_size) -> Any:
            changed = dataclasses.replace(training, batch_size=rows)
            lengths = [len(example["input_ids"]) for example in tokenized]
            sft = trainer.sft_settings(changed, 0, lengths, here, plan)
            more = {"output_dir": folder, **(more_sft or {})}
            return trainer.build(model, tokenizer, tokenized, sft | more)

        if way == "packed":
            fit, per_step = _pack(build, tokenized, longest, batch_size)
        else:
            plan = gpu_memory.choose_plan(training, tokenized, here, work, build)
            fit = build(plan)
            lengths = [len(example["input_ids"]) for example in tokenized]
            order = list(range(len(lengths)))
            if way == "grouped":
                order = examples.training_order(lengths, 1, batch_size, 0)
            trainer.lay_out(fit, order, 1)
            per_step = [
                [tokenized[i] for i in order[first : first + batch_size]]
                for first in range(0, len(order), batch_size)
            ]
        return _timed(fit, per_step, here) | {
            "size": size, "adapter": "qlora" if four_bit else "lora", "length": longest, "way": way,
            "micro batch": fit.args.per_device_train_batch_size,
            "checkpointing": bool(fit.args.activation_checkpointing),
        }  # fmt: skip


def _pack(
    build: Any, tokenized: list[examples.Example], longest: int, batch_size: int
) -> tuple[Any, list[list[examples.Example]]]:
    """A trainer whose rows hold several examples, best fit first, told apart by position."""
    from datasets import Dataset
    from trl.data_utils import pack_dataset
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    packed = pack_dataset(Dataset.from_list([dict(e) for e in tokenized]), longest, "bfd")
    mean = sum(len(e["input_ids"]) for e in tokenized) / len(tokenized)
    rows = max(1, round(batch_size * mean / longest))
    micro = max(n for n in range(1, rows + 1) if rows % n == 0 and n * longest <= PACKED_TOKENS
                or n == 1)  # fmt: skip
    fit = build(Plan(micro, False, ""), rows)
    fit.train_dataset = packed
    fit.data_collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    held = [
        {"input_ids": row["input_ids"], "labels": row["labels"], "parts": row["seq_lengths"]}
        for row in packed
    ]
    return fit, [held[first : first + rows] for first in range(0, len(held), rows)]


def _timed(fit: Any, per_step: list[list[Any]], here: device.Device) -> dict[str, Any]:
    clock = Clock()
    fit.add_callback(clock)
    if here.index is not None:
        torch.cuda.reset_peak_memory_stats()
    fit.train()
    warm = len(clock.ends) // 3  # steps in which memory is allocated and kernels are chosen
    seconds = clock.ends[-1] - clock.ends[warm]
    timed = [row for step in per_step[warm + 1 : len(clock.ends)] for row in step]
    lengths = [n for row in timed for n in row.get("parts", [len(row["input_ids"])])]
    n_trained = sum(label != examples.IGNORED for row in timed for label in row["labels"])
    n_lora = sum(p.numel() for p in fit.model.parameters() if p.requires_grad)
    flops = device.training_flops(fit.model.config, lengths, n_trained, n_lora, 1)
    gpu = here.index is not None
    return {
        "device": here.name,
        "tokens_per_second": round(sum(lengths) / seconds),
        "mfu": device.utilisation(flops, seconds, here.name, 1),
        "peak_gib": round(torch.cuda.max_memory_reserved() / GIB, 2) if gpu else None,
    }


def main(arguments: list[str]) -> list[dict[str, Any]]:
    """Measure every combination that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs="+", choices=SIZES, default=["0.5b"])
    parser.add_argument("--adapter", nargs="+", choices=("qlora", "lora"), default=["qlora"])
    parser.add_argument("--length", nargs="+", type=int, default=[512, 2048])
    parser.add_argument("--way", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available() and given.size != ["small"]:
        parser.error("there is no GPU; only --size small runs on a CPU")
    adapter.prepare_libraries(load_in_4bit=True)
    rows = []
    for size in given.size:
        for kind in given.adapter:
            for length in given.length:
                for way in given.way:
                    rows.append(
                        measure(size, kind == "qlora", length, way, given.steps, given.batch_size)
                    )
                    print(json.dumps(rows[-1]), flush=True)
                    gc.collect()
                    torch.cuda.empty_cache()
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
