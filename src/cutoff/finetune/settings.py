"""What decides an adapter: its settings, its fingerprint, and what is already there of it.

Nothing heavy is imported here: the notebook uses it before the training process starts.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cutoff import files, models
from cutoff.finetune import examples
from cutoff.params import Params

# What shapes an adapter. The other settings say where it lies, how fast it is made and what
# is watched meanwhile; with other processes or micro batches it differs in rounding only.
SHAPING = (
    "lora_rank lora_alpha lora_dropout learning_rate lr_scheduler warmup_ratio epochs batch_size "
    "load_in_4bit"
).split()
RECORD_VERSION = 2  # of training.json: an adapter without a field that 02 shows is made again
COMPLETE = "complete"  # the file that ends a checkpoint
STARTER = "CUTOFF_TRAINING_STARTER"  # environment: the process that a training must not outlive


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
    training_seeds: int = 1
    load_in_4bit: bool = False
    micro_batch_size: int | None = None
    gradient_checkpointing: str = "auto"
    training_processes: int | None = None
    eval_file: str | None = None
    loss_eval_questions: int = 0
    checkpoint_seconds: float = 20.0


def adapters(training: Training) -> dict[str, tuple[str, int]]:
    """Name of each adapter -> its variant and training seed."""
    return models.adapters(cast(Params, training))  # its fields have the parameters' names


def fingerprint(training: Training, name: str) -> str:
    """Hash of all that shapes an adapter: settings, its examples, the base model's files."""
    variant, seed = adapters(training)[name]
    shaping = {setting: getattr(training, setting) for setting in SHAPING}
    shaped = [variant, seed, shaping, RECORD_VERSION]
    digest = hashlib.sha256(json.dumps(shaped, sort_keys=True).encode())
    for record in examples.read_records(Path(training.train_file), variant):
        digest.update(files.to_json(record))
    digest.update(models.base_sha256(Path(training.base_folder)).encode())
    return digest.hexdigest()[:16]


def finished(training: Training, name: str) -> dict[str, Any] | None:
    """``training.json`` of an adapter that these settings have made; None when there is none."""
    marker = Path(training.adapters_folder, name, "training.json")
    report: dict[str, Any] = files.read_json(marker) if marker.exists() else {}
    return report if report.get("fingerprint") == fingerprint(training, name) else None


def work_folder(training: Training, name: str) -> Path:
    """Where an adapter's checkpoints lie until it is finished."""
    return Path(training.adapters_folder, f".{name}-{fingerprint(training, name)}")


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; one that a kill has torn is passed over."""
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()]
    complete = [path for path in found if (path / COMPLETE).is_file()]
    return max(complete, key=lambda path: int(path.name[11:]), default=None)
