"""Trains one LoRA adapter with TRL and PEFT, checks what the trainer made of the examples,
and puts the finished adapter in its place."""

import math
import os
import random
import resource
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cutoff import run
from cutoff.errors import CutoffError
from cutoff.finetune import examples, settings
from cutoff.finetune.settings import Training

# The heavy libraries are imported where they are used: a mistake in the settings is
# reported before they are loaded.

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LOGGED_POINTS = 100  # of a loss curve
N_SAMPLES = 5  # training questions that the trained model answers for the report


def train_variant(training: Training, variant: str) -> None:
    """Train one adapter to its end, from its newest checkpoint where there is one."""
    if settings.finished(training, variant):
        return
    _prepare_libraries()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from cutoff.finetune.watch import Watch

    mark = settings.fingerprint(training, variant)
    adapters = Path(training.adapters_folder)
    work = adapters / f".{variant}.{mark}"
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    dtype, why = settings.choose_dtype(capability)
    tokenizer = AutoTokenizer.from_pretrained(training.base_folder)
    end = examples.end_of_turn(tokenizer)
    records = examples.read_records(Path(training.train_file), variant)
    tokenized = [examples.tokenize(record, tokenizer) for record in records]
    model = AutoModelForCausalLM.from_pretrained(
        training.base_folder, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )
    longest = examples.longest(records, tokenized, model.config.max_position_embeddings)
    lengths = [len(example["input_ids"]) for example in tokenized]
    order = examples.training_order(
        lengths, training.epochs, training.batch_size, training.training_seed
    )
    trainer = _trainer(training, model, tokenizer, tokenized, longest, len(order), dtype, work)
    n_truncated = _count_truncated(trainer, tokenized)
    if n_truncated:
        raise CutoffError(f"{n_truncated} examples of {variant} lost tokens before the training.")
    # The whole training is laid out here as one pass in a fixed order, so that a resumed
    # training sees exactly what the killed one would have seen.
    trainer.train_dataset = trainer.train_dataset.select(order)
    shown = _checked_batch(trainer, tokenized, order, end)
    checkpoint = settings.newest_checkpoint(work)
    watch = Watch(variant, Path(training.progress_file), training.checkpoint_seconds)
    trainer.add_callback(watch)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = watch.seconds()
    if not trainer.is_world_process_zero():
        return
    n_trained, n_weights = trainer.model.get_nb_trainable_parameters()
    report = {
        "fingerprint": mark,
        "variant": variant,
        "base_sha256": settings.base_sha256(Path(training.base_folder)),
        "settings": asdict(training),
        "dtype": dtype,
        "dtype_reason": why,
        "trainable_parameters": n_trained,
        "base_parameters": n_weights - n_trained,
        "n_examples": len(records),
        "n_facts": len({record["fact_id"] for record in records}),
        "longest_tokens": longest,
        "mean_tokens": sum(lengths) / len(lengths),
        "trained_tokens_per_example": sum(_n_trained(e) for e in tokenized) / len(tokenized),
        "max_length": trainer.args.max_length,
        "n_truncated": n_truncated,
        "padding_share": examples.padding_share(
            lengths, order, trainer.args.per_device_train_batch_size
        ),
        "micro_batch": trainer.args.per_device_train_batch_size,
        "steps": trainer.state.global_step,
        "resumed_at_step": watch.resumed_at_step,
        "train_seconds": seconds,
        "tokens_per_second": sum(lengths) * training.epochs / seconds,
        "peak_rss_mb": peak_rss_mb(),
        "losses": [_point(entry, len(records), training) for entry in _logged(trainer)],
        "example": {
            "example_id": records[order[0]]["example_id"],
            "segments": examples.segments(shown, tokenizer),
        },
        "samples": _samples(trainer.model, tokenizer, records, training.training_seed),
    }
    _save(trainer, report, adapters / variant, work)


def _prepare_libraries() -> None:
    """Load them fast, and leave stderr to what matters."""
    import warnings

    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
    warnings.filterwarnings("ignore", category=FutureWarning)
    # PEFT loads bitsandbytes, which loads PyTorch's compiler: seconds that only 4-bit
    # training has a use for.
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()


