"""The device that trains: which it is, what it can do, and what it is too small for.

``make plan`` expects with the numbers in here what a training then reports.
"""

import math
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cutoff.errors import CutoffError

# Parameters above which a training on a CPU is refused unless training_processes asks for it.
LARGEST_ON_CPU = 2e9
CPU_FLOPS_PER_CORE = (
    5e10  # float32; 117 GFLOP/s in products of large matrices on 2 cores of AMD Zen 3
)

# Dense 16-bit peak with 32-bit sums, in TFLOP/s, from NVIDIA's data sheets and architecture
# white papers (half of the figure where a sheet counts 2:4 sparsity). Names as the driver
# reports them; the first match counts.
PEAK_TFLOPS = {
    r"H200|H100.*HBM3|H800": 989.4,
    r"H100 NVL": 835.5,
    r"H100": 756.5,
    r"A100|A800": 311.9,
    r"L40S": 362.1,
    r"L40\b": 181.0,
    r"L4\b": 121.2,
    r"A10G": 70.0,
    r"A10\b": 125.0,
    r"A40\b": 149.7,
    r"RTX A6000": 154.8,
    r"RTX 4090": 165.2,
    r"RTX 3090": 71.0,
    r"V100S": 130.0,
    r"V100.*SXM": 125.0,
    r"V100": 112.0,
    r"\bT4\b": 65.1,
    r"P100.*SXM": 21.2,
    r"P100": 18.7,
}


def choose_dtype(capability: tuple[int, int] | None) -> tuple[str, str]:
    """Number format of the weights for a GPU's compute capability (None: CPU), and why."""
    if capability is None:
        return "float32", "the CPU's own format"
    version = f"compute capability {capability[0]}.{capability[1]}"
    if capability >= (8, 0):
        return "bfloat16", f"{version} computes it natively and it cannot overflow"
    return "float16", f"{version} has no native bfloat16"


def peak_flops(name: str) -> float | None:
    """Dense 16-bit operations per second of a GPU; None (unknown, not zero) for any other."""
    for pattern, tera in PEAK_TFLOPS.items():
        if re.search(pattern, name):
            return tera * 1e12
    return None


def hours_on_cpu(n_weights: int, n_tokens: int) -> float:
    """A rough time of one adapter: 4 operations per weight and token, all cores at work."""
    return 4 * n_weights * n_tokens / (CPU_FLOPS_PER_CORE * (os.cpu_count() or 1)) / 3600


def training_flops(
    config: Any, lengths: Sequence[int], n_trained: int, n_lora: int, epochs: int
) -> float:
    """Floating-point operations of a LoRA training that its mathematics needs.

    ``lengths``: tokens of the examples; ``n_trained``: those of them with a loss, where alone
    the head works; ``n_lora``: weights of the adapter. Per token 2 operations per weight
    forward and 2 for the gradient of the activations; frozen weights have no gradient of their
    own (Kaplan et al. 2020, section 2.1, without that third part), LoRA's have (6 in all).
    Attention: 12 x layers x width x length per token (Chowdhery et al. 2022, appendix B),
    halved because no token looks ahead. Recomputing activations is not counted, as there.
    """
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    attended = 2 * heads * width + 2 * config.num_key_value_heads * width  # q, o and k, v
    body = config.hidden_size * (attended + 3 * config.intermediate_size)
    tokens = sum(lengths)
    flops = 4.0 * config.num_hidden_layers * body * tokens
    flops += 4.0 * config.hidden_size * config.vocab_size * n_trained
    flops += 6.0 * n_lora * tokens
    squares = sum(length * length for length in lengths)
    flops += 6.0 * config.num_hidden_layers * heads * width * squares
    return flops * epochs


def utilisation(flops: float, seconds: float, name: str, n_processes: int) -> float | None:
    """Share of the GPUs' peak that useful operations took (MFU); None where no peak is known."""
    peak = peak_flops(name)
    return None if peak is None else flops / (seconds * peak * n_processes)


