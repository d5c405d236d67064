"""Trains one LoRA adapter with TRL and PEFT and puts the finished adapter in its place."""

import os
import shutil
from pathlib import Path
from typing import Any

from cutoff import deadline, device, files, micro_batch
from cutoff.device import Device
from cutoff.errors import CutoffError, DeadlineReached
from cutoff.finetune import base, examples, gpu_memory, settings, trainer, training_errors
from cutoff.finetune.settings import Training
from cutoff.micro_batch import Plan

# The heavy libraries are imported where they are used: a mistake in the settings is
# reported before they are loaded.


def train(training: Training, name: str) -> None:
    """Train one adapter to its end, from its newest checkpoint where there is one.

    Raises ``DeadlineReached`` with a checkpoint left behind, and ``training_errors.TryAgain``
    when the memory was not enough and a smaller plan is worth another start.
    """
    if settings.finished(training, name):
        return
    deadline.check(f"the training of {name} has not been started")
    prepare_libraries(training.load_in_4bit)
    from cutoff.finetune import held_out, training_report
    from cutoff.finetune.session import Session

    variant, seed = settings.adapters(training)[name]
    work = settings.work_folder(training, name)
    here = device.find()
    tokenizer = base.load_tokenizer(training.base_folder)
    end = examples.end_of_turn(tokenizer)
    data = examples.read(Path(training.train_file), variant, tokenizer)
    watched = held_out.affordable_examples(training, variant, data, tokenizer)
    device.require_feasible(
        Path(training.base_folder),
        sum(data.lengths) * training.epochs,
        training.training_processes,
        training.load_in_4bit,
        gpu=here.index is not None,
    )
    model = base.load(training, here)
    for those in (data, watched):
        those.require_fit(model.config.max_position_embeddings)
    model = base.with_adapter(model, training, seed)

    def build(plan: Plan) -> Any:
        sft = trainer.sft_settings(training, seed, data.lengths, here, plan)
        return trainer.build(model, tokenizer, data.tokenized, sft | {"output_dir": str(work)})

    plan = gpu_memory.choose_plan(training, data.tokenized, here, work, build)
    order = examples.training_order(data.lengths, training.epochs, training.batch_size, seed)
    fit = build(plan)
    trainer.lay_out_checked(fit, data.tokenized, order, end)
    loss = held_out.HeldOutLoss(watched, fit)
    session = Session(name, Path(training.progress_file), training.checkpoint_seconds)
    fit.add_callback(loss)
    fit.add_callback(session)
    _fit(fit, training, plan, here, work)
    if session.out_of_time:
        raise DeadlineReached(
            f"deadline_minutes reached: checkpoint of {name} saved at step "
            f"{fit.state.global_step:,} of {fit.state.max_steps:,}. Run again to continue."
        )
    if fit.is_world_process_zero():
        done = training_report.Done(fit, data, order, here, plan, session.seconds() - loss.seconds)
        report = training_report.of(training, name, done) | {
            "resumed_at_step": session.resumed_at_step,
            "held_out_seconds": loss.seconds,
            "n_held_out": len(watched.records),
            "sft_settings": trainer.sft_settings(training, seed, data.lengths, here, plan),
            "lora_settings": base.lora_settings(training),
        }
        _save(fit, report, Path(training.adapters_folder, name), work)


def prepare_libraries(load_in_4bit: bool) -> None:
    """Load them fast, and leave stderr to what matters."""
    import warnings

    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
    warnings.filterwarnings("ignore", category=FutureWarning)
    if not load_in_4bit:
        base.skip_bitsandbytes()
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()


def _fit(fit: Any, training: Training, plan: Plan, here: Device, work: Path) -> None:
    import torch

    if here.index is not None:
        torch.cuda.reset_peak_memory_stats()
    checkpoint = settings.newest_checkpoint(work)
    try:
        fit.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError:
        way = training.gradient_checkpointing
        less = micro_batch.smaller(plan, way, training.micro_batch_size)
        if less is None:
            longest = int(fit.args.max_length)
            text = micro_batch.too_small(longest, plan.micro_batch, plan.checkpointing)
            raise CutoffError(text) from None
        gpu_memory.store(work / "memory.json", gpu_memory.conditions_of(training, here), less)
        raise training_errors.TryAgain(less.reason) from None


def _save(fit: Any, report: dict[str, Any], target: Path, work: Path) -> None:
    """Put the adapter in its place: a complete folder replaces the old one, marker included."""
    new = work / "adapter"
    shutil.rmtree(new, ignore_errors=True)
    fit.model.save_pretrained(new)
    (new / "README.md").unlink(missing_ok=True)  # PEFT's empty form
    files.write_json_atomic(new / "training.json", report)
    if target.exists():
        (target / "training.json").unlink(missing_ok=True)
        shutil.rmtree(target)
    os.replace(new, target)
    for leftover in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(leftover)
