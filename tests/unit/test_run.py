"""Files are whole, folders are where they should be, provenance is complete."""

import os
from pathlib import Path

import numpy as np
import pytest

from cutoff import __main__, files, params, paths
from cutoff.errors import CutoffError
from cutoff.run import folders, provenance, stages


@pytest.fixture
def p(tmp_path):
    return params.load("tiny", {"output_dir": str(tmp_path)})


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    files.write_json_atomic(path, {"n": 1})
    with pytest.raises((TypeError, ValueError)):
        files.write_json_atomic(path, {"n": float("nan")})
    with pytest.raises(TypeError):
        files.write_jsonl_atomic(path, [{"n": 1}, {"n": object()}])
    assert files.read_json(path) == {"n": 1}
    assert os.listdir(tmp_path) == ["results.json"]


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    path = tmp_path / "x.json"
    files.write_json_atomic(path, {"n": np.int64(3), "x": np.float32(0.5), "a": np.arange(2)})
    assert files.read_json(path) == {"n": 3, "x": 0.5, "a": [0, 1]}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CutoffError, match="Cannot write .*file/x.json"):
        files.write_json_atomic(tmp_path / "file" / "x.json", {})


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(CutoffError, match="x.jsonl, line 2"):
        files.read_jsonl(tmp_path / "x.jsonl")
    with pytest.raises(CutoffError, match="does not exist"):
        files.read_json(tmp_path / "y.json")


def test_a_missing_input_names_the_stage_that_makes_it(p):
    stage = folders.open_stage("02_finetune", p)
    with pytest.raises(CutoffError, match="which 01_generate writes; run `make size=tiny"):
        stage.require(stage.dataset_folder / "train.jsonl", made_by="01_generate")


def test_folders_are_those_of_the_size_the_data_set_the_comparison_and_the_trial(p, tmp_path):
    stage = folders.open_stage("04_evaluate", p)
    assert stage.folder == tmp_path / "tiny"
    assert stage.dataset_folder == tmp_path / "datasets" / paths.dataset_id(p)
    assert folders.open_stage("05_compare_sizes", p).folder == tmp_path / "compare"
    trial = folders.open_stage("04_evaluate", p.model_copy(update={"limit": 5}))
    assert trial.folder == tmp_path / "limit-5" / "tiny"
    assert trial.outputs == tmp_path / "limit-5"


def test_figures_add_up_and_stages_do_not_mix(p):
    one, two = folders.open_stage("01_generate", p), folders.open_stage("02_finetune", p)
    one.record(papers=3)
    two.record(loss=0.5)
    one.record(passages=9)
    entries = folders.read_run(one.folder)["stages"]
    assert entries["01_generate"]["figures"] == {"papers": 3, "passages": 9}
    assert entries["02_finetune"]["figures"] == {"loss": 0.5}


def test_provenance_shows_and_keeps_every_parameter(p):
    stage = folders.open_stage("01_generate", p)
    shown = stage.provenance()._repr_html_()
    kept = folders.read_run(stage.folder)["stages"]["01_generate"]["provenance"]
    assert kept["parameters"] == p.as_dict()
    for name in [*p.as_dict(), "torch", "seed", "GPU", "prompts"]:
        assert name in shown
    assert "<script>" not in provenance.Provenance({"<script>": {"a": "<script>"}})._repr_html_()


@pytest.mark.parametrize(
    "table",
    [
        b"item,label\na-1,pass\n",
        "item;question;label\r\na-1;é;pass\r\n".encode("utf-8-sig"),
        "item\tlabel\r\na-1\tpass\r\n".encode("utf-16"),
        "item,label,é\na-1,pass,".encode("cp1252"),
        b'item,label\na-1,"pass',
    ],
)
def test_labels_are_seen_however_a_spreadsheet_has_saved_them(table: bytes, tmp_path: Path) -> None:
    assert stages.labels(tmp_path) == ""
    (tmp_path / "calibration.csv").write_bytes(table)
    assert stages.labels(tmp_path)
    (tmp_path / "calibration.csv").write_bytes("item;label\r\na-1; \r\n".encode("utf-8-sig"))
    assert stages.labels(tmp_path) == ""


def test_labels_are_removed_only_where_it_is_said(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "tiny"
    files.write_json_atomic(folder / "run.json", {"stages": {}})
    (folder / "calibration.csv").write_bytes("item;label\r\na-1;pass\r\n".encode("utf-8-sig"))
    clean = ["clean", f"output_dir={tmp_path}"]
    assert __main__.main(clean) == 1 and folder.exists()
    assert "give yes=1 to remove them" in capsys.readouterr().err
    assert __main__.main([*clean, "yes=1"]) == 0 and not folder.exists()
