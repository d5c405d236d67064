"""Trains one LoRA adapter with TRL and PEFT and puts the finished adapter in its place."""

import os
import random
import resource
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from cutoff import accelerators, deadline, files, micro_batch, models
from cutoff.errors import CutoffError, DeadlineReached
from cutoff.finetune import base, examples, failures, machine, memory, settings, trainer
from cutoff.finetune.machine import Machine
from cutoff.finetune.settings import Training
from cutoff.micro_batch import Plan

# The heavy libraries are imported where they are used: a mistake in the settings is
# reported before they are loaded.

N_SAMPLES = 5  # training questions that the trained model answers for the report


def train(training: Training, name: str) -> None:
    """Train one adapter to its end, from its newest checkpoint where there is one.

    Raises ``DeadlineReached`` with a checkpoint left behind, and ``failures.TryAgain`` when
    the memory was not enough and a smaller plan is worth another start.
    """
    if settings.finished(training, name):
        return
    deadline.check(f"the training of {name} has not been started")
    prepare_libraries(training.load_in_4bit)
    from cutoff.finetune.held_out import HeldOutLoss
    from cutoff.finetune.watch import Watch

    variant, seed = settings.adapters(training)[name]
    work = settings.work_folder(training, name)
    here = machine.find()
    tokenizer = base.load_tokenizer(training.base_folder)
    end = examples.end_of_turn(tokenizer)
    records = examples.read_records(Path(training.train_file), variant)
    tokenized = [examples.tokenize(record, tokenizer) for record in records]
    lengths = [len(example["input_ids"]) for example in tokenized]
    machine.require_feasible(
        Path(training.base_folder),
        sum(lengths) * training.epochs,
        training.training_processes,
        training.load_in_4bit,
        gpu=here.index is not None,
    )
    order = examples.training_order(lengths, training.epochs, training.batch_size, seed)
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    model = base.load(training, here)
    context_length = model.config.max_position_embeddings
    examples.longest(records, tokenized, context_length)
    watched = _held_out(training, variant, len(records))
    watched_examples = [examples.tokenize(record, tokenizer) for record in watched]
    if watched:
        examples.longest(watched, watched_examples, context_length)
    model = base.with_adapter(model, training, seed)
    build = partial(
        trainer.build, training, seed, model, tokenizer, tokenized, here, n_processes, work
    )
    plan = choose_plan(training, tokenized, here, n_processes, work, build)
    fit = build(plan)
    n_truncated = trainer.count_truncated(fit, tokenized)
    if n_truncated:
        raise CutoffError(f"{n_truncated} examples of {name} lost tokens before the training.")
    trainer.lay_out(fit, order, n_processes)
    if fit.is_world_process_zero():
        trainer.check_batch(fit, tokenized, order, end)
    loss = HeldOutLoss(watched, watched_examples)
    loss.trainer = fit
    watch = Watch(name, Path(training.progress_file), training.checkpoint_seconds)
    fit.add_callback(loss)
    fit.add_callback(watch)
    _fit(fit, training, plan, here, work)
    seconds = watch.seconds() - loss.seconds
    if watch.out_of_time:
        raise DeadlineReached(
            f"deadline_minutes reached: checkpoint of {name} saved at step "
            f"{fit.state.global_step:,} of {fit.state.max_steps:,}. Run again to continue."
        )
    if not fit.is_world_process_zero():
        return
    report = {
        "fingerprint": settings.fingerprint(training, name),
        "adapter": name,
        "variant": variant,
        "training_seed": seed,
        "base_sha256": models.base_sha256(Path(training.base_folder)),
        "settings": asdict(training),
        **_of_examples(records, tokenized, order, plan, fit),
        **_of_effort(fit, tokenized, training, here, n_processes, seconds),
        "n_truncated": n_truncated,
        "memory_plan": plan.reason,
        "checkpointing": plan.checkpointing,
        "resumed_at_step": watch.resumed_at_step,
        "held_out_seconds": loss.seconds,
        "n_held_out": len(watched),
        "losses": [_point(entry, len(records), training) for entry in _logged(fit, "loss")],
        "held_out": [
            {"step": entry["step"], **entry["held_out"]} for entry in _logged(fit, "held_out")
        ],
        "example": {
            "example_id": records[order[0]]["example_id"],
            "segments": examples.segments(tokenized[order[0]], tokenizer),
        },
        "samples": _samples(fit.model, tokenizer, records, seed),
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


def _held_out(training: Training, variant: str, n_examples: int) -> list[dict[str, Any]]:
    from cutoff.finetune import held_out

    if not training.eval_file or not training.loss_eval_questions:
        return []
    asked = held_out.affordable(training.loss_eval_questions, n_examples, training.epochs)
    return held_out.records(Path(training.eval_file), variant, asked)


def choose_plan(
    training: Training,
    tokenized: Sequence[examples.Example],
    here: Machine,
    n_processes: int,
    work: Path,
    build: Callable[[Plan], Any],
) -> Plan:
    """How the examples go through the device: measured once, then kept for every resumption."""
    longest_first = sorted(tokenized, key=lambda e: len(e["input_ids"]), reverse=True)
    longest = len(longest_first[0]["input_ids"])
    wanted, checkpointing = training.micro_batch_size, training.gradient_checkpointing
    if here.index is None:
        return micro_batch.on_cpu(training.batch_size, n_processes, wanted, checkpointing, longest)
    file, conditions = work / "memory.json", _conditions(training, here, n_processes)
    plan = memory.stored(file, conditions)
    if plan is None:
        possible = micro_batch.sizes(training.batch_size, n_processes, wanted)
        probe = build(Plan(1, False, ""))
        attempt = memory.attempt_on_gpu(probe, longest_first)
        plan = micro_batch.choose(possible, checkpointing, longest, memory.free_on_gpu(), attempt)
        plan = _most_careful(plan, n_processes)
        if probe.is_world_process_zero():
            memory.store(file, conditions, plan)
    return plan


def _conditions(training: Training, here: Machine, n_processes: int) -> dict[str, Any]:
    return {
        "device": here.name,
        "processes": n_processes,
        "micro_batch_size": training.micro_batch_size,
        "gradient_checkpointing": training.gradient_checkpointing,
    }


def _most_careful(plan: Plan, n_processes: int) -> Plan:
    """The plan of the process with the least memory: all must make the same steps."""
    if n_processes == 1:
        return plan
    from accelerate.utils import gather_object

    return min(gather_object([plan]), key=lambda p: (not p.checkpointing, p.micro_batch))


def _fit(fit: Any, training: Training, plan: Plan, here: Machine, work: Path) -> None:
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
        memory.store(
            work / "memory.json", _conditions(training, here, int(fit.args.world_size)), less
        )
        raise failures.TryAgain(less.reason) from None


def _of_examples(
    records: Sequence[dict[str, Any]],
    tokenized: Sequence[examples.Example],
    order: Sequence[int],
    plan: Plan,
    fit: Any,
) -> dict[str, Any]:
    """What the report says of the examples."""
    lengths = [len(example["input_ids"]) for example in tokenized]
    return {
        "n_examples": len(records),
        "n_facts": len({record["fact_id"] for record in records}),
        "longest_tokens": max(lengths),
        "mean_tokens": sum(lengths) / len(lengths),
        "trained_tokens_per_example": sum(map(_n_trained, tokenized)) / len(tokenized),
        "max_length": fit.args.max_length,
        "padding_share": examples.padding_share(lengths, order, plan.micro_batch),
        "micro_batch": plan.micro_batch,
        "steps": fit.state.global_step,
    }


def _of_effort(
    fit: Any,
    tokenized: Sequence[examples.Example],
    training: Training,
    here: Machine,
    n_processes: int,
    seconds: float,
) -> dict[str, Any]:
    """What the report says of time, memory and speed; what does not apply is None."""
    import torch

    gpu = here.index is not None
    lengths = [len(example["input_ids"]) for example in tokenized]
    n_lora = sum(p.numel() for p in fit.model.parameters() if p.requires_grad)
    flops = accelerators.training_flops(
        fit.model.config, lengths, sum(map(_n_trained, tokenized)), n_lora, training.epochs
    )
    return {
        "device": here.name,
        "processes": n_processes,
        "dtype": here.dtype,
        "dtype_reason": here.dtype_reason,
        "load_in_4bit": training.load_in_4bit,
        "trainable_parameters": n_lora,
        "base_parameters": machine.base_parameters(Path(training.base_folder)),
        "train_seconds": seconds,
        "tokens_per_second": sum(lengths) * training.epochs / seconds,
        "training_flops": flops,
        "mfu": accelerators.utilisation(flops, seconds, here.name, n_processes),
        "gpu_hours": n_processes * seconds / 3600 if gpu else None,
        "peak_gpu_mb": int(torch.cuda.max_memory_reserved()) // 1_000_000 if gpu else None,
        "peak_rss_mb": peak_rss_mb(),
    }


def _n_trained(example: examples.Example) -> int:
    return sum(label != examples.IGNORED for label in example["labels"])


def _logged(fit: Any, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in fit.state.log_history if kind in entry]


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


def peak_rss_mb() -> int:
    """Largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1_000_000 if sys.platform == "darwin" else 1_000)  # bytes there, kB here
