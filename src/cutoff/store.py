"""Append-only JSONL with keys: the memory that lets a killed run go on where it stood.

One record is one line and one ``write``. A kill can only tear the last line; opening the
store repairs it, and the work of that line is simply done again.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cutoff import files
from cutoff.errors import CutoffError

LOCK_WAIT_SECONDS = 10.0


class Store:
    """Records of ``path``, each with a unique text in its field ``key``.

    ``made_from`` is a hash of everything the records depend on. Records that were made
    from something else are set aside under their own hash, never mixed in and never lost:
    they come back when the same hash is asked for again. That, and a torn last line that was
    removed, is printed. One process at a time may hold a store open for writing.
    """

    def __init__(self, path: Path, made_from: str | None = None) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if made_from is not None:
            _switch(self.path, made_from)
        self._file = open(self.path, "a+b", buffering=0)
        self._keys: set[str] = set()
        try:
            self._lock()
            self._load()
        except BaseException:
            self._file.close()
            raise

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, record: dict[str, Any]) -> None:
        """Write one record; it is with the operating system when this returns."""
        key = record["key"]
        if key in self._keys:
            raise CutoffError(f"{self.path.name} already holds a record with the key {key!r}.")
        line = files.to_json(record) + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:]) or 0
        except OSError as error:
            self._file.truncate(end)  # a half-written line would hide behind the next one
            raise CutoffError(f"Cannot write {self.path}: {error.strerror}.") from None
        self._keys.add(key)

    def records(self) -> list[dict[str, Any]]:
        """All records in the order they were written."""
        return files.read_jsonl(self.path)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of ``keys`` that have no record yet, in the given order."""
        return [key for key in keys if key not in self._keys]

    def _lock(self) -> None:
        # A killed run's children need a second or two to notice; wait for them.
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while True:
            try:
                return fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise CutoffError(
                        f"Another process is writing {self.path}; wait for it or stop it."
                    ) from None
                time.sleep(0.1)
            except OSError:
                return None  # some network folders cannot lock; the store works without

    def _load(self) -> None:
        self._file.seek(0)
        *lines, rest = self._file.readall().split(b"\n")  # a whole file ends with a newline
        start = 0
        for number, line in enumerate([*lines, rest] if rest else lines, start=1):
            try:
                key = json.loads(line)["key"]
            except (ValueError, KeyError, TypeError):
                if number < len(lines) + bool(rest):
                    raise CutoffError(
                        f"{self.path}, line {number}, is not a record with the field 'key'; "
                        "remove the file to make it again."
                    ) from None
                self._file.truncate(start)
                print(f"{self.path.name}: removed a torn last line ({len(line)} bytes).")
                return
            if key in self._keys:
                raise CutoffError(f"{self.path}, line {number}, repeats the key {key!r}.")
            self._keys.add(key)
            start += len(line) + 1
        if rest:  # the record is whole, only its newline was lost
            self._file.write(b"\n")


def _switch(path: Path, made_from: str) -> None:
    """Let ``path`` hold the records of ``made_from``; park those of another hash beside it."""
    tag = path.with_name(path.name + ".made_from")
    current = tag.read_text(encoding="utf-8").strip() if tag.exists() else "unknown"
    if current != made_from:
        if path.exists():
            os.replace(path, parked := _parked(path, current))
            print(f"{path.name}: what made the records has changed; they are now {parked.name}.")
        # The tag goes first: a kill in between leaves an empty store, never foreign records.
        files.write_text_atomic(tag, made_from + "\n")
    if not path.exists() and _parked(path, made_from).exists():
        os.replace(_parked(path, made_from), path)


def _parked(path: Path, made_from: str) -> Path:
    return path.with_name(f"{path.stem}.{made_from[:12]}{path.suffix}")
