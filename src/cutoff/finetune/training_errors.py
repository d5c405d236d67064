"""Foreseeable training_errors of the training process, each as a sentence that says what to do."""

import errno
import shutil
from pathlib import Path

from cutoff import files
from cutoff.errors import CutoffError

# Each opens a line of stderr that holds a sentence: status codes get lost when a launcher
# stands between the processes.
ERROR_MARK = "cutoff-error: "
DEADLINE_MARK = "cutoff-deadline: "
RETRY_MARK = "cutoff-retry: "
RETRY_STATUS = 76
NEARLY_FULL_MB = 20  # a failed write with this little room left is a full disk too
FULL_DISK_WORDS = (
    "no space left",
    "quota exceeded",
    "unexpected pos",  # torch.save, whose archive ends where the disk ended
)


class TryAgain(Exception):
    """The process must start once more, with the smaller memory plan that it has left."""


def explain(error: BaseException, folder: Path) -> str | None:
    """The sentence for ``error``, raised while writing in ``folder``; None if unforeseen."""
    text = " ".join(str(error).split())
    lower = text.lower()
    if isinstance(error, CutoffError) and "No space left" not in text:
        return text
    full = isinstance(error, OSError) and error.errno in files.DISK_FULL
    full = full or any(words in lower for words in FULL_DISK_WORDS)
    if full or ("writ" in lower and _free_mb(folder) < NEARLY_FULL_MB):
        return (
            f"The disk is full: training cannot write in {folder}. "
            "Free some space and run again; it continues from its last checkpoint."
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
        return f"Training cannot write in {folder}: {error.strerror}; choose another output_dir."
    if "cuda out of memory" in lower:  # while loading: a pass that does not fit is tried smaller
        return (
            "The GPU's memory is not enough for the base model; close other programs on it, set "
            "load_in_4bit, or choose a smaller base model or a larger GPU."
        )
    if isinstance(error, MemoryError) or "out of memory" in lower or "allocate memory" in lower:
        return (
            "The memory is not enough for this training; close other programs, or choose a "
            "smaller batch_size, micro_batch_size or base model."
        )
    if "cuda error" in lower or "nvidia driver" in lower or "nccl" in lower:
        return (
            f"The GPU or its driver failed: {text[:200]}. Check `nvidia-smi`, restart the session "
            "and run again; it continues from its last checkpoint."
        )
    return None


def _free_mb(folder: Path) -> float:
    try:
        return shutil.disk_usage(folder).free / 1e6
    except OSError:
        return float("inf")
