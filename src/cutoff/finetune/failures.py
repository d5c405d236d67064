"""Foreseeable failures of the training process, each as a sentence that says what to do."""

import errno
import shutil
from pathlib import Path

from cutoff.errors import CutoffError

ERROR_MARK = "cutoff-error: "  # opens the line of stderr that holds the sentence
NEARLY_FULL_MB = 20  # a failed write with this little room left is a full disk too
FULL_DISK_WORDS = (
    "no space left",
    "quota exceeded",
    "unexpected pos",  # torch.save, whose archive ends where the disk ended
)


def explain(error: BaseException, folder: Path) -> str | None:
    """The sentence for ``error``, raised while writing in ``folder``; None if unforeseen."""
    text = " ".join(str(error).split())
    lower = text.lower()
    if isinstance(error, CutoffError) and "No space left" not in text:
        return text
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    full = full or any(words in lower for words in FULL_DISK_WORDS)
    if full or ("writ" in lower and _free_mb(folder) < NEARLY_FULL_MB):
        return (
            f"The disk is full: training cannot write in {folder}. "
            "Free some space and run again; it continues from its last checkpoint."
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
        return f"Training cannot write in {folder}: {error.strerror}; choose another output_dir."
    if isinstance(error, MemoryError) or "out of memory" in lower or "allocate memory" in lower:
        return (
            "The memory is not enough for this training; close other programs, or choose a "
            "smaller batch_size or a smaller base model."
        )
    return None


def _free_mb(folder: Path) -> float:
    try:
        return shutil.disk_usage(folder).free / 1e6
    except OSError:
        return float("inf")
