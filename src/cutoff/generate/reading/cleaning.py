"""Characters and words of extracted text: what nobody sees goes, what a line broke is mended.

Nothing here knows where a text came from. No word of the text is lost; what changes are
control characters, ligatures, accents that stand beside their letter, and hyphens at a line's end.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

BROKEN_WORD = "\ufffe"  # PDFium's mark for a hyphen at the end of a line
HYPHENS = f"-\u00ad\u2010{BROKEN_WORD}"
DAMAGE = "\ufffd"  # the mark for a character that could not be read
# Control and formatting characters (right-to-left marks among them), halves of surrogate
# pairs, unassigned ones, and private ones, which mean something in one font only.
UNSEEN = ("Cc", "Cf", "Cs", "Cn", "Co")
LIGATURES = {chr(0xFB00 + n): text for n, text in enumerate("ff fi fl ffi ffl st st".split())}
# TeX's old fonts print an accent beside its letter: "Gr¨un".
ACCENTS = {
    "`": "\u0300", "´": "\u0301", "ˆ": "\u0302", "˜": "\u0303", "¨": "\u0308", "˚": "\u030a",
    "ˇ": "\u030c", "¸": "\u0327", "¯": "\u0304", "˘": "\u0306", "˙": "\u0307", "˝": "\u030b",
}  # fmt: skip
SIGNS = "".join(ACCENTS)
ACCENTED = re.compile(rf"(?<=\w)([{SIGNS}]) ?([A-Za-zı])|([{SIGNS}])([A-Za-zı])")


@dataclass(frozen=True)
class Line:
    """One printed line: its page (from 1), text, letter height in points and weight.

    ``left``, ``right``, ``bottom`` are in points from the lower left corner of the page; all
    are 0 where the place is not known. ``gaps`` holds (position in the text, left end, right
    end) of the wide blanks in it, ``font`` the name of its first letter's font (of the alphabet).
    """

    page: int
    text: str
    height: float
    bold: bool
    left: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    gaps: tuple[tuple[int, float, float], ...] = ()
    font: str = ""


def clean(text: str) -> str:
    """``text`` with single blanks and without characters that nobody sees.

    Models stumble over them, and a person who checks a passage cannot see why. Ligatures
    become letters, accents join their letter.
    """
    if not text.isascii():
        text = "".join(LIGATURES.get(c, c) for c in text)
        text = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in UNSEEN)
        text = ACCENTED.sub(_accented, text)
    else:
        text = "".join(c for c in text if c.isprintable() or c.isspace())
    return " ".join("".join(text).split())


def _accented(match: re.Match[str]) -> str:
    accent, letter = match[1] or match[3], match[2] or match[4]
    whole = unicodedata.normalize("NFC", letter.replace("ı", "i") + ACCENTS[accent])
    return whole if len(whole) == 1 else match[0]


def damage(text: str) -> int:
    """Number of characters that were lost: replacement, private and control characters."""
    if text.isascii() and text.isprintable():
        return 0
    return sum(
        c == DAMAGE or (not c.isspace() and unicodedata.category(c) in ("Cc", "Co", "Cn"))
        for c in text
        if c != BROKEN_WORD
    )


def vocabulary(lines: Iterable[Line]) -> set[str]:
    """Words that stand whole in the lines, in small letters, without the first and last of each.

    They tell whether "well-" and "known" on two lines were "well-known" or "wellknown".
    """
    found: set[str] = set()
    for line in lines:
        words = clean(line.text).lower().split()
        found.update(word.strip(".,;:!?()[]\"'“”‘’") for word in words[1:-1])
    return found


def join_lines(lines: Sequence[Line], known: Iterable[str] = ()) -> Record:
    """``{text, page_breaks}``: lines joined by blanks, broken words mended.

    ``page_breaks`` holds the positions of the words that begin a new page. ``known`` are
    words of the document (``vocabulary``).
    """
    known = known if isinstance(known, set) else set(known)
    words: list[str] = []
    page_breaks: list[int] = []
    page = lines[0].page if lines else 0
    broken = False
    for line in lines:
        fresh = clean(line.text).split()
        page_breaks += [len(words)] * (line.page - page)
        page = max(page, line.page)
        if broken and words and fresh:
            mended = mend(words[-1], fresh[0], known)
            if mended is not None:
                words[-1] = mended
                fresh = fresh[1:]
        broken = line.text.rstrip(" \t")[-1:] in tuple(HYPHENS)
        words += fresh
    return {"text": " ".join(words), "page_breaks": page_breaks}


def mend(first: str, second: str, known: set[str]) -> str | None:
    """The word that a line break has cut into ``first`` and ``second``; None if it cut none."""
    stem = first.rstrip("-\u2010")
    if not stem or not stem[-1].isalnum() or not second[:1].isalnum():
        return None
    if not (stem[-1].isalpha() and second[0].islower()):
        return f"{stem}-{second}"  # GPT-4, Long-Term: the hyphen was there before
    bare = second.lower().rstrip(".,;:!?()[]\"'”’")
    start = stem.lower().lstrip("([\"'“‘")
    if f"{start}{bare}" in known:
        return f"{stem}{second}"
    two_words = min(len(start), len(bare)) > 3 and {start, bare} <= known  # sleep-deprived
    return f"{stem}-{second}" if two_words or f"{start}-{bare}" in known else f"{stem}{second}"


# --- parts of a paper that are no text -----------------------------------------------

NUMBER = r"(?:(?:\d+(?:\.\d+)*|[IVX]+|[A-Z])[.)]?\s+)?"
REFERENCES = re.compile(
    NUMBER + r"(?:references|bibliography|literature cited|works cited|references and notes)\s*:?",
    re.IGNORECASE,
)
KNOWN_HEADING = re.compile(
    NUMBER + r"(?:abstract|summary|introduction|background|related work|methods?|methodology"
    r"|materials and methods|experiments|results|discussion|conclusions?|conclusions? and .*"
    r"|.* and outlook|acknowledge?ments?|limitations|appendix.*)[.:]?",
    re.IGNORECASE,
)
NUMBERED_HEADING = re.compile(r"(?:\d{1,2}(?:\.\d{1,2})*|[A-Z](?:\.\d+)*)[.)]?\s+[A-Z][^\W\d].*")
CONTENTS = re.compile(NUMBER + r"(?:table of )?contents\s*:?", re.IGNORECASE)
AFTER_REFERENCES = re.compile(
    r"(?:appendi|supplement|acknowledg|affiliation|[A-Z][.)]?\s+[A-Z]|[A-Z]?\d+(?:\.\d+)*[.)]?\s+[A-Z])",
    re.IGNORECASE,
)


def without_references(sections: Iterable[Record]) -> list[Record]:
    """Sections without reference lists and tables of contents.

    A list of references ends at a heading that looks like one of an appendix: within the
    list, bold volume numbers look like headings too.
    """
    kept = []
    dropping = False
    for section in sections:
        heading = section["heading"]
        if REFERENCES.fullmatch(heading):
            dropping = True
        elif dropping and AFTER_REFERENCES.match(heading):
            dropping = False
        if not dropping and not CONTENTS.fullmatch(heading):
            kept.append(section)
    return kept
