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

from cutoff import deadline, files
from cutoff.errors import CutoffError, DeadlineReached
from cutoff.finetune import adapter, settings, training_errors
from cutoff.finetune.settings import Training

PARENT_CHECK_SECONDS = 1.0


def main(arguments: list[str]) -> int:
    """Train every adapter that is not finished; the exit status is 0, or another one after a
    sentence: 2 an error, 75 the deadline, 76 another start with less memory is worth trying."""
    starter = int(os.environ.get(settings.STARTER, os.getppid()))
    threading.Thread(target=_end_with, args=(starter,), daemon=True).start()
    try:
        training = Training(**files.read_json(Path(arguments[0])))
        with _alone(Path(training.adapters_folder)):
            for name in settings.adapters(training):
                adapter.train(training, name)
    except training_errors.TryAgain as reason:
        return _say(training_errors.RETRY_MARK, str(reason), training_errors.RETRY_STATUS)
    except DeadlineReached as reached:
        _leave_group()
        return _say(training_errors.DEADLINE_MARK, str(reached), deadline.EXIT_STATUS)
    except Exception as error:
        sentence = training_errors.explain(error, Path(arguments[0]).parent)
        if sentence is None:
            raise
        return _say(training_errors.ERROR_MARK, sentence, 2)
    _leave_group()
    return 0


def _say(mark: str, sentence: str, status: int) -> int:
    print(mark + sentence, file=sys.stderr, flush=True)
    return status


def _leave_group() -> None:
    """PyTorch warns of every group of processes that just ends."""
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_initialized():
        distributed.destroy_process_group()


def _end_with(starter: int) -> None:
    """A training whose starter was killed would write beside the next one: end too."""
    while _descends_from(starter):
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(3)


def _descends_from(starter: int) -> bool:
    if os.getppid() == starter:
        return True
    import psutil

    try:
        return any(parent.pid == starter for parent in psutil.Process().parents())
    except psutil.Error:
        return False


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