def _trainer(
    training: Training,
    model: Any,
    tokenizer: Any,
    tokenized: list[examples.Example],
    longest: int,
    n_total: int,
    dtype: str,
    work: Path,
) -> Any:
    """TRL's trainer with a LoRA adapter on ``model``; ``n_total`` examples over all epochs."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    per_pass = settings.micro_batch(training.batch_size, n_processes, longest)
    steps = math.ceil(n_total / training.batch_size)
    arguments = SFTConfig(
        output_dir=str(work),
        num_train_epochs=1,  # the order holds every epoch
        train_sampling_strategy="sequential",
        per_device_train_batch_size=per_pass,
        gradient_accumulation_steps=training.batch_size // (per_pass * n_processes),
        max_length=longest,
        completion_only_loss=True,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler
        if training.lr_scheduler != "constant"
        else "constant_with_warmup",
        warmup_steps=round(training.warmup_ratio * steps),
        seed=training.training_seed,
        use_cpu=dtype == "float32",
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
        activation_checkpointing=False,
        dataloader_pin_memory=dtype != "float32",
        logging_steps=max(1, steps // LOGGED_POINTS),
        logging_nan_inf_filter=False,  # a NaN must be seen
        save_strategy="no",  # the callback decides when, by the clock
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
    )
    adapter = LoraConfig(
        r=training.lora_rank,
        lora_alpha=training.lora_alpha,
        lora_dropout=training.lora_dropout,
        target_modules=PROJECTIONS,
        task_type="CAUSAL_LM",
    )
    trainer = SFTTrainer(
        model,
        args=arguments,
        train_dataset=Dataset.from_list([dict(example) for example in tokenized]),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _count_truncated(trainer: Any, tokenized: list[examples.Example]) -> int:
    """Examples that the trainer's own preparation has changed or dropped."""
    kept = [(row["input_ids"], row["labels"]) for row in trainer.train_dataset]
    if len(kept) != len(tokenized):
        return abs(len(tokenized) - len(kept))
    made = [(example["input_ids"], example["labels"]) for example in tokenized]
    return sum(a != b for a, b in zip(kept, made, strict=True))


def _checked_batch(
    trainer: Any, tokenized: list[examples.Example], order: list[int], end: int
) -> examples.Example:
    """First example of the first batch as the model receives it, compared with what was meant."""
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
    return tokenized[order[0]]


def _n_trained(example: examples.Example) -> int:
    return sum(label != examples.IGNORED for label in example["labels"])


def _logged(trainer: Any) -> list[dict[str, Any]]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def _point(entry: dict[str, Any], n_examples: int, training: Training) -> dict[str, Any]:
    """One point of the loss curve; ``epoch`` counts passes over the examples."""
    return {
        "step": entry["step"],
        "epoch": min(training.epochs, entry["step"] * training.batch_size / n_examples),
        "loss": float(entry["loss"]),
        "token_accuracy": float(entry["mean_token_accuracy"]),
        "learning_rate": float(entry["learning_rate"]),
    }


def _samples(
    model: Any, tokenizer: Any, records: list[dict[str, Any]], seed: int
) -> list[dict[str, str]]:
    """What the trained model answers, greedily, to some of its own training prompts."""
    import torch

    model.eval()
    samples = []
    chosen = random.Random(f"{seed} samples").sample(records, min(N_SAMPLES, len(records)))
    for record in chosen:
        prompt = tokenizer.apply_chat_template(
            record["messages"],
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        ).to(model.device)
        with torch.inference_mode():
            ids = model.generate(**prompt, max_new_tokens=48, do_sample=False)
        answer = tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
        question = record["messages"][-1]["content"].rpartition("Question: ")[2]
        samples.append(
            {"question": question, "reference": record["completion"], "answer": answer.strip()}
        )
    return samples


def _save(trainer: Any, report: dict[str, Any], target: Path, work: Path) -> None:
    """Put the adapter in its place: a complete folder replaces the old one, marker included."""
    new = work / "adapter"
    shutil.rmtree(new, ignore_errors=True)
    trainer.model.save_pretrained(new)
    (new / "README.md").unlink(missing_ok=True)  # PEFT's empty form
    run.write_json_atomic(new / "training.json", report)
    if target.exists():
        (target / "training.json").unlink(missing_ok=True)
        shutil.rmtree(target)
    os.replace(new, target)
    for leftover in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(leftover)


def peak_rss_mb() -> int:
    """Largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1_000_000 if sys.platform == "darwin" else 1_000)  # bytes there, kB here
