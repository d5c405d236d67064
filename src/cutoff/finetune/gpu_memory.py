"""What one pass takes of a GPU's memory, measured, and the plan that was made of it, kept.

``cutoff.micro_batch`` decides; the attempts that it asks for are forward and backward passes
of the longest examples, with the peak read from the allocator.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cutoff import files, micro_batch
from cutoff.device import Device
from cutoff.finetune import examples
from cutoff.finetune.settings import Training
from cutoff.micro_batch import Attempt, OutOfMemory, Plan


def choose_plan(
    training: Training,
    tokenized: Sequence[examples.Example],
    here: Device,
    work: Path,
    build: Callable[[Plan], Any],
) -> Plan:
    """How the examples go through the device: measured once, then kept for every resumption."""
    longest_first = sorted(tokenized, key=lambda e: len(e["input_ids"]), reverse=True)
    longest = len(longest_first[0]["input_ids"])
    wanted, checkpointing = training.micro_batch_size, training.gradient_checkpointing
    if here.index is None:
        return micro_batch.on_cpu(
            training.batch_size, here.processes, wanted, checkpointing, longest
        )
    file, conditions = work / "memory.json", conditions_of(training, here)
    plan = stored(file, conditions)
    if plan is None:
        possible = micro_batch.sizes(training.batch_size, here.processes, wanted)
        probe = build(Plan(1, False, ""))
        attempt = attempt_on_gpu(probe, longest_first)
        plan = micro_batch.choose(possible, checkpointing, longest, free_on_gpu(), attempt)
        plan = _most_careful(plan, here.processes)
        if probe.is_world_process_zero():
            store(file, conditions, plan)
    return plan


def conditions_of(training: Training, here: Device) -> dict[str, Any]:
    """What a measured plan depends on."""
    return {
        "device": here.name,
        "processes": here.processes,
        "micro_batch_size": training.micro_batch_size,
        "gradient_checkpointing": training.gradient_checkpointing,
    }


def _most_careful(plan: Plan, n_processes: int) -> Plan:
    """The plan of the process with the least memory: all must make the same steps."""
    if n_processes == 1:
        return plan
    from accelerate.utils import gather_object

    return min(gather_object([plan]), key=lambda p: (not p.checkpointing, p.micro_batch))


def stored(file: Path, conditions: dict[str, Any]) -> Plan | None:
    """The plan that was made under the same ``conditions``: a resumed training keeps it."""
    content = files.read_json(file) if file.exists() else {}
    return Plan(**content["plan"]) if content.get("conditions") == conditions else None


def store(file: Path, conditions: dict[str, Any], plan: Plan) -> None:
    """Keep a plan for ``stored``."""
    files.write_json_atomic(file, {"conditions": conditions, "plan": asdict(plan)})


def of_passes(n_examples: int, micro_batch: int, n_processes: int) -> int:
    """Examples that are missing for every process to have equally many full passes."""
    together = micro_batch * n_processes
    return math.ceil(n_examples / together) * together - n_examples


def attempt_on_gpu(trainer: Any, longest_first: Sequence[examples.Example]) -> Attempt:
    """``Attempt`` with the trainer's own loss; leaves weights and random numbers as they were."""
    import torch

    model = trainer.model
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    later = 8 * trained  # the optimiser's two moments in float32 come with the first step

    def attempt(micro: int, recompute: bool) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        model.train()
        if recompute:
            model.activation_checkpointing_enable()
            model.enable_input_require_grads()
        try:
            batch = trainer.data_collator([dict(example) for example in longest_first[:micro]])
            batch = trainer._prepare_inputs(batch)
            with torch.random.fork_rng(), trainer.compute_loss_context_manager():
                loss = trainer.compute_loss(model, batch)
            loss.backward()
            return int(torch.cuda.max_memory_allocated()) + later
        except torch.OutOfMemoryError:
            raise OutOfMemory from None
        finally:
            model.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()  # the training must not keep what an attempt reserved
            if recompute:
                model.activation_checkpointing_disable()

    return attempt


def free_on_gpu() -> int:
    """Bytes that this process can have on its GPU, those that it holds already included."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    return int(free) + int(torch.cuda.memory_reserved())
