"""The GPUs that a plan is made for: four that can be rented, and those of this machine."""

import shutil
import subprocess
from dataclasses import dataclass

from cutoff import accelerators


@dataclass(frozen=True)
class Gpu:
    """``memory`` and ``bandwidth`` (bytes, bytes per second; None: unknown); ``name`` as the
    driver reports it."""

    name: str
    memory: float
    bandwidth: float | None

    @property
    def peak(self) -> float | None:
        """Dense 16-bit operations per second, None where no data sheet is known."""
        return accelerators.peak_flops(self.name)


# Memory as the driver shows it to programs, bandwidth from NVIDIA's data sheets.
RENTED = {
    "T4": Gpu("Tesla T4", 15.6e9, 320e9),
    "L4": Gpu("NVIDIA L4", 24.1e9, 300e9),
    "A100": Gpu("NVIDIA A100-SXM4-40GB", 42.4e9, 1555e9),
    "H100": Gpu("NVIDIA H100 80GB HBM3", 85.0e9, 3350e9),
}


def here() -> list[Gpu]:
    """The GPUs of this machine, by their driver; empty where there is none or it is silent."""
    command = ["nvidia-smi", "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    if not shutil.which(command[0]):
        return []
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return []
    found = []
    for line in answer.stdout.splitlines() if answer.returncode == 0 else []:
        name, _, mebibytes = line.rpartition(",")
        if mebibytes.strip().isdigit():
            found.append(Gpu(name.strip(), float(mebibytes) * 2**20, _bandwidth(name.strip())))
    return found


def _bandwidth(name: str) -> float | None:
    known = {gpu.name: gpu.bandwidth for gpu in RENTED.values()}
    return known.get(name)
