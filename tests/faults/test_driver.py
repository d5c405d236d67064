"""The driver repeats what changed and nothing else."""

import json
import os

import pytest


def ran(done):
    """Names of the stages that ran, from the driver's lines."""
    assert done.returncode == 0, done.stdout + done.stderr
    return [line[:2] for line in done.stdout.splitlines() if " done (" in line]


ALL = ["01", "02", "03", "04", "05"]


@pytest.fixture
def complete(cutoff, small_repository):
    """A repository whose run of size tiny is complete; gives its results folder."""
    assert ran(cutoff("run")) == ALL
    return small_repository / "outputs"


def test_only_what_changed_runs_again(complete, cutoff, change_notebook, small_repository):
    before = (complete / "index.html").stat().st_mtime_ns
    repeat = cutoff("run")
    assert ran(repeat) == []
    assert repeat.stdout.count("up to date") == 5
    assert repeat.stderr == ""
    assert (complete / "index.html").stat().st_mtime_ns == before

    # 05 shows what every stage took.
    assert ran(cutoff("run", "bootstrap_replicates=500")) == ["04", "05"]
    assert ran(cutoff("run", "lora_rank=8", "bootstrap_replicates=500")) == ALL[1:]

    (complete / "tiny/parity.json").unlink()
    again = ran(cutoff("run", "lora_rank=8", "bootstrap_replicates=500"))
    assert again == ["03", "05"]  # its key is what it was: what follows stays valid

    assert ran(cutoff("run", "stage=04_evaluate", "force=1", "lora_rank=8")) == ["04"]

    (small_repository / "notebooks/04_evaluate.ipynb").write_text(
        (small_repository / "notebooks/04_evaluate.ipynb").read_text().replace("small", "new")
    )
    assert ran(cutoff("run", "lora_rank=8")) == ["04", "05"]


def test_a_stage_alone_names_the_earlier_stage_that_is_missing(cutoff, small_repository):
    done = cutoff("run", "stage=03_export_gguf")
    assert done.returncode == 1
    assert "01_generate is not up to date (never completed)" in done.stderr
    assert ran(cutoff("run", "stage=01")) == ["01"]
    done = cutoff("run", "stage=03_export_gguf")
    assert "02_finetune is not up to date (never completed)" in done.stderr


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
    status = cutoff("status").stdout
    assert status.count("complete,") == 5


def test_a_trial_does_not_touch_the_complete_run(complete, cutoff):
    before = {p: p.stat().st_mtime_ns for p in complete.glob("tiny/*") if p.is_file()}
    assert ran(cutoff("run", "limit=3")) == ALL
    assert (complete / "limit-3/tiny/results.json").exists()
    assert before == {p: p.stat().st_mtime_ns for p in complete.glob("tiny/*") if p.is_file()}
    assert ran(cutoff("run")) == []


def test_make_hands_over_values_as_they_were_written(environment):
    """Blanks, quotes, dollars and backslashes reach the driver through make unchanged."""
    import subprocess
    import sys

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


def test_a_deadline_stops_the_run_and_the_next_one_goes_on(
    cutoff, change_notebook, small_repository
):
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
