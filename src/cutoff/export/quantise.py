"""16-bit GGUF -> quantised GGUF, with the quantiser of llama.cpp.

    quantise(Path("models/base.F16.gguf"), Path("models/base.Q4_K_M.gguf"), "Q4_K_M")

The quantiser comes with ``cyllama``: the server package ``xllamacpp`` has none, and the
``gguf`` library can read K-quants but not make them. It runs in a process of its own,
because llama.cpp writes to the terminal directly and may abort the whole process.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import gguf

from cutoff.errors import CutoffError
from cutoff.export import gguf_header
from cutoff.export.gguf_file import Progress, require_space
from cutoff.export.gguf_header import MADE_FROM_KEY, recorded

FILE_TYPES = {
    "Q4_K_M": gguf.LlamaFileType.MOSTLY_Q4_K_M,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}

QUANTISE_SCRIPT = """
import sys
from cyllama.llama.llama_cpp import LlamaModelQuantizeParams, model_quantize
settings = LlamaModelQuantizeParams()
settings.ftype = int(sys.argv[3])
settings.dry_run = sys.argv[4] == "dry run"
model_quantize(sys.argv[1], sys.argv[2], settings)
"""
# What llama.cpp writes to stderr: a line per tensor before it is converted, and the sum.
TENSOR_LINE = re.compile(r"\[ *\d+/ *\d+\] .* size = +(?P<mib>[\d.]+) MiB")
SUM_LINE = re.compile(r"quant size += +(?P<mib>[\d.]+) MiB")


def quantise(source: Path, target: Path, quantization: str) -> bool:
    """Quantise the 16-bit file ``source`` into ``target``; ``False`` if that was done before.

    ``quantization`` is ``Q4_K_M`` or ``Q8_0``. The quantiser copies the record of what made
    ``source`` into ``target``, which is how a finished file is recognised. The file appears
    under its name only when it is complete.
    """
    file_type = FILE_TYPES[quantization]
    origin = recorded(source, MADE_FROM_KEY)
    if origin is None:
        raise CutoffError(f"{source} is missing or was not written by this exporter.")
    finished = recorded(target, MADE_FROM_KEY) == origin
    if finished and recorded(target, gguf.Keys.General.FILE_TYPE) == file_type:
        return False
    partial = target.with_name(f".{target.name}.partial")
    try:
        if target.parent.is_dir() and shutil.disk_usage(target.parent).free < _size(source):
            # The result is smaller than its source; how much smaller, llama.cpp knows.
            log = _run(source, partial, quantization, "dry run")
            total = sum(float(found["mib"]) for found in map(SUM_LINE.search, log) if found)
            require_space(target, int(total * 2**20))
        _run(source, partial, quantization, "write")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return True


def _size(path: Path) -> int:
    return path.stat().st_size


def _run(source: Path, partial: Path, quantization: str, mode: str) -> list[str]:
    """One call of the quantiser; returns what it wrote to its log."""
    numbers = [str(int(FILE_TYPES[quantization])), mode]
    command = [sys.executable, "-c", QUANTISE_SCRIPT, str(source), str(partial), *numbers]
    progress = Progress(partial.name.removeprefix(".").removesuffix(".partial"), _size(source))
    log = []
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line.strip())
            if found := TENSOR_LINE.search(line):
                progress.add(int(float(found["mib"]) * 2**20))
    if process.returncode != 0 or (mode == "write" and not partial.is_file()):
        reasons = [line for line in log if "failed to" in line] or log[-1:] or ["no message"]
        raise CutoffError(
            f"{source.name} could not be quantised to {quantization} in {partial.parent} "
            f"({reasons[-1]}). Is the disk full or the folder read-only?"
        )
    return log


def matrix_types(path: Path) -> dict[str, int]:
    """How many matrices of a GGUF file have which type, most frequent first.

    K-quants come in blocks of 256. Where the rows of a matrix are no multiple of that
    (Qwen2.5-0.5B: 896), llama.cpp takes Q5_0 or Q8_0 instead, which shows up here.
    """
    tensors = gguf_header.read(path).tensors.values()
    counts = Counter(kind.name for kind, shape in tensors if len(shape) > 1)
    return dict(counts.most_common())
