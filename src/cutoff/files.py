"""Files: replaced atomically, so that a kill leaves the old file or the new one."""

import csv
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from cutoff.errors import CutoffError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def to_json(value: Any, indent: int | None = None) -> bytes:
    """UTF-8 JSON. NaN is refused: a missing number is null and must be written as None."""

    def plain(other: Any) -> Any:
        if hasattr(other, "tolist"):  # numpy scalars and arrays
            return other.tolist()
        if isinstance(other, Path):
            return other.as_posix()
        raise TypeError(f"{type(other).__name__} cannot be written as JSON")

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, default=plain)
    # Half a surrogate pair (a model can produce one) becomes its \\uXXXX escape.
    return text.encode("utf-8", "backslashreplace")


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` in one step: after a kill it is the old file or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        try:
            part.unlink(missing_ok=True)
        except OSError:
            pass  # the first error is the one to report
        raise CutoffError(f"Cannot write {path}: {error.strerror}.") from None


def write_text_atomic(path: Path, text: str) -> None:
    """``write_bytes_atomic`` for UTF-8 text."""
    write_bytes_atomic(path, text.encode("utf-8", "backslashreplace"))


def write_json_atomic(path: Path, obj: Any) -> None:
    """Write ``obj`` as readable JSON in one step."""
    write_bytes_atomic(path, to_json(obj, indent=1) + b"\n")


def write_jsonl_atomic(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write all ``records``, one a line, in one step."""
    write_bytes_atomic(path, b"".join(to_json(record) + b"\n" for record in records))


def read_json(path: Path) -> Any:
    """Content of a JSON file; a damaged one is an error that names it."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CutoffError(f"{path} does not exist.") from None
    except ValueError as error:
        raise CutoffError(f"{path} is damaged ({error}); remove it and run again.") from None


def read_jsonl(path: Path) -> list[Any]:
    """Records of a JSONL file; a damaged line is an error that names it."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise CutoffError(f"{path} does not exist.") from None
    records = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise CutoffError(f"{path}, line {number}, is damaged ({error}).") from None
    return records


def read_table(
    path: Path, otherwise: str | None = None
) -> tuple[list[str], list[tuple[int, dict[Any, Any]]]]:
    """Column names and (line number, row) of a table that a person has saved from a spreadsheet.

    Commas, semicolons or tabs; UTF-8 or, with its mark, UTF-16, or the encoding ``otherwise``.
    Raises ``CutoffError`` for what is in none of them and for damaged quotes. A row with too few
    cells holds None, one with too many has the key None.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        if otherwise is not None:
            return _rows(path, data.decode(otherwise, errors="replace"))
        raise CutoffError(
            f"{path.name} is not UTF-8; save it as 'CSV UTF-8' in the spreadsheet."
        ) from None
    return _rows(path, text)


def _rows(path: Path, text: str) -> tuple[list[str], list[tuple[int, dict[Any, Any]]]]:
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise CutoffError(f"{path.name}, line {reader.line_num}, is damaged ({error}).") from None
    return list(reader.fieldnames or ()), rows


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex; an unchanged file is read once per process."""
    found = path.stat()
    return _sha256(path, found.st_size, found.st_mtime_ns, found.st_ino)


@lru_cache(maxsize=256)
def _sha256(path: Path, *_: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_folder(folder: Path) -> None:
    """Create ``folder`` with its parents, or say why it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CutoffError(
            f"Cannot create {folder}: {error.strerror}; choose another output_dir."
        ) from None


def require_space(target: Path, n_bytes: int) -> None:
    """Raise ``CutoffError`` where ``n_bytes`` do not fit beside what lies there already."""
    free = shutil.disk_usage(target.parent).free
    if n_bytes > free:
        raise CutoffError(
            f"{target.name} needs {n_bytes / 1e9:.1f} GB in {target.parent}, where "
            f"{free / 1e9:.1f} GB are free. Free some space or choose another output_dir."
        )
