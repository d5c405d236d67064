"""TRL's trainer as it is set up here, and the checks of what it makes of the examples."""

import math
from collections.abc import Sequence
from typing import Any

from cutoff.device import Device
from cutoff.errors import CutoffError
from cutoff.finetune import examples, gpu_memory
from cutoff.finetune.settings import Training
from cutoff.micro_batch import Plan

LOGGED_POINTS = 100  # of a loss curve


def sft_settings(
    training: Training, seed: int, lengths: Sequence[int], here: Device, plan: Plan
) -> dict[str, Any]:
    """What ``trl.SFTConfig`` is made of, but for its folder; ``lengths``: tokens per example."""
    steps = math.ceil(len(lengths) * training.epochs / training.batch_size)
    constant = training.lr_scheduler == "constant"
    return {
        "num_train_epochs": 1,  # the order holds every epoch
        "train_sampling_strategy": "sequential",
        "per_device_train_batch_size": plan.micro_batch,
        "gradient_accumulation_steps": training.batch_size // (plan.micro_batch * here.processes),
        "max_length": max(lengths),
        "completion_only_loss": True,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if constant else training.lr_scheduler,
        "warmup_steps": round(training.warmup_ratio * steps),
        "seed": seed,
        "use_cpu": here.index is None,
        "bf16": here.dtype == "bfloat16",
        "fp16": here.dtype == "float16",  # with a scaler of the gradients
        "activation_checkpointing": plan.checkpointing,
        "ddp_find_unused_parameters": False,
        "dataloader_pin_memory": here.index is not None,
        "logging_steps": max(1, steps // LOGGED_POINTS),
        "logging_nan_inf_filter": False,  # a NaN must be seen
        "save_strategy": "no",  # the callback decides when, by the clock
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
    }


def build(
    model: Any, tokenizer: Any, tokenized: Sequence[examples.Example], arguments: dict[str, Any]
) -> Any:
    """A trainer of ``model``, which holds its adapter; ``arguments``: those of ``SFTConfig``."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(
        model,
        args=SFTConfig(**arguments),
        train_dataset=Dataset.from_list([dict(example) for example in tokenized]),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    for weight in model.parameters():  # TRL makes them bfloat16 on a 4-bit base
        if weight.requires_grad:
            weight.data = weight.data.float()
    return trainer


def lay_out_checked(
    trainer: Any, tokenized: Sequence[examples.Example], order: Sequence[int], end: int
) -> None:
    """``lay_out``, unless the trainer has changed an example; ``end`` ends every turn.

    Raises ``CutoffError`` where it has: nothing is cut in silence.
    """
    kept = [(row["input_ids"], row["labels"]) for row in trainer.train_dataset]
    if kept != [(example["input_ids"], example["labels"]) for example in tokenized]:
        raise CutoffError("The trainer has cut or dropped examples before the training.")
    lay_out(trainer, order, trainer.args.world_size)
    if trainer.is_world_process_zero():
        check_batch(trainer, tokenized, order, end)


def lay_out(trainer: Any, order: Sequence[int], n_processes: int) -> None:
    """Put the whole training in front of the trainer as one pass in a fixed order, so that a
    resumed training sees exactly what the killed one would have seen.

    Several processes take turns in it. What is missing at the end for all to have equally
    many passes is filled with an example without any label, which has no gradient; repeating
    an example, as accelerate would, trains it once more than the others.
    """
    from datasets import Dataset, concatenate_datasets

    micro = trainer.args.per_device_train_batch_size
    missing = gpu_memory.of_passes(len(order), micro, n_processes) if n_processes > 1 else 0
    rows = trainer.train_dataset
    if missing:
        shortest = min(rows, key=lambda row: len(row["input_ids"]))["input_ids"]
        blank = {"input_ids": shortest, "labels": [examples.IGNORED] * len(shortest)}
        rows = concatenate_datasets([rows, Dataset.from_list([blank], features=rows.features)])
    trainer.train_dataset = rows.select([*order, *[len(rows) - 1] * missing])


def check_batch(
    trainer: Any, tokenized: Sequence[examples.Example], order: Sequence[int], end: int
) -> None:
    """Raise ``CutoffError`` unless the first batch, as the model receives it, is what was meant."""
    n_rows = min(trainer.args.per_device_train_batch_size, len(order))
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(n_rows)])
    for row in range(n_rows):
        meant = tokenized[order[row]]
        size = len(meant["input_ids"])
        labels = batch["labels"][row].tolist()
        if (
            batch["input_ids"][row, :size].tolist() != meant["input_ids"]
            or labels[:size] != meant["labels"]
            or any(label != examples.IGNORED for label in labels[size:])
            or labels[size - 1] != end
        ):
            raise CutoffError("The trainer's batch differs from the prepared examples.")
