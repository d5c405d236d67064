"""When time is up, work stops with a sentence; without a deadline it never does."""

import os
import subprocess
import sys
import time

import pytest

from cutoff import deadline
from cutoff.errors import DeadlineReached


@pytest.fixture(autouse=True)
def own_clock(monkeypatch):
    monkeypatch.setattr(deadline, "_inherited", False)
    monkeypatch.setenv(deadline.VARIABLE, "0")


def test_without_a_deadline_there_is_always_time():
    deadline.start(None)
    assert deadline.seconds_left() is None
    deadline.check("nothing")


def test_the_clock_leaves_a_margin_for_what_is_in_flight():
    deadline.start(60.0)
    left = deadline.seconds_left()
    assert 3600 - deadline.MARGIN_SECONDS - 5 < left <= 3600 - deadline.MARGIN_SECONDS
    deadline.check("nothing")
    deadline.start(deadline.MARGIN_SECONDS / 60)
    with pytest.raises(DeadlineReached, match="20 of 50 answers are kept. Run again to continue"):
        deadline.check("20 of 50 answers are kept")


def test_a_child_process_keeps_the_clock_of_its_parent():
    script = (
        "from cutoff import deadline; deadline.start(None); print(deadline.seconds_left() < 100)"
    )
    environment = {**os.environ, deadline.VARIABLE: repr(time.time() + 100)}
    command = [sys.executable, "-c", script]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "True"
