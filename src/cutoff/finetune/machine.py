"""The device of a training process, and what it is too small for."""

import math
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cutoff.accelerators import LARGEST_ON_CPU, choose_dtype, hours_on_cpu
from cutoff.errors import CutoffError


@dataclass(frozen=True)
class Machine:
    """``index`` of the GPU that belongs to this process, None on a CPU; ``name`` of it."""

    index: int | None
    name: str
    dtype: str
    dtype_reason: str

    @property
    def place(self) -> str:
        """The device as PyTorch calls it."""
        return "cpu" if self.index is None else f"cuda:{self.index}"


def find() -> Machine:
    """The device of this process; several processes have one GPU each."""
    import torch

    if not torch.cuda.is_available():
        note = unused_gpu()
        reason = "the CPU's own format" + (f" ({note})" if note else "")
        return Machine(None, "CPU", "float32", reason)
    index = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(index)
    dtype, why = choose_dtype(torch.cuda.get_device_capability(index))
    return Machine(index, torch.cuda.get_device_name(index), dtype, why)


def visible_gpus() -> list[str]:
    """The GPUs that a training process would see, as CUDA_VISIBLE_DEVICES names them.

    Asks the driver, not PyTorch, which takes seconds to load.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(len(_listed_by_driver()))]


def unused_gpu() -> str | None:
    """Why PyTorch does not use the GPU that the driver lists; None when there is none."""
    import torch

    if not _listed_by_driver() or not visible_gpus():
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


def _listed_by_driver() -> list[str]:
    if not shutil.which("nvidia-smi"):
        return []
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line for line in answer.stdout.splitlines() if line.startswith("GPU ")]
