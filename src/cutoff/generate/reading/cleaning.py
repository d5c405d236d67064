"""Characters of extracted text: what nobody sees goes, what a font tore apart is joined."""

import re
import unicodedata

BROKEN_WORD = "\ufffe"  # stands for a hyphen at the end of a line that PDFium has recognised
DAMAGE = "\ufffd"  # the mark for a character that could not be read
# Control and formatting characters (right-to-left marks among them), halves of surrogate
# pairs, unassigned ones, and private ones, which mean something in one font only.
UNSEEN = ("Cc", "Cf", "Cs", "Cn", "Co")
LIGATURES = {0xFB00 + n: text for n, text in enumerate("ff fi fl ffi ffl st st".split())}
# TeX's old fonts print an accent beside its letter: "Gr¨un".
ACCENTS = {
    "`": "\u0300", "´": "\u0301", "ˆ": "\u0302", "˜": "\u0303", "¨": "\u0308", "˚": "\u030a",
    "ˇ": "\u030c", "¸": "\u0327", "¯": "\u0304", "˘": "\u0306", "˙": "\u0307", "˝": "\u030b",
}  # fmt: skip
SIGNS = "".join(ACCENTS)
ACCENTED = re.compile(rf"(?<=\w)([{SIGNS}]) ?([A-Za-zı])|([{SIGNS}])([A-Za-zı])")


def clean(text: str) -> str:
    """``text`` with single blanks and without characters that nobody sees.

    Models stumble over them, and a person who checks a passage cannot see why. Ligatures
    become letters, accents join their letter.
    """
    text = text.translate(LIGATURES)
    if not (text.isascii() and text.isprintable()):
        text = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in UNSEEN)
    text = " ".join(text.split())
    return text if text.isascii() else ACCENTED.sub(_accented, text)


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
