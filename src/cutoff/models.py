"""The models of a run: where the base model lies, and the names of what is trained from it.

The base model is a phantom's, a folder, or a repository of the Hugging Face hub, which is
downloaded once into the hub's own cache. A token for gated repositories comes from the
environment (HF_TOKEN) or from `hf auth login`; nothing here ever holds it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cutoff import files, gguf_base, paths
from cutoff.errors import CutoffError
from cutoff.experiment import VARIANTS
from cutoff.params import Params

PHANTOMS = {
    "phantom": Path(__file__).parent / "phantom" / "base_model",
    "phantom-xs": Path(__file__).parent / "phantom" / "base_model_xs",
}
# Weights as safetensors only: other formats can run code when they are loaded.
BASE_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
NEEDED_FILES = ("config.json", "tokenizer_config.json", "*.safetensors")
QUANTIZATIONS = ("Q4_K_M", "Q8_0", "F16")


def base_folder(p: Params) -> Path:
    """Folder with the base model's weights, config.json and tokenizer; downloads a hub model.

    Raises ``CutoffError`` with the remedy when the hub does not answer, the model is gated,
    unknown or incomplete, or the disk is full.
    """
    made = paths.root() / p.output_dir / "base_models"  # of GGUF files
    if local := local_folder(p):
        folder = local
    elif p.base_model.endswith(".gguf") and Path(p.base_model).expanduser().is_file():
        file = Path(p.base_model).expanduser().resolve()
        folder = gguf_base.convert(file, made / f"{file.stem}-{files.sha256_file(file)[:12]}")
    elif p.base_model.count("/") == 1 and not p.base_model.startswith((".", "/", "~")):
        folder = _from_hub(p.base_model, p.base_model_revision, made)
    else:
        raise CutoffError(
            f"base_model = {p.base_model!r} is neither {' nor '.join(map(repr, PHANTOMS))}, nor an "
            "existing folder or GGUF file, nor the name of a model on the Hugging Face hub "
            "(owner/name)."
        )
    missing = [pattern for pattern in NEEDED_FILES if not any(folder.glob(pattern))]
    if missing:
        raise CutoffError(
            f"The base model in {folder} is incomplete: it holds no {', no '.join(missing)} "
            "(weights are read as safetensors only). Give a complete model as base_model."
        )
    return folder


def local_folder(p: Params) -> Path | None:
    """Folder of a base model that needs no hub; None for one of the hub."""
    if p.base_model in PHANTOMS:
        return PHANTOMS[p.base_model]
    folder = Path(p.base_model).expanduser()
    return folder.resolve() if folder.is_dir() else None


def local_state(p: Params) -> str:
    """What tells in milliseconds that a base model in a folder has changed; hub models do not."""
    if p.base_model in PHANTOMS:
        return base_sha256(PHANTOMS[p.base_model])
    place = Path(p.base_model).expanduser()
    found = sorted(path for path in [place, *place.glob("*")] if path.is_file())
    return repr([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in found])


def require_same_base(folder: Path, training: dict[str, Any]) -> None:
    """Raise ``CutoffError`` if an adapter was trained on other base weights than these.

    ``training`` is the adapter's ``training.json``. A branch on the hub can move between
    two stages, and an adapter of one model says nothing on top of another.
    """
    if training["base_sha256"] != base_sha256(folder):
        raise CutoffError(
            f"The base model in {folder} is not the one that {training['variant']} was trained on: "
            "its files have changed since. Set base_model_revision to the commit that was used, "
            "or train again (stage=02_finetune force=1)."
        )


def base_sha256(folder: Path) -> str:
    """Hash of the base model's weights, configuration and tokenizer."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jinja", ".safetensors"):
            digest.update(path.name.encode() + files.sha256_file(path).encode())
    return digest.hexdigest()


def adapters(p: Params) -> dict[str, tuple[str, int]]:
    """Name of each adapter -> its variant and training seed, those of the first seed first.

    ``{"instruct_ft": ("instruct_ft", 0), "rag_ft": ("rag_ft", 0)}``, and with
    ``training_seeds: 2`` also ``instruct_ft.seed-1`` and ``rag_ft.seed-1``.
    """
    seeds = range(p.training_seed, p.training_seed + p.training_seeds)
    return {
        variant if seed == p.training_seed else f"{variant}.seed-{seed}": (variant, seed)
        for seed in seeds
        for variant in VARIANTS
    }


