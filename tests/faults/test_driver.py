"""The driver repeats what changed and nothing else."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from cutoff import params
from cutoff.run import stages

ALL = ["01", "02", "03", "04", "05"]


def ran(done):
    """Names of the stages that ran, from the driver's lines."""
    assert done.returncode == 0, done.stdout + done.stderr
    return [line[:2] for line in done.stdout.splitlines() if " done (" in line]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_repository, run_cutoff):
    """A repository whose run of size tiny is complete, and nobody's to change."""
    folder = make_repository(tmp_path_factory.mktemp("finished") / "a repository")
    assert ran(run_cutoff(folder, "run")) == ALL
    return folder


@pytest.fixture
def complete(finished, small_repository, monkeypatch):
    """A copy of it, as this process and ``cutoff`` see the repository; gives its results."""
    shutil.rmtree(small_repository)
    shutil.copytree(finished, small_repository)
    monkeypatch.setenv("CUTOFF_ROOT", str(small_repository))
    return small_repository / "outputs"


def stale(**overrides):
    """The stages that would run."""
    p = params.load("tiny", overrides)
    return [s.name[:2] for s in stages.STAGES if stages.why_not_current(s, p) is not None]


def test_a_change_makes_its_stage_and_the_later_ones_stale(
    complete, change_notebook, small_repository, monkeypatch
):
    assert stale() == []
    assert stale(bootstrap_replicates=500) == ["04"]  # and then 05, which shows what 04 left
    assert stale(lora_rank=8) == ["02", "03", "04"]
    assert stale(top_k=2) == ["01", "02", "03", "04"]
    assert stale(output_dir="elsewhere") == ALL
    (complete / "tiny/parity.json").rename(complete / "tiny/moved.json")
    assert stale() == ["03"]  # its key is what it was: what follows stays valid
    (complete / "tiny/moved.json").rename(complete / "tiny/parity.json")
    change_notebook("04_evaluate", "pass")
    assert stale() == ["04"]
    monkeypatch.setattr(stages, "_package_hash", lambda: b"other code")
    assert stale() == ALL


def test_only_what_is_stale_runs_again(complete, cutoff):
    before = (complete / "index.html").stat().st_mtime_ns
    repeat = cutoff("run")
    assert ran(repeat) == []
    assert repeat.stdout.count("up to date") == 5
    assert repeat.stderr == ""
    assert (complete / "index.html").stat().st_mtime_ns == before
    (complete / "tiny/results.json").unlink()
    assert ran(cutoff("run")) == ["04", "05"]
    assert ran(cutoff("run", "stage=03", "force=1")) == ["03"]


def test_a_stage_alone_names_the_earlier_stage_that_is_missing(complete, cutoff):
    (complete / "tiny/run.json").unlink()
    done = cutoff("run", "stage=03_export_gguf")
    assert done.returncode == 1
    assert "01_generate is not up to date (never completed)" in done.stderr


def test_a_finished_run_says_what_it_cost_and_is_listed(complete, cutoff):
    entries = json.loads((complete / "tiny/run.json").read_text())["stages"]
    for name in ("01_generate", "02_finetune", "03_export_gguf", "04_evaluate"):
        assert entries[name]["seconds"] > 0
        assert entries[name]["peak_rss_mb"] > 30
        assert entries[name]["provenance"]["parameters"]["lora_rank"] == 16
    index = (complete / "index.html").read_text()
    assert "Rank 16 was used." in index
    assert 'href="tiny/04_evaluate.html"' in index
    assert 'href="compare/05_compare_sizes.html"' in index
    assert cutoff("status").stdout.count("complete,") == 5


def test_make_hands_over_values_as_they_were_written(environment):
    """Blanks, quotes, dollars and backslashes reach the driver through make unchanged."""
    values = {
        "output_dir": "/tmp/a b  c",
        "base_model": 'it\'s "q" \\ back;$(id)',
        "embedding_model": "${HOME}",
    }
    show = "import json; from cutoff.__main__ import make_line; print(json.dumps(make_line()))"
    make = ["make", "-s", "-f", "-", f"PYTHON={sys.executable}", "show", "-k", "-j2"]
    make += [f"{name}={value.replace('$', '$$')}" for name, value in values.items()]
    recipe = f"show:\n\t@'{sys.executable}' -c '{show}'\n"
    done = subprocess.run(make, input=recipe, env=environment, capture_output=True, text=True)
    found = dict(word.split("=", 1) for word in json.loads(done.stdout))
    assert found["output_dir"] == values["output_dir"]
    assert found["base_model"] == values["base_model"].replace("$", "$$") or found == values
    assert "PYTHON" not in found


def test_a_kernel_of_the_user_is_not_taken_for_ours(cutoff, environment, tmp_path):
    """Another ``python3`` kernel registered for the user must not run our notebooks."""
    spec = tmp_path / "jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}))
    environment["JUPYTER_DATA_DIR"] = str(tmp_path / "jupyter")
    environment["HOME"] = str(tmp_path)
    assert ran(cutoff("run", "stage=01_generate")) == ["01"]
    assert "IPYTHONDIR" not in os.environ


def test_a_deadline_stops_the_run_and_the_next_one_goes_on(complete, cutoff, change_notebook):
    body = """
        import os
        from cutoff import deadline
        os.environ[deadline.VARIABLE] = "0"
        deadline.check("step 5 of 9 is kept")
        """
    change_notebook("02_finetune", body)
    done = cutoff("run")
    assert done.returncode == 75
    assert "Stopped: deadline_minutes reached: step 5 of 9 is kept. Run again" in done.stderr
    assert "Traceback" not in done.stderr and "Error" not in done.stderr
    late = cutoff("run", "deadline_minutes=0.1")  # no more than the margin
    assert late.returncode == 75 and "02_finetune has not been started" in late.stderr
    assert "01_generate       up to date" in late.stdout
