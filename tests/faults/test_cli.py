"""Foreseeable mistakes end in one sentence, a non-zero exit status and no traceback."""

import fcntl
import signal
import subprocess
import sys
import time

import psutil
import pytest


def assert_sentence(done, *words):
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("lora_rnak=8", ["lora_rnak", "did you mean 'lora_rank'"]),
        ("forse=1", ["forse", "did you mean 'force'"]),
        ("lora_rank=many", ["lora_rank = 'many'", "a whole number from 1 to 1024"]),
        ("n_unseen_papers=60", ["n_unseen_papers", "n_post_papers"]),
        ("size=70b", ["no size '70b'", "tiny"]),
        ("size=../tiny", ["no size '../tiny'"]),
        ("stage=06_publish", ["no stage '06_publish'", "04_evaluate"]),
        ("force=maybe", ["force = 'maybe'"]),
        ("tiny", ["'tiny' is not of the form name=value"]),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_valid(cutoff, small_repository, argument, words):
    assert_sentence(cutoff("run", argument), *words)
    assert not (small_repository / "outputs").exists()


def test_an_unknown_command_is_named(cutoff):
    assert_sentence(cutoff("runn"), "'runn'", "run, status")


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("tiny.yaml", "lora_rnak: 8", ["lora_rnak", "params/tiny.yaml", "'lora_rank'"]),
        ("tiny.yaml", "top_k: three", ["top_k", "params/tiny.yaml", "a whole number"]),
        ("tiny.yaml", "top_k: true", ["top_k", "a whole number"]),
        ("defaults.yaml", "seed: [1, 2]", ["seed", "params/defaults.yaml"]),
        ("tiny.yaml", "top_k: {", ["Cannot read params/tiny.yaml"]),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_place(cutoff, small_repository, file, line, words):
    path = small_repository / "params" / file
    path.write_text(path.read_text() + line + "\n")
    assert_sentence(cutoff("run"), *words)


def test_a_missing_default_is_named(cutoff, small_repository):
    path = small_repository / "params/defaults.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("lora_rank:")))
    assert_sentence(cutoff("run"), "defaults.yaml lacks lora_rank")


def test_an_output_folder_that_cannot_be_made_is_named(cutoff, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert_sentence(
        cutoff("run", f"output_dir={tmp_path}/file/x"), f"{tmp_path}/file", "output_dir"
    )


def test_a_cell_that_raises_our_error_shows_only_its_sentence(cutoff, change_notebook):
    change_notebook(
        "01_generate",
        "from cutoff.errors import CutoffError\nraise CutoffError('The GPU is too small.')",
    )
    done = cutoff("run")
    assert_sentence(done, "Error: The GPU is too small.\n", "01_generate.ipynb")


def test_a_cell_that_fails_otherwise_names_error_cell_and_partial_notebook(
    cutoff, change_notebook, small_repository
):
    change_notebook("01_generate", "print('before')\nx = {}['gone']")
    done = cutoff("run")
    partial = small_repository / "outputs/tiny/01_generate.ipynb"
    assert_sentence(done, "KeyError: 'gone'", "cell [4] of 01_generate", str(partial))
    assert "before" in partial.read_text()
    assert "will run: never completed" in cutoff("status").stdout


def test_a_misspelt_parameter_in_the_parameters_cell_is_named(cutoff, small_repository):
    path = small_repository / "notebooks/01_generate.ipynb"
    path.write_text(path.read_text().replace("limit = None", "limit = None\\nlora_rnak = 3"))
    assert_sentence(cutoff("run"), "'lora_rnak' in the parameters cell", "did you mean 'lora_rank'")


def test_a_kernel_that_dies_is_told_from_a_failing_cell(cutoff, change_notebook):
    change_notebook("01_generate", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert_sentence(cutoff("run"), "01_generate", "out of memory")


def test_a_stage_that_leaves_a_file_out_is_not_complete(cutoff, change_notebook):
    change_notebook("01_generate", "pass")
    assert_sentence(cutoff("run"), "01_generate", "index.faiss")


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from cutoff.__main__ import main
sys.exit(main(["run"]))
"""


def test_a_full_disk_is_said_in_a_sentence(environment, small_repository):
    # A limit on the size of files fails writes as a full disk does, without filling one.
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], env=environment, capture_output=True, text=True
    )
    assert_sentence(done, "File too large")


def test_a_missing_package_is_named_with_the_command_that_installs_it(environment):
    hide = "import sys; sys.modules['papermill'] = None; from cutoff.__main__ import main; "
    done = subprocess.run(
        [sys.executable, "-c", hide + "sys.exit(main(['run']))"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert_sentence(done, "papermill", "pip install -r requirements.txt")


def test_two_runs_of_one_size_do_not_meet(cutoff, small_repository):
    folder = small_repository / "outputs/tiny"
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another run would hold it
        assert_sentence(cutoff("run"), "Another run of size tiny", str(folder))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_with_all_its_processes(
    environment, change_notebook, small_repository, number
):
    change_notebook(
        "01_generate",
        """
        import subprocess, sys, pathlib, os
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path("pids").write_text(f"{os.getpid()} {child.pid}")
        child.wait()
        """,
    )
    started = subprocess.Popen(
        [sys.executable, "-m", "cutoff", "run"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Tests that run in the background inherit an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    pids = wait_for(small_repository / "pids").split()
    family = [psutil.Process(int(pid)) for pid in pids]
    started.send_signal(number)
    output, _ = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "Stopped. The next run goes on from here." in output
    assert "Traceback" not in output
    _, alive = psutil.wait_procs(family, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def wait_for(path):
    for _ in range(600):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")
