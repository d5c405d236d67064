"""Hours of training and answering on a device, and the sessions that they take.

Both are ranges, because no run on a GPU has been measured here: what is known is the number
of operations (``accelerators.training_flops``, checked against PyTorch's counter) and the
device's data sheet; what is assumed is the share of it that is reached.
"""

import math
from typing import Any

from cutoff import accelerators
from cutoff.params import Params
from cutoff.plan.architecture import Architecture
from cutoff.plan.gpus import Gpu
from cutoff.plan.workload import Workload

# Share of the peak that training reaches. 4-bit training of a 7B Qwen on an A100 is published at
# about 2,300 tokens/s (Qwen's recipes, README of QwenLM/Qwen), 22 % by our count.
REACHED = (0.35, 0.10)
READING = (0.40, 0.05)  # share of the peak while a prompt is read
WRITING = (0.70, 0.20)  # share of the memory's bandwidth while an answer is written
CPU_REACHED = (1.0, 0.25)  # share of accelerators.CPU_FLOPS_PER_CORE; tiny reaches 0.4


def training_flops(model: Architecture, p: Params, work: Workload) -> float:
    """Operations of all adapters of a run, every example at its longest."""
    shape: Any = model
    trained = work.examples * p.max_new_tokens
    lora = model.n_lora(p.lora_rank)
    both = sum(
        accelerators.training_flops(shape, [tokens] * work.examples, trained, lora, p.epochs)
        for tokens in (work.rag_tokens, work.closed_tokens)
    )
    return both * p.training_seeds


def training_hours(flops: float, gpu: Gpu) -> tuple[float, float] | None:
    """(least, most) hours on one GPU; None where its peak is not known."""
    peak = gpu.peak
    if peak is None:
        return None
    return flops / (peak * REACHED[0]) / 3600, flops / (peak * REACHED[1]) / 3600


def cpu_hours(model: Architecture, p: Params, work: Workload) -> tuple[float, float]:
    """(least, most) hours of all adapters on this CPU."""
    tokens = work.training_tokens * p.epochs * p.training_seeds
    hours = accelerators.hours_on_cpu(model.n_parameters, tokens)
    return hours / CPU_REACHED[0], hours / CPU_REACHED[1]


def answering_hours(
    model: Architecture, p: Params, work: Workload, weights: float, gpu: Gpu
) -> tuple[float, float] | None:
    """(least, most) hours of answering one request at a time, every answer at its longest."""
    if gpu.peak is None or gpu.bandwidth is None:
        return None
    read = 2.0 * model.n_parameters * work.prompt_tokens / gpu.peak
    written = work.answers * p.max_new_tokens * weights / gpu.bandwidth
    ends = [read / a + written / b for a, b in zip(READING, WRITING, strict=True)]
    return ends[0] / 3600, ends[1] / 3600


def sessions(hours: float, deadline_minutes: float) -> int:
    """Sessions of ``deadline_minutes`` that ``hours`` of resumable work take."""
    return max(1, math.ceil(60 * hours / deadline_minutes))
