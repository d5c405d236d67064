"""A folder of your own papers: ``post/``, ``control/``, and ``papers.csv`` with what is known.

A file directly in the folder counts as ``post``. ``papers.csv`` (all but ``file`` may be empty):

    file,title,first_version,licence
    post/smith.pdf,On Looms,2025-03-01,CC BY 4.0
"""

import csv
import hashlib
import io
import random
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from cutoff import files, paths
from cutoff.errors import CutoffError
from cutoff.generate.papers import sources
from cutoff.generate.papers.sources import Candidate, Rejected
from cutoff.generate.reading import reader
from cutoff.generate.reading.text_reader import decode
from cutoff.params import Params

Record = dict[str, Any]

LIST = "papers.csv"
COLUMNS = ("file", "title", "first_version", "licence")


def locate(p: Params) -> Path:
    """The folder ``papers_folder``, absolute or relative to the repository."""
    if p.papers_folder is None:
        raise CutoffError(
            "paper_source = folder needs papers_folder: a folder with post/ and control/ in it."
        )
    folder = paths.root() / Path(p.papers_folder).expanduser()
    if not folder.is_dir():
        raise CutoffError(f"papers_folder = {p.papers_folder} is no folder; give the path of one.")
    return folder


def candidates(
    p: Params, target: Path, today: date | None = None
) -> tuple[dict[str, list[Candidate]], list[Record]]:
    """Candidates of each period in seeded order, and rejections of what cannot be one.

    The files are copied to ``target`` when they are asked for.
    """
    root = locate(p)
    known, rejected = _known(root)
    windows = {
        period: sources.window(p, period, today or date.today()) for period in ("post", "control")
    }
    found: dict[str, list[Candidate]] = {"post": [], "control": []}
    taken: set[str] = set()
    for period, path in _files(root):
        name = path.relative_to(root).as_posix()
        facts = known.get(name, {})
        try:
            _check(path, root)
            day = facts.get("first_version")
            first, last = windows[period]
            if day and not first <= sources.to_date(day, f"first_version of {name}") <= last:
                raise Rejected(
                    "folder",
                    "date outside its period",
                    f"{day} is not in {period}_from {first} ... {period}_until {last}",
                )
        except Rejected as error:
            rejected.append(rejection(name, period, error))
            continue
        paper_id = sources.make_id(path.stem, taken)
        copy = target / f"{paper_id}{path.suffix.lower()}"
        found[period].append(
            Candidate(
                paper_id=paper_id,
                period=period,
                name=name,
                files=partial(_copy, path, copy),
                title=facts.get("title"),
                first_version=day,
                licence=partial(facts.get, "licence"),
            )
        )
    for period, those in found.items():
        random.Random(f"{p.seed} folder {period}").shuffle(those)
    return found, rejected


def fingerprint(p: Params) -> str:
    """Hash of names and contents of the folder: a data set of other files is another one."""
    root = locate(p)
    digest = hashlib.sha256()
    for path in [root / LIST, *(path for _, path in _files(root))]:
        readable = path.is_file() and path.resolve().is_relative_to(root.resolve())
        content = files.sha256_file(path) if readable else ""
        digest.update(f"{path.relative_to(root).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()


def rejection(name: str, period: str | None, error: Rejected) -> Record:
    """A record of ``papers_rejected.jsonl``."""
    return {
        "file": name,
        "period": period,
        "stage": error.stage,
        "reason": error.reason,
        "detail": error.detail,
    }


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    for period, folder in (("post", root), ("post", root / "post"), ("control", root / "control")):
        if not folder.is_dir() or not folder.resolve().is_relative_to(root.resolve()):
            continue
        for path in sorted(folder.iterdir()):
            hidden = path.name.startswith(".") or path == root / LIST
            if not hidden and not (path.is_dir() and not path.is_symlink()):
                yield period, path


def _check(path: Path, root: Path) -> None:
    """Raise ``Rejected`` for links that leave the folder and for what is no file."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise Rejected("folder", "link out of the folder", "copy the file into it instead")
    if not path.is_file():
        raise Rejected("folder", "no regular file")


def _copy(path: Path, copy: Path) -> Iterator[Path]:
    try:
        reader.kind_of(path)  # size and disguise, before anything is read whole
        files.write_bytes_atomic(copy, path.read_bytes())
    except reader.Unreadable as error:
        raise Rejected("file", error.reason, error.detail) from None
    except OSError as error:
        raise Rejected("file", "cannot be opened", error.strerror or "") from None
    yield copy


def _known(root: Path) -> tuple[dict[str, Record], list[Record]]:
    """Rows of ``papers.csv`` by file, and rejections of rows whose file is not to be had."""
    path = root / LIST
    if not path.is_file():
        return {}, []
    try:
        rows = list(csv.DictReader(io.StringIO(decode(path.read_bytes()))))
    except (csv.Error, reader.Unreadable, OSError) as error:
        raise CutoffError(f"Cannot read {path} ({error}); save it as CSV in UTF-8.") from None
    if rows and (None in rows[0] or not set(rows[0]) <= set(COLUMNS) or "file" not in rows[0]):
        raise CutoffError(f"The first line of {path} must name columns of {','.join(COLUMNS)}.")
    known: dict[str, Record] = {}
    rejected = []
    for row in rows:
        name = (row.get("file") or "").strip()
        inside = (root / name).resolve().is_relative_to(root.resolve()) if name else False
        if name and inside and (root / name).is_file():
            key = Path(name).as_posix()
            known[key] = {k: v.strip() or None for k, v in row.items() if k and v is not None}
        elif name:
            reason = "no such file" if inside else "outside the folder"
            rejected.append(rejection(name, None, Rejected("folder", reason, LIST)))
    return known, rejected