@dataclass(frozen=True)
class Files:
    """The exported files of one model: ``full`` in 16 bits, ``served`` quantised (the same file
    where nothing is quantised), ``lora`` an adapter file to be added to either, ``compared``
    further quantisations that 04 holds against the served one."""

    full: Path
    served: Path
    lora: Path | None
    compared: Mapping[str, Path] = field(default_factory=dict)

    @property
    def paths(self) -> tuple[Path, ...]:
        """What a server needs."""
        return (self.served,) if self.lora is None else (self.served, self.lora)

    @property
    def every(self) -> tuple[Path, ...]:
        """All files, each once."""
        found = (self.full, self.served, *self.compared.values(), self.lora)
        return tuple(dict.fromkeys(path for path in found if path))


def files_of(folder: Path, model: str, p: Params) -> Files:
    """Where 03 puts the files of ``model`` (``base`` or an adapter) of the size's ``folder``.

    ``export_mode: merged`` gives every model files of its own; ``adapter`` gives all of them
    the base model's, and each adapter a file of a few MB beside it.
    """
    beside = p.export_mode == "adapter" and model != "base"
    stem = folder / "models" / ("base" if beside else model)

    def named(quantization: str) -> Path:
        kind = p.export_dtype if quantization == "F16" else quantization
        return stem.with_name(f"{stem.name}.{kind}.gguf")

    compared = {name: named(name) for name in compared_quantizations(p) if name != "F16"}
    lora = stem.with_name(f"{model}.lora.gguf") if beside else None
    return Files(named("F16"), named(p.quantization), lora, compared)


def compared_quantizations(p: Params) -> tuple[str, ...]:
    """The quantisations that ``compare_quantizations`` names, without the one that is served."""
    names = [name.strip() for name in (p.compare_quantizations or "").split(",")]
    unknown = [name for name in names if name and name not in QUANTIZATIONS]
    if unknown:
        raise CutoffError(
            f"compare_quantizations = {p.compare_quantizations!r} names {unknown[0]!r}; it holds "
            f"{', '.join(QUANTIZATIONS)}, with commas between them, or null."
        )
    return tuple(dict.fromkeys(name for name in names if name and name != p.quantization))


def served_name(size: str, model: str) -> str:
    """What a server calls a model of this run: ``cutoff-7b-rag-ft``."""
    return f"cutoff-{size}-{model}".replace("_", "-").lower()


def _from_hub(name: str, revision: str | None, made: Path) -> Path:
    from huggingface_hub import errors, snapshot_download

    if packaged := gguf_base.packaged(name, made):
        return packaged  # all stages of a run use the same weights
    said = {
        errors.GatedRepoError: f"{name} is gated: accept its licence on its page of the Hugging "
        "Face hub, and export HF_TOKEN with a token that may read it.",
        errors.RevisionNotFoundError: f"{name} has no revision {revision!r}; check "
        "base_model_revision.",
        errors.RepositoryNotFoundError: f"The Hugging Face hub has no model {name!r}, or it is "
        "private. Check base_model; for a private model export HF_TOKEN.",
    }
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(BASE_FILES)))
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        reason = type(error.__cause__ or error).__name__
        sentence = (
            f"{name} could not be downloaded: the Hugging Face hub did not answer ({reason}). "
            "Check the network and run again (finished files are kept), or give the folder of "
            "the model as base_model."
        )
        if getattr(error, "errno", None) in files.DISK_FULL:
            sentence = (
                f"The disk is full: {name} does not fit into the hub's cache. Free some space, or "
                "point HF_HOME to a larger disk, and run again; finished files are kept."
            )
        known = (text for kind, text in said.items() if isinstance(error, kind))
        if name in gguf_base.PACKAGED and not isinstance(error, tuple(said)):
            return gguf_base.from_package(name, made)
        raise CutoffError(next(known, sentence)) from None
