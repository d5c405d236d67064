"""How many examples go through a device at once, and whether activations are kept or recomputed.

Both are decided by trying, largest micro batch first: a training tries and measures
(``cutoff.finetune.gpu_memory``), ``make plan`` tries its estimate. What is decided changes the
speed and the rounding, never the training: a step is ``batch_size`` examples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cutoff.errors import CutoffError

SHARE = 0.9  # of the free memory that may be used: the allocator's gaps need some
MOST_TOKENS = 16384  # in one pass; a GPU is busy long before
ENOUGH_TOKENS = 1024  # in one pass; with fewer, recomputing activations costs less than idling
CPU_TOKENS = 2048  # in one pass; larger tensors leave the processor's cache and train no faster
GIB = 2**30


class OutOfMemory(Exception):
    """One attempt did not fit."""


@dataclass(frozen=True)
class Plan:
    """``micro_batch`` examples per pass and process; ``reason`` says in words why."""

    micro_batch: int
    checkpointing: bool
    reason: str


Attempt = Callable[[int, bool], int]  # (micro batch, checkpointing) -> bytes at the peak


def sizes(batch_size: int, n_processes: int, wanted: int | None) -> list[int]:
    """Micro batches that make up a step of ``batch_size`` exactly, largest first."""
    if batch_size % n_processes:
        raise CutoffError(
            f"batch_size = {batch_size} cannot be shared by {n_processes} processes; "
            f"choose a multiple of {n_processes}."
        )
    share = batch_size // n_processes
    if wanted is None:
        return [n for n in range(share, 0, -1) if share % n == 0]
    if share % wanted:
        raise CutoffError(
            f"micro_batch_size = {wanted} does not divide the {share} examples that each process "
            f"has of a step (batch_size / processes); choose a divisor of {share}."
        )
    return [wanted]


def on_cpu(
    batch_size: int, n_processes: int, wanted: int | None, checkpointing: str, longest: int
) -> Plan:
    """On a CPU: passes that stay small; ``longest`` is the longest example in tokens."""
    possible = sizes(batch_size, n_processes, wanted)
    fitting = [n for n in possible if n * longest <= CPU_TOKENS]
    micro = max(fitting, default=min(possible))
    why = "as asked" if wanted else f"at most {CPU_TOKENS:,} tokens in one pass on a CPU"
    return Plan(micro, checkpointing == "on", _words(micro, checkpointing == "on") + f": {why}")


def choose(
    possible: Sequence[int], checkpointing: str, longest: int, capacity: int, attempt: Attempt
) -> Plan:
    """The fastest way that fits into ``capacity`` bytes, found by trying.

    ``possible``: micro batches, largest first; ``checkpointing``: auto, on or off;
    ``attempt`` runs one pass and returns its peak in bytes or raises ``OutOfMemory``.
    Raises ``CutoffError`` when not even the smallest way fits.
    """
    modes = {"auto": (False, True), "off": (False,), "on": (True,)}[checkpointing]
    bounded = [n for n in possible if n * longest <= MOST_TOKENS] or [min(possible)]
    best: Plan | None = None
    for recompute in modes:
        tried = _largest(bounded, recompute, capacity, attempt)
        if tried is None:
            continue
        micro, peak = tried
        used = f"{peak / GIB:.1f} of {capacity / GIB:.1f} GiB at the longest example"
        plan = Plan(micro, recompute, f"{_words(micro, recompute)}: {used} ({longest:,} tokens)")
        if micro == bounded[0] or micro * longest >= ENOUGH_TOKENS:
            return plan
        if best is None or micro >= 4 * best.micro_batch:
            best = plan
    if best is None:
        raise CutoffError(too_small(longest, min(bounded), modes[-1]))
    return best


def _largest(
    possible: Sequence[int], recompute: bool, capacity: int, attempt: Attempt
) -> tuple[int, int] | None:
    for micro in possible:
        try:
            peak = attempt(micro, recompute)
        except OutOfMemory:
            continue
        if peak <= SHARE * capacity:
            return micro, peak
    return None


def smaller(plan: Plan, checkpointing: str, wanted: int | None) -> Plan | None:
    """The next way to try after a plan ran out of memory all the same; None: there is none."""
    why = "the training ran out of memory with more"
    if plan.micro_batch > 1 and wanted is None:
        divisors = [n for n in range(1, plan.micro_batch) if plan.micro_batch % n == 0]
        half = max(n for n in divisors if n <= plan.micro_batch // 2)
        return Plan(half, plan.checkpointing, f"{_words(half, plan.checkpointing)}: {why}")
    if not plan.checkpointing and checkpointing == "auto":
        return Plan(plan.micro_batch, True, f"{_words(plan.micro_batch, True)}: {why}")
    return None


def too_small(longest: int, micro: int, checkpointing: bool) -> str:
    """The sentence for a GPU that cannot hold even the smallest pass."""
    way = "with" if checkpointing else "without"
    remedy = "" if checkpointing else "Set gradient_checkpointing to auto. "
    return (
        f"The GPU's memory is not enough: an example of {longest:,} tokens does not fit at micro "
        f"batch {micro} {way} checkpointing. {remedy}Set load_in_4bit, choose a smaller top_k, "
        "passage_tokens or base model, or a GPU with more memory; other programs on it may be in "
        "the way too."
    )


def _words(micro: int, checkpointing: bool) -> str:
    return f"micro batch {micro} {'with' if checkpointing else 'without'} checkpointing"
