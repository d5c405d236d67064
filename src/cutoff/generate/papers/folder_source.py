"""A folder of your own papers: ``post/``, ``control/``, and ``papers.csv`` with what is known.

A file directly in the folder counts as ``post``. ``papers.csv`` (all but ``file`` may be empty):

    file,title,first_version,licence
    post/smith.pdf,On Looms,2025-03-01,CC BY 4.0
"""

import random
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from cutoff import files, paths
from cutoff.errors import CutoffError
from cutoff.generate.papers import sources
from cutoff.generate.papers.sources import Candidate
from cutoff.generate.reading.document import Rejected, kind_of
from cutoff.params import Params

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
) -> tuple[dict[str, list[Candidate]], list[dict[str, Any]]]:
    """Candidates of each period in seeded order, and rejections of what cannot be one.

    The files are copied to ``target`` when they are asked for.
    """
    root = locate(p).resolve()
    known, rejected = _known(root)
    today = today or date.today()
    windows = {period: sources.window(p, period, today) for period in sources.PERIODS}
    found: dict[str, list[Candidate]] = {period: [] for period in sources.PERIODS}
    taken: set[str] = set()
    for period, path in _files(root):
        name = path.relative_to(root).as_posix()
        facts = known.get(name, {})
        day = facts.get("first_version")
        try:
            _check(path, root)
            _check_day(day, name, period, windows[period])
        except Rejected as error:
            rejected.append(sources.rejection(name, period, error))
            continue
        paper_id = sources.make_id(path.stem, taken)
        found[period].append(
            Candidate(
                paper_id=paper_id,
                period=period,
                name=name,
                files=partial(_copy, path, target / f"{paper_id}{path.suffix.lower()}"),
                title=facts.get("title"),
                first_version=day,
                licence=partial(facts.get, "licence"),
            )
        )
    for period, those in found.items():
        random.Random(f"{p.seed} folder {period}").shuffle(those)
    return found, rejected


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Period and path of everything that could be a paper."""
    for period, folder in (("post", root), ("post", root / "post"), ("control", root / "control")):
        if not folder.is_dir() or not _is_inside(folder, root):
            continue
        for path in sorted(folder.iterdir()):
            hidden = path.name.startswith(".") or path == root / LIST
            if not hidden and not (path.is_dir() and not path.is_symlink()):
                yield period, path


def _is_inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root)


def _check(path: Path, root: Path) -> None:
    """Raise ``Rejected`` for links that leave the folder and for what is no file."""
    if not _is_inside(path, root):
        raise Rejected("link out of the folder", "copy the file into it instead", "folder")
    if not path.is_file():
        raise Rejected("no regular file", stage="folder")


def _check_day(day: str | None, name: str, period: str, window: tuple[date, date]) -> None:
    """Raise ``Rejected`` for a day outside the window of its period, ``CutoffError`` for none."""
    first, last = window
    if day and not first <= sources.to_date(day, f"first_version of {name}") <= last:
        span = f"{period}_from {first} ... {period}_until {last}"
        raise Rejected("date outside its period", f"{day} is not in {span}", "folder")


def _copy(path: Path, copy: Path) -> Iterator[Path]:
    try:
        kind_of(path)  # size and disguise, before anything is read whole
        files.write_bytes_atomic(copy, path.read_bytes())
    except Rejected as error:
        raise Rejected(error.reason, error.detail, "file") from None
    except OSError as error:
        raise Rejected("cannot be opened", error.strerror or "", "file") from None
    yield copy


def _known(root: Path) -> tuple[dict[str, dict[str, str | None]], list[dict[str, Any]]]:
    """Rows of ``papers.csv`` by file, and rejections of rows whose file is not to be had."""
    path = root / LIST
    if not path.is_file():
        return {}, []
    names, rows = files.read_table(path, otherwise="cp1252")
    if rows and (None in rows[0][1] or not set(names) <= set(COLUMNS) or "file" not in names):
        raise CutoffError(f"The first line of {path} must name columns of {','.join(COLUMNS)}.")
    known: dict[str, dict[str, str | None]] = {}
    rejected = []
    for _, row in rows:
        name = (row.get("file") or "").strip()
        inside = _is_inside(root / name, root)
        if name and inside and (root / name).is_file():
            key = Path(name).as_posix()
            known[key] = {k: v.strip() or None for k, v in row.items() if k and v is not None}
        elif name:
            reason = "no such file" if inside else "outside the folder"
            rejected.append(sources.rejection(name, None, Rejected(reason, LIST, "folder")))
    return known, rejected
