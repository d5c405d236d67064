"""What decides an adapter: its settings, its fingerprint, and what is already there of it.

Nothing heavy is imported here: the notebook uses it before the training process starts.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cutoff import run
from cutoff.errors import CutoffError
from cutoff.finetune import examples

STATE_FILES = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt")
MICRO_BATCH_TOKENS = 2048  # larger tensors leave the processor's cache and train no faster


@dataclass(frozen=True)
class Training:
    """The content of ``training_config.json``; paths are texts, names are the parameters'."""

    base_folder: str
    train_file: str
    adapters_folder: str
    progress_file: str
    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    learning_rate: float
    lr_scheduler: str
    warmup_ratio: float
    epochs: int
    batch_size: int
    training_seed: int
    checkpoint_seconds: float = 20.0


def choose_dtype(capability: tuple[int, int] | None) -> tuple[str, str]:
    """Number format of the weights for a GPU's compute capability (None: CPU), and why."""
    if capability is None:
        return "float32", "the CPU's own format"
    version = f"compute capability {capability[0]}.{capability[1]}"
    if capability >= (8, 0):
        return "bfloat16", f"{version} computes it natively and it cannot overflow"
    return "float16", f"{version} has no native bfloat16"


def micro_batch(batch_size: int, n_processes: int, longest: int) -> int:
    """Examples per forward pass: the largest share of a step that stays small in memory."""
    if batch_size % n_processes:
        raise CutoffError(
            f"batch_size = {batch_size} cannot be shared by {n_processes} processes; "
            f"choose a multiple of {n_processes}."
        )
    per_process = batch_size // n_processes
    fitting = [n for n in range(1, per_process + 1) if per_process % n == 0]
    return max([n for n in fitting if n * longest <= MICRO_BATCH_TOKENS], default=1)


def fingerprint(training: Training, variant: str) -> str:
    """Hash of all that shapes an adapter: settings, its examples, the base model's files."""
    settings = asdict(training)
    for name in ("base_folder", "train_file", "adapters_folder", "progress_file"):
        del settings[name]
    del settings["checkpoint_seconds"]  # when a checkpoint is written changes nothing
    digest = hashlib.sha256(json.dumps([variant, settings], sort_keys=True).encode())
    for record in examples.read_records(Path(training.train_file), variant):
        digest.update(run.to_json(record))
    digest.update(base_sha256(Path(training.base_folder)).encode())
    return digest.hexdigest()[:16]


def base_sha256(folder: Path) -> str:
    """Hash of the base model's weights, configuration and tokenizer."""
    if not (folder / "config.json").is_file():
        raise CutoffError(
            f"The base model is missing: there is no config.json in {folder}. "
            "Restore the folder from the repository or set base_model."
        )
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jinja", ".safetensors"):
            digest.update(path.name.encode() + run.sha256_file(path).encode())
    return digest.hexdigest()


def finished(training: Training, variant: str) -> dict[str, Any] | None:
    """``training.json`` of an adapter that these settings have made; None when there is none."""
    marker = Path(training.adapters_folder, variant, "training.json")
    report: dict[str, Any] = run.read_json(marker) if marker.exists() else {}
    return report if report.get("fingerprint") == fingerprint(training, variant) else None


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; one that a kill has torn is passed over."""
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()]
    for path in sorted(found, key=lambda path: int(path.name[11:]), reverse=True):
        try:  # the trainer writes this file last
            json.loads((path / "trainer_state.json").read_bytes())
        except (OSError, ValueError):
            continue
        if all((path / name).is_file() for name in STATE_FILES):
            return path
    return None
