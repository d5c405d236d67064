"""SIGKILL at the worst moments; the next run completes as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from cutoff import files
from cutoff.run import stages


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


# Who is killed in which stage, and the moment: work is under way, as its files show.
MOMENTS = {
    "02_finetune": (False, lambda folder: lines(folder / "adapters/progress.jsonl") >= 2),
    "04_evaluate": (True, lambda folder: lines(folder / "responses.jsonl") >= 10),
}


@pytest.mark.parametrize("stage", MOMENTS)
def test_a_killed_stage_completes_with_the_same_results(
    tiny_run, tiny_arguments, tiny_environment, tmp_path, stage
):
    with_children, is_now = MOMENTS[stage]
    folder = before(stages.find(stage), tiny_run, tmp_path / "limit-24")
    command = [sys.executable, "-m", "cutoff", *tiny_arguments]
    command += [f"output_dir={tmp_path}", f"stage={stage}"]
    process = subprocess.Popen(command, env=tiny_environment, stdout=subprocess.DEVNULL)
    wait_until(lambda: is_now(folder), process)
    kill(process, with_children)
    assert json.loads((folder / "run.json").read_text())["stages"][stage]["key"] is None
    answers = folder / "responses.jsonl"
    kept = answers.read_text().splitlines()[:10] if stage == "04_evaluate" else []

    done = subprocess.run(command, env=tiny_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    if stage == "02_finetune":
        for path in folder.glob("adapters/*/adapter_model.safetensors"):
            there = tiny_run / "tiny" / path.relative_to(folder)
            assert path.read_bytes() == there.read_bytes()
        return
    # Answers that were written before the kill are still there, each exactly once.
    assert answers.read_text().splitlines()[: len(kept)] == kept
    for name in ("responses.jsonl", "judgements.jsonl"):
        keys = [record["key"] for record in files.read_jsonl(folder / name)]
        assert len(keys) == len(set(keys))
        assert set(keys) == {r["key"] for r in files.read_jsonl(tiny_run / "tiny" / name)}
    assert texts(folder) == texts(tiny_run / "tiny")


def before(stage, complete, folder):
    """A copy of a complete run as it was before ``stage``; gives the size's folder."""
    shutil.copytree(complete, folder)
    entries = files.read_json(folder / "tiny/run.json")
    later = stages.STAGES[stages.STAGES.index(stage) :]
    for gone in later:
        entries["stages"].pop(gone.name, None)
        for pattern in (*gone.files, *gone.optional, f"{gone.name}.*"):
            for path in (folder / "tiny").glob(pattern.split("/")[0].removesuffix("*") + "*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    files.write_json_atomic(folder / "tiny/run.json", entries)
    return folder / "tiny"


def texts(folder):
    """What was answered; times differ between any two runs."""
    return {r["key"]: r["response"] for r in files.read_jsonl(folder / "responses.jsonl")}


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
