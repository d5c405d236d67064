"""Trains the LoRA adapters in a process of its own, so that its memory is free afterwards.

    python -m cutoff.finetune.train outputs/tiny/adapters/training_config.json
    accelerate launch -m cutoff.finetune.train <the same file>      (several processes)

A checkpoint is written every ``checkpoint_seconds``. After a kill the next start resumes
from the newest complete one and ends with the same adapter, byte for byte, as an
undisturbed training. A finished adapter is recognised by its ``training.json``, the last
file of its folder, and is not trained again.
"""

import contextlib
import fcntl
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cutoff import run
from cutoff.errors import CutoffError
from cutoff.finetune import adapter, examples, failures
from cutoff.finetune.settings import Training

PARENT_CHECK_SECONDS = 1.0


def main(arguments: list[str]) -> int:
    """Train every adapter that is not finished; the exit status is 0, or 2 after a sentence."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        training = Training(**run.read_json(Path(arguments[0])))
        with _alone(Path(training.adapters_folder)):
            for variant in examples.VARIANTS:
                adapter.train_variant(training, variant)
    except Exception as error:
        sentence = failures.explain(error, Path(arguments[0]).parent)
        if sentence is None:
            raise
        print(failures.ERROR_MARK + sentence, file=sys.stderr, flush=True)
        return 2
    return 0


def _end_with_parent(parent: int) -> None:
    """A training whose starter was killed would write beside the next one: end too."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(3)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One training at a time; waits a moment for one whose starter has just been killed."""
    if os.environ.get("RANK", "0") != "0":
        yield  # the first process of the group holds the lock
        return
    with open(folder / ".lock", "w") as lock:
        for _ in range(10):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(PARENT_CHECK_SECONDS)
            except OSError:
                break  # some network folders cannot lock
        else:
            raise CutoffError(f"Another training writes in {folder}; wait for it or stop it.")
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
