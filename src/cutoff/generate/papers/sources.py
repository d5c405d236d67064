"""What every source of papers offers: candidates, and the list of what was left out and why."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from cutoff.errors import CutoffError
from cutoff.generate.reading.document import Rejected
from cutoff.params import Params

PERIODS = ("post", "control")
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Candidate:
    """A paper that may be taken. Unknown texts are None.

    ``files`` gives its files, the best first; each is fetched only when it is asked for, and
    ``Rejected`` is raised if there is none (left). ``licence`` is asked for afterwards.
    """

    paper_id: str
    period: str  # post | control
    name: str  # for the list of rejections: the file or identifier as its source calls it
    files: Callable[[], Iterator[Path]]
    title: str | None = None
    first_version: str | None = None
    version: str | None = None
    licence: Callable[[], str | None] = lambda: None


def rejection(name: str, period: str | None, error: Rejected) -> dict[str, Any]:
    """A record of ``papers_rejected.jsonl``."""
    return {
        "file": name,
        "period": period,
        "stage": error.stage,
        "reason": error.reason,
        "detail": error.detail,
    }


def safe_name(paper_id: str) -> str:
    """``paper_id`` if it can be a file name on every system and stays in its folder.

    Raises ``CutoffError`` otherwise: an id comes from outside, and "../x" is one too.
    """
    if not SAFE_ID.fullmatch(paper_id) or ".." in paper_id:
        raise CutoffError(
            f"The paper id {paper_id!r} cannot be a file name; use letters, digits, '.', '_', '-'."
        )
    return paper_id


def make_id(name: str, taken: set[str]) -> str:
    """A safe id from any file name, different from those ``taken``, to which it is added."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-_")[:80] or "paper"
    number, found = 1, plain
    while found.lower() in taken:  # some file systems do not tell A from a
        number += 1
        found = f"{plain}-{number}"
    taken.add(found.lower())
    return safe_name(found)


def window(p: Params, period: str, today: date) -> tuple[date, date]:
    """First and last day of the first versions of a period; raises ``CutoffError``."""
    names = (f"{period}_from", f"{period}_until")
    first, last = (to_date(getattr(p, name) or today.isoformat(), name) for name in names)
    if first > last:
        raise CutoffError(f"{names[0]} = {first} lies after {names[1]} = {last}; change one.")
    if period == "control" and last >= to_date(p.post_from, "post_from"):
        raise CutoffError(
            f"control_until = {last} must lie before post_from = {p.post_from}: "
            "control papers are from before the cutoff."
        )
    return first, last


def to_date(value: str, name: str) -> date:
    """A day written as 2024-12-01; ``name`` says in the error where it stands."""
    try:
        return date.fromisoformat(value.strip())
    except ValueError:
        raise CutoffError(f"{name} = {value!r} must be a day such as 2024-12-01.") from None
