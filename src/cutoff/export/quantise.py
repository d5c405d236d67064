"""16-bit GGUF -> quantised GGUF, with the quantiser of llama.cpp.

    quantise(Path("models/base.F16.gguf"), Path("models/base.Q4_K_M.gguf"), "Q4_K_M")

The quantiser comes with ``cyllama``: the server package ``xllamacpp`` has none, and the
``gguf`` library can read K-quants but not make them. It runs in a process of its own,
because llama.cpp writes to the terminal directly and may abort the whole process.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import gguf

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.export import file_facts, gguf_file

FILE_TYPES = {
    "Q4_K_M": gguf.LlamaFileType.MOSTLY_Q4_K_M,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
SHARES = {"Q4_K_M": 0.42, "Q8_0": 0.55}  # of the space of 16 bits; 0.40 is Qwen2.5-0.5B's

QUANTISE_SCRIPT = """
import sys
from cyllama.llama.llama_cpp import LlamaModelQuantizeParams, model_quantize
settings = LlamaModelQuantizeParams()
settings.ftype = int(sys.argv[3])
model_quantize(sys.argv[1], sys.argv[2], settings)
"""
# What llama.cpp writes to stderr for each tensor.
TENSOR_LINE = re.compile(
    r"\[ *\d+/ *\d+\] .* - \[ *\d+, +(?P<rows>\d+).* type = +(?P<type>\w+)"
    r"(?:.* converting to (?P<new_type>\w+))?"
)


def quantise(source: Path, target: Path, quantization: str) -> bool:
    """Quantise the 16-bit file ``source`` into ``target``; ``False`` if that was done before.

    ``quantization`` is ``Q4_K_M`` or ``Q8_0``. The file appears under its name only when it is
    complete; its facts name the origin of ``source`` and the type of every matrix. K-quants come
    in blocks of 256: where the rows of a matrix are no multiple of that (Qwen2.5-0.5B: 896),
    llama.cpp takes Q5_0 or Q8_0 instead.
    """
    of_source = file_facts.read(source)
    if of_source is None:
        raise CutoffError(
            f"{source} is missing, torn or not a file of this exporter. Run 03_export_gguf again."
        )
    origin, n_parameters = of_source["made_from"], of_source["n_parameters"]
    if file_facts.is_made(target, origin, quantization):
        return False
    files.make_folder(target.parent)
    gguf_file.require_space(target, int(SHARES[quantization] * source.stat().st_size))
    partial = target.with_name(f".{target.name}.partial")
    try:
        log = _run(source, partial, quantization)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    matrices = [found for found in map(TENSOR_LINE.search, log) if found and found["rows"] != "1"]
    types = Counter((found["new_type"] or found["type"]).upper() for found in matrices)
    file_facts.note(target, origin, quantization, n_parameters, types)
    return True


def _run(source: Path, partial: Path, quantization: str) -> list[str]:
    """One call of the quantiser; returns what it wrote to its log."""
    number = str(int(FILE_TYPES[quantization]))
    command = [sys.executable, "-c", QUANTISE_SCRIPT, str(source), str(partial), number]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    log = done.stderr.splitlines()
    if done.returncode != 0 or not partial.is_file():
        reasons = [line for line in log if "failed to" in line] or log[-1:] or ["no message"]
        raise CutoffError(
            f"{source.name} could not be quantised to {quantization} in {partial.parent} "
            f"({reasons[-1].strip()}). Is the disk full or the folder read-only?"
        )
    return log
