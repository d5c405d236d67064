"""The model files of a run, made where they are missing: in 16 bits, then quantised.

files = {model: models.files_of(stage.folder, model, p) for model in adapters}
made = {model: weights.export(files[model], base, adapters[model], p) for model in files}

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

from cutoff import deadline, files
from cutoff.errors import CutoffError
from cutoff.export import file_facts, gguf_writer
from cutoff.models import Files
from cutoff.params import Params

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


def export(of_model: Files, base: Path, adapter: Path | None, p: Params) -> int:
    """Make what is missing of one model's files; returns how many were written.

    ``adapter`` is the folder of the trained adapter, ``None`` for the base model. It is merged,
    or becomes a file of its own where ``of_model`` has one.
    """
    deadline.check(f"the files of {of_model.lora or of_model.served} are not made, others are kept")
    merged = adapter if of_model.lora is None else None
    written = int(gguf_writer.write_gguf(base, merged, of_model.full, p.export_dtype))
    if of_model.lora is not None and adapter is not None:
        written += gguf_writer.write_lora_gguf(base, adapter, of_model.lora)
    if of_model.served != of_model.full:
        written += quantise(of_model.full, of_model.served, p.quantization)
    for quantization, target in of_model.compared.items():
        written += quantise(of_model.full, target, quantization)
    return written


def quantise(source: Path, target: Path, quantization: str) -> bool:
    """Quantise the 16-bit file ``source`` into ``target``; ``False`` if that was done before.

    ``quantization`` is ``Q4_K_M`` or ``Q8_0``. K-quants come in blocks of 256: where the rows of
    a matrix are no multiple of that (Qwen2.5-0.5B: 896), llama.cpp takes Q5_0 or Q8_0 instead.
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
    files.require_space(target, int(SHARES[quantization] * source.stat().st_size))
    unfinished = target.with_name(f".{target.name}.partial")
    number = str(int(getattr(gguf.LlamaFileType, f"MOSTLY_{quantization}")))
    command = [sys.executable, "-c", QUANTISE_SCRIPT, str(source), str(unfinished), number]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        log = done.stderr.splitlines()
        if done.returncode != 0 or not unfinished.is_file():
            reasons = [line for line in log if "failed to" in line] or log[-1:] or ["no message"]
            raise CutoffError(
                f"{source.name} could not be quantised to {quantization} in {target.parent} "
                f"({reasons[-1].strip()}). Is the disk full or the folder read-only?"
            )
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
    matrices = [found for found in map(TENSOR_LINE.search, log) if found and found["rows"] != "1"]
    types = Counter((found["new_type"] or found["type"]).upper() for found in matrices)
    file_facts.note(target, origin, quantization, n_parameters, types)
    return True
