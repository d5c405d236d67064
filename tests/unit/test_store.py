"""Whatever a kill leaves behind, no record is lost or doubled."""

import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutoff import paths, store
from cutoff.errors import CutoffError
from cutoff.store import Store

# The last holds half a character, as a model can produce it.
RECORDS = [
    {"key": "a", "text": 'ü\u2028\n"q"'},
    {"key": "b", "n": 1.5},
    {"key": "c", "x": "\ud83d"},
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "responses.jsonl"


def fill(path, records=RECORDS):
    with Store(path) as opened:
        for record in records:
            opened.append(record)
    return path.read_bytes()


@pytest.mark.parametrize("torn", [b'{"key": "d", "te', b"\0" * 40, b'{"other": 1}'])
def test_a_torn_last_line_is_removed_and_told_and_the_rest_is_read_in_order(path, torn, capsys):
    whole = fill(path)
    path.write_bytes(whole + torn)  # zeros: after a power cut
    with Store(path) as opened:
        assert opened.records() == RECORDS
        assert "b" in opened and "d" not in opened and len(opened) == 3
        assert opened.missing(["d", "a", "e"]) == ["d", "e"]
    assert "torn last line" in capsys.readouterr().out
    with Store(path):
        assert capsys.readouterr().out == ""


def test_a_file_torn_at_any_byte_keeps_every_complete_record(path):
    whole = fill(path)
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        with Store(path) as opened:
            kept = len(opened)
            assert kept >= whole[:end].count(b"\n")
            for record in RECORDS[kept:]:
                opened.append(record)
            assert opened.records() == RECORDS
        assert path.read_bytes() == whole


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(path):
    whole = fill(path).split(b"\n")
    path.write_bytes(b"\n".join([whole[0], b'{"key": ', *whole[2:]]))
    with pytest.raises(CutoffError, match="line 2"):
        Store(path)


def test_a_key_is_written_once(path):
    with Store(path) as opened:
        opened.append({"key": "a"})
        with pytest.raises(CutoffError, match="'a'"):
            opened.append({"key": "a"})
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(CutoffError, match="repeats the key 'a'"):
        Store(path)


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.booleans()))
def test_any_text_survives(tmp_path_factory, fields):
    path = tmp_path_factory.mktemp("store") / "x.jsonl"
    record = {**fields, "key": "k"}
    fill(path, [record])
    with Store(path) as opened:
        assert opened.records() == [record]
    assert path.read_bytes().count(b"\n") == 1


def test_not_a_number_is_refused_and_leaves_no_trace(path):
    with Store(path) as opened:
        with pytest.raises(ValueError, match="JSON compliant"):
            opened.append({"key": "a", "score": float("nan")})
        opened.append({"key": "a", "score": None})
        assert len(opened.records()) == 1


def test_records_of_other_inputs_are_set_aside_and_come_back(path):
    first, second = "1" * 64, "2" * 64
    with Store(path, made_from=first) as opened:
        opened.append({"key": "a", "of": 1})
    with Store(path, made_from=second) as opened:
        assert len(opened) == 0
        opened.append({"key": "a", "of": 2})
    for made_from, of in ((first, 1), (second, 2), (first, 1)):
        with Store(path, made_from=made_from) as opened:
            assert opened.records() == [{"key": "a", "of": of}]


def test_two_writers_cannot_meet(path, monkeypatch):
    monkeypatch.setattr(store, "LOCK_WAIT_SECONDS", 0.2)
    with Store(path), pytest.raises(CutoffError, match="Another process"):
        Store(path)
    with Store(path):
        pass


WRITER = """
import sys
from cutoff.store import Store
with Store(sys.argv[1]) as store:
    print("open", flush=True)
    for n in range(len(store), 10**9):
        store.append({"key": str(n), "text": "x" * 5000})
"""


def test_a_killed_writer_leaves_a_store_that_goes_on(path):
    counts = []
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(paths.root() / "src")},
        )
        writer.stdout.readline()
        enough = path.stat().st_size + 200_000
        while path.stat().st_size < enough:
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        with Store(path) as opened:
            counts.append(len(opened))
            assert [record["key"] for record in opened.records()] == [
                str(n) for n in range(counts[-1])
            ]
    assert counts[0] < counts[1] < counts[2]


LIMITED = """
import resource, sys
from cutoff.errors import CutoffError
from cutoff.store import Store
with Store(sys.argv[1]) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        for n in range(100):
            store.append({"key": str(n), "text": "x" * 90})
    except CutoffError as error:
        print(error)
"""


def test_a_full_disk_leaves_only_whole_records(path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        env={**os.environ, "PYTHONPATH": str(paths.root() / "src")},
        capture_output=True,
        text=True,
    )
    assert f"Cannot write {path}" in done.stdout, done.stderr
    lines = path.read_bytes().splitlines(keepends=True)
    assert lines and all(json.loads(line) and line.endswith(b"\n") for line in lines)