@dataclass(frozen=True)
class Device:
    """``index`` of the GPU that belongs to this process, None on a CPU; ``name`` of it;
    ``processes`` that train together, each on a device like this one."""

    index: int | None
    name: str
    dtype: str
    dtype_reason: str
    processes: int = 1

    @property
    def place(self) -> str:
        """The device as PyTorch calls it."""
        return "cpu" if self.index is None else f"cuda:{self.index}"


def find() -> Device:
    """The device of this process; several processes have one GPU each."""
    import torch

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if not torch.cuda.is_available():
        note = unused_gpu()
        reason = "the CPU's own format" + (f" ({note})" if note else "")
        return Device(None, "CPU", "float32", reason, processes)
    index = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(index)
    dtype, why = choose_dtype(torch.cuda.get_device_capability(index))
    return Device(index, torch.cuda.get_device_name(index), dtype, why, processes)


class Gpu(NamedTuple):
    """A GPU as its driver lists it: ``free`` in bytes, ``capability`` (0, 0) where an old driver
    does not know it."""

    name: str
    free: float
    capability: tuple[int, int]


def listed() -> list[Gpu]:
    """The GPUs of this machine by their driver; empty where there is none or it is silent."""
    command = ["nvidia-smi", "--query-gpu=name,memory.free,compute_cap"]
    try:
        answer = subprocess.run([*command, "--format=csv,noheader,nounits"], capture_output=True,
                                text=True, timeout=20, check=True)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    found = []
    for line in answer.stdout.splitlines():
        name, mebibytes, capability = (line.split(", ") + ["", ""])[:3]
        major, _, minor = capability.partition(".")
        known = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)
        found.append(Gpu(name, float(mebibytes) * 2**20 if mebibytes.isdigit() else 0.0, known))
    return found


def visible_gpus() -> list[str]:
    """The GPUs that a training process would see, as CUDA_VISIBLE_DEVICES names them.

    Asks the driver, not PyTorch, which takes seconds to load.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(len(listed()))]


def unused_gpu() -> str | None:
    """Why PyTorch does not use the GPU that the driver lists; None when there is none."""
    import torch

    if not listed() or not visible_gpus():
        return None
    if torch.version.cuda is None:
        return (
            f"the GPU is not used: PyTorch {torch.__version__} is built for CPUs only; install "
            "the CUDA build of the same version"
        )
    return (
        f"the GPU is not used: its driver cannot run PyTorch's CUDA {torch.version.cuda}; update "
        "the driver, or install a build of PyTorch for an older CUDA"
    )


def require_feasible(
    base: Path, n_tokens: int, n_processes: int | None, load_in_4bit: bool, gpu: bool
) -> None:
    """Refuse a large model on a CPU before it is loaded; ``n_processes``: as asked for.

    ``n_tokens``: tokens of the whole training. Whoever gives the number of processes has
    decided; the estimate then only stands in the report.
    """
    n_weights = base_parameters(base)
    if gpu or n_weights <= LARGEST_ON_CPU or n_processes is not None:
        return
    hours = hours_on_cpu(n_weights, n_tokens)
    # Four bits are unpacked to 32 when they are used, a layer at a time.
    gigabytes = n_weights * (1.0 if load_in_4bit else 4) / 1e9 + 4
    reason = unused_gpu()
    raise CutoffError(
        f"There is no GPU for a base model of {n_weights / 1e9:.1f} billion parameters"
        + (f" ({reason})" if reason else "")
        + f": on this CPU each adapter would take some {hours:,.0f} hours and {gigabytes:.0f} GB "
        "of memory. Use a machine with a GPU or a smaller size; training_processes=1 trains here "
        "all the same."
    )


def base_parameters(base: Path) -> int:
    """Parameters of the model in a folder, read from the heads of its weight files."""
    from safetensors import safe_open

    total = 0
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())
    return total
