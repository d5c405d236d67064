"""The end of a session that somebody else ends: ``deadline_minutes`` after its start.

Colab and Kaggle stop without a warning. Long work asks here whether there is time left, and
stops where it can be continued. The driver's clock counts for all the processes it
starts; a notebook that is run by hand counts from its own first cell.
"""

import os
import time

from cutoff.errors import DeadlineReached

VARIABLE = "CUTOFF_DEADLINE"  # seconds since the epoch, inherited by every child process
MARGIN_SECONDS = 10.0  # for what is in flight to be finished and written
EXIT_STATUS = 75  # "temporary failure, try again" in sysexits.h

_inherited = VARIABLE in os.environ


def start(deadline_minutes: float | None) -> None:
    """Start the clock, unless a parent process has started it; ``None`` sets no deadline."""
    if _inherited:
        return
    os.environ.pop(VARIABLE, None)
    if deadline_minutes is not None:
        os.environ[VARIABLE] = repr(time.time() + 60 * deadline_minutes)


def seconds_left() -> float | None:
    """Seconds until work must stop, negative afterwards; ``None`` without a deadline."""
    if VARIABLE not in os.environ:
        return None
    return float(os.environ[VARIABLE]) - time.time() - MARGIN_SECONDS


def check(where: str) -> None:
    """Raise ``DeadlineReached`` when time is up; ``where`` says what was reached and kept."""
    left = seconds_left()
    if left is not None and left <= 0:
        raise DeadlineReached(f"deadline_minutes reached: {where}. Run again to continue.")
