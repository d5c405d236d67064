"""F16 GGUF -> quantised GGUF, with the quantiser of llama.cpp.

    quantise(Path("models/base.F16.gguf"), Path("models/base.Q4_K_M.gguf"), "Q4_K_M")

The quantiser comes with ``cyllama``: the server package ``xllamacpp`` has none, and the
``gguf`` library can read K-quants but not make them. It runs in a process of its own,
because llama.cpp writes to the terminal directly and may abort the whole process.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import gguf

from cutoff.errors import CutoffError
from cutoff.export.gguf_file import MADE_FROM_KEY, recorded

FILE_TYPES = {"Q4_K_M": gguf.LlamaFileType.MOSTLY_Q4_K_M}

QUANTISE_SCRIPT = """
import sys
from cyllama.llama.llama_cpp import LlamaModelQuantizeParams, model_quantize
settings = LlamaModelQuantizeParams()
settings.ftype = int(sys.argv[3])
model_quantize(sys.argv[1], sys.argv[2], settings)
"""


def quantise(source: Path, target: Path, quantization: str) -> bool:
    """Quantise the F16 file ``source`` into ``target``; ``False`` if that was done before.

    The quantiser copies the record of what made ``source`` into ``target``, which is how a
    finished file is recognised. The file appears under its name only when it is complete.
    """
    file_type = FILE_TYPES[quantization]
    origin = recorded(source, MADE_FROM_KEY)
    if origin is None:
        raise CutoffError(f"{source} is missing or was not written by this exporter.")
    finished = recorded(target, MADE_FROM_KEY) == origin
    if finished and recorded(target, gguf.Keys.General.FILE_TYPE) == file_type:
        return False
    partial = target.with_name(f".{target.name}.partial")
    command = [
        sys.executable,
        "-c",
        QUANTISE_SCRIPT,
        str(source),
        str(partial),
        str(int(file_type)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode != 0 or not partial.is_file():
            log = done.stderr.strip().splitlines()
            reasons = [line for line in log if "failed to" in line] or log[-1:] or ["no message"]
            raise CutoffError(
                f"{source.name} could not be quantised to {quantization} in {target.parent} "
                f"({reasons[-1].strip()}). Is the disk full or the folder read-only?"
            )
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return True


def matrix_types(path: Path) -> dict[str, int]:
    """How many matrices of a GGUF file have which type, most frequent first.

    K-quants come in blocks of 256. Where the rows of a matrix are no multiple of that
    (Qwen2.5-0.5B: 896), llama.cpp takes Q5_0 or Q8_0 instead, which shows up here.
    """
    tensors = gguf.GGUFReader(path).tensors
    counts = Counter(tensor.tensor_type.name for tensor in tensors if len(tensor.shape) > 1)
    return dict(counts.most_common())
