"""Vectors on disk by the hash of what they were made from: one SQLite file per model.

A cache may be lost at any time and nothing is lost with it: a damaged file is made again, a
file that cannot be used (locked, read-only, disk full) is gone around.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

UNIT = 1e-3  # how far from 1 the length of a kept vector may be
AT_ONCE = 500  # keys per query; SQLite takes 999 or more
WAIT_SECONDS = 30.0  # for another process that is writing


class VectorCache:
    """Unit vectors (float32) by key (bytes). Several processes may share one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The vectors that are known, by key; what is damaged counts as unknown."""
        distinct = list(dict.fromkeys(keys))
        found: dict[bytes, bytes] = {}

        def select(connection: sqlite3.Connection) -> None:
            for start in range(0, len(distinct), AT_ONCE):
                part = distinct[start : start + AT_ONCE]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, vector FROM vectors WHERE key IN ({marks})"
                found.update(connection.execute(query, part))

        if self.path.exists():
            self._attempt(select)
        return _sound(found)

    def write(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        """Add ``vectors``, all of them or, after a kill, none."""
        rows = [(key, np.asarray(v, dtype="<f4").tobytes()) for key, v in vectors.items()]

        def insert(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

        self._attempt(insert)

    def _attempt(self, action: Callable[[sqlite3.Connection], None]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=WAIT_SECONDS)) as connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB)"
                )
                action(connection)
        except (sqlite3.OperationalError, OSError):
            pass  # cannot be used now: the vectors are made again, nothing else changes
        except sqlite3.DatabaseError:
            self.path.unlink(missing_ok=True)  # damaged


def _sound(found: Mapping[bytes, bytes]) -> dict[bytes, np.ndarray]:
    """The vectors of unit length and of the common dimension."""
    if not found:
        return {}
    sizes = [len(stored) for stored in found.values()]
    common = max(set(sizes), key=sizes.count)
    vectors = {
        key: np.frombuffer(stored, dtype="<f4")
        for key, stored in found.items()
        if len(stored) == common and common % 4 == 0
    }
    return {key: v for key, v in vectors.items() if abs(float(v @ v) - 1) < UNIT}
