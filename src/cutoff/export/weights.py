"""The model files of a run, made where they are missing.

files = {model: models.files_of(stage.folder, model, p) for model in adapters}
made = {model: weights.export(files[model], base, adapters[model], p) for model in files}
"""

from collections.abc import Iterable
from pathlib import Path

from cutoff import deadline
from cutoff.export import gguf_writer, quantise
from cutoff.models import Files
from cutoff.params import Params


def export(files: Files, base: Path, adapter: Path | None, p: Params) -> int:
    """Make what is missing of one model's files; returns how many were written.

    ``adapter`` is the folder of the trained adapter, ``None`` for the base model. It is merged,
    or becomes a file of its own where ``files`` has one.
    """
    deadline.check(f"the files of {files.lora or files.served} are not made yet, others are kept")
    merged = adapter if files.lora is None else None
    written = int(gguf_writer.write_gguf(base, merged, files.full, p.export_dtype))
    if files.lora is not None and adapter is not None:
        written += gguf_writer.write_lora_gguf(base, adapter, files.lora)
    if files.served != files.full:
        written += quantise.quantise(files.full, files.served, p.quantization)
    for quantization, target in files.compared.items():
        written += quantise.quantise(files.full, target, quantization)
    return written


def every_file(of_models: Iterable[Files]) -> list[Path]:
    """All files of the models, each once: in 16 bits, quantised, compared, then adapters."""
    of_each = [(f.full, f.served, *f.compared.values(), f.lora) for f in of_models]
    return list(dict.fromkeys(path for kind in zip(*of_each, strict=True) for path in kind if path))
