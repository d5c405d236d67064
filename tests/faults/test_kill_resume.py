"""SIGKILL at the worst moments; the next run completes as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cutoff import run


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


# A moment of each stage in which work is under way, seen from its files.
MOMENTS = {
    "02_finetune": lambda folder: lines(folder / "adapters/progress.jsonl") >= 2,
    "04_evaluate": lambda folder: lines(folder / "responses.jsonl") >= 10,
}


@pytest.mark.parametrize("what", ["the driver alone", "every process"])
def test_a_killed_run_completes_with_the_same_results(
    tiny_run, tiny_arguments, tiny_environment, tmp_path, what
):
    command = [sys.executable, "-m", "cutoff", *tiny_arguments, f"output_dir={tmp_path}"]
    folder = tmp_path / "limit-24" / "tiny"
    kept: list[str] = []
    for stage, is_now in MOMENTS.items():
        process = subprocess.Popen(command, env=tiny_environment, stdout=subprocess.DEVNULL)
        wait_until(lambda now=is_now: now(folder), process)
        kill(process, with_children=what == "every process")
        assert json.loads((folder / "run.json").read_text())["stages"][stage]["key"] is None
        if stage == "04_evaluate":
            kept = (folder / "responses.jsonl").read_text().splitlines()[:10]

    done = subprocess.run(command, env=tiny_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("up to date") == 3  # 01 to 03 were not repeated

    # Answers that were written before the kill are still there, each exactly once.
    responses = (folder / "responses.jsonl").read_text().splitlines()
    assert responses[: len(kept)] == kept
    for name in ("responses.jsonl", "judgements.jsonl"):
        keys = [record["key"] for record in run.read_jsonl(folder / name)]
        assert len(keys) == len(set(keys))
        assert set(keys) == {r["key"] for r in run.read_jsonl(tiny_run / "tiny" / name)}
    assert texts(folder) == texts(tiny_run / "tiny")


def texts(folder):
    """What was answered; times differ between any two runs."""
    return {r["key"]: r["response"] for r in run.read_jsonl(folder / "responses.jsonl")}


def wait_until(is_now, process, seconds=600):
    deadline = time.monotonic() + seconds
    while not is_now():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(process, with_children):
    import psutil

    family = psutil.Process(process.pid).children(recursive=True) if with_children else []
    os.kill(process.pid, signal.SIGKILL)
    for child in family:
        if child.is_running():
            child.kill()
    process.wait()
