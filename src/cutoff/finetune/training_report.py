"""What ``training.json`` says of a finished training."""

import random
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cutoff import device, models
from cutoff.device import Device
from cutoff.finetune import examples, settings
from cutoff.finetune.examples import Examples
from cutoff.finetune.settings import Training
from cutoff.micro_batch import Plan

N_SAMPLES = 5  # training questions that the trained model answers for the report


@dataclass(frozen=True)
class Done:
    """A training at its end: its trainer, what went through it, where and how, and how long."""

    fit: Any
    data: Examples
    order: Sequence[int]
    here: Device
    plan: Plan
    seconds: float


def of(training: Training, name: str, done: Done) -> dict[str, Any]:
    """The report; what does not apply (a GPU's figures on a CPU) is None."""
    variant, seed = settings.adapters(training)[name]
    fit, data = done.fit, done.data
    first = done.order[0]
    log = fit.state.log_history
    return {
        "fingerprint": settings.fingerprint(training, name),
        "adapter": name,
        "variant": variant,
        "training_seed": seed,
        "base_sha256": models.base_sha256(Path(training.base_folder)),
        "settings": asdict(training),
        **_of_examples(done),
        **_of_effort(training, done),
        "losses": [_point(entry, len(data.records), training) for entry in log if "loss" in entry],
        "held_out": [
            {"step": entry["step"], **entry["held_out"]} for entry in log if "held_out" in entry
        ],
        "example": {
            "example_id": data.records[first]["example_id"],
            "segments": examples.segments(data.tokenized[first], data.tokenizer),
        },
        "samples": _samples(fit.model, data, seed),
    }


def _of_examples(done: Done) -> dict[str, Any]:
    data, lengths = done.data, done.data.lengths
    return {
        "n_examples": len(lengths),
        "n_facts": len({record["fact_id"] for record in data.records}),
        "longest_tokens": max(lengths),
        "mean_tokens": sum(lengths) / len(lengths),
        "trained_tokens_per_example": data.n_trained_tokens / len(lengths),
        "max_length": done.fit.args.max_length,
        "padding_share": examples.padding_share(lengths, done.order, done.plan.micro_batch),
        "steps": done.fit.state.global_step,
    }


def _of_effort(training: Training, done: Done) -> dict[str, Any]:
    """Time, memory and speed."""
    import torch

    here, lengths, seconds = done.here, done.data.lengths, done.seconds
    gpu = here.index is not None
    n_lora = sum(p.numel() for p in done.fit.model.parameters() if p.requires_grad)
    flops = device.training_flops(
        done.fit.model.config, lengths, done.data.n_trained_tokens, n_lora, training.epochs
    )
    return {
        "device": here.name,
        "processes": here.processes,
        "dtype": here.dtype,
        "dtype_reason": here.dtype_reason,
        "load_in_4bit": training.load_in_4bit,
        "micro_batch": done.plan.micro_batch,
        "checkpointing": done.plan.checkpointing,
        "memory_plan": done.plan.reason,
        "trainable_parameters": n_lora,
        "base_parameters": device.base_parameters(Path(training.base_folder)),
        "train_seconds": seconds,
        "tokens_per_second": sum(lengths) * training.epochs / seconds,
        "training_flops": flops,
        "mfu": device.utilisation(flops, seconds, here.name, here.processes),
        "gpu_hours": here.processes * seconds / 3600 if gpu else None,
        "peak_gpu_mb": int(torch.cuda.max_memory_reserved()) // 1_000_000 if gpu else None,
        "peak_rss_mb": peak_rss_mb(),
    }


def _point(entry: dict[str, Any], n_examples: int, training: Training) -> dict[str, Any]:
    """One point of the loss curve; ``epoch`` counts passes over the examples."""
    return {
        "step": entry["step"],
        "epoch": min(training.epochs, entry["step"] * training.batch_size / n_examples),
        "loss": float(entry["loss"]),
        "token_accuracy": float(entry["mean_token_accuracy"]),
        "learning_rate": float(entry["learning_rate"]),
    }


def _samples(model: Any, data: Examples, seed: int) -> list[dict[str, str]]:
    """What the trained model answers, greedily, to some of its own training prompts."""
    import torch

    records, tokenizer = data.records, data.tokenizer
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


def peak_rss_mb() -> int:
    """Largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1_000_000 if sys.platform == "darwin" else 1_000)  # bytes there, kB here
