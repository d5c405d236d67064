"""PDF files: the printed lines with their places, letters and weights, by PDFium."""

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from cutoff.generate.reading import columns, layout
from cutoff.generate.reading.cleaning import BROKEN_WORD, clean
from cutoff.generate.reading.document import Document, Rejected, describe
from cutoff.generate.reading.lines import Line

MAX_PAGES = 400
MAX_PAGE_CHARACTERS = 100_000
MAX_OBJECTS = 1_000_000  # of the file
MAX_PAGE_OBJECTS = 300_000  # letters, lines and pictures of one page
READABLE_POINTS = 2.0  # text in smaller letters is for machines only
MIN_CHARACTERS_PER_PAGE = 40  # fewer on average: pictures of pages
# Small capitals are for headings too. TeX's fonts have names of their own.
BOLD_FONT = re.compile(r"bold|black|heavy|cmbx|cmb10|sfbx|medi\b|-demi|cmcsc|smallcap", re.I)
PDFIUM_HYPHEN = 2  # its code for a hyphen at the end of a line; TeX has a Θ there
PRINTED_LINE = re.compile(
    rf"[^\r\n{BROKEN_WORD}]*[^\s{BROKEN_WORD}][^\r\n{BROKEN_WORD}]*{BROKEN_WORD}?"
)
# TeX's fonts without a table of their characters: these codes are ligatures, quotes, dashes.
TEX_CODES = {"\x1b": "ff", "\x1c": "fi", "\x1d": "fl", "\x1e": "ffi", "\x1f": "ffl"}
TEX_CODES |= {"\x10": "“", "\x11": "”", "\x15": "–", "\x16": "—"}
TEX_CODE = re.compile(
    r"(?<=[A-Za-z])[\x1b-\x1f]|[\x1b-\x1f](?=[a-z])|\x10(?=\w)|(?<=[\w.,?!])\x11"
    r"|(?<=\w)\x15(?=\w)|\x16(?=\s?\w)"
)
NO_TITLE = re.compile(r"untitled|microsoft word|\.(?:dvi|tex|docx?|pdf|rnw|rmd)\b", re.IGNORECASE)


def read(path: Path) -> Document:
    """Text of a PDF file; raises ``Rejected`` with the reason if there is none to be had."""
    import pypdfium2 as pdfium

    if path.read_bytes().count(b" obj") > MAX_OBJECTS:
        raise Rejected("too large", f"more than {MAX_OBJECTS:,} objects")
    try:
        with pdfium.PdfDocument(path) as document:
            n_pages = len(document)
            if n_pages > MAX_PAGES:
                raise Rejected("too many pages", f"{n_pages:,}; at most {MAX_PAGES} are read")
            pages = [_lines_of_page(page, n) for n, page in enumerate(document, start=1)]
            named = clean(document.get_metadata_value("Title"))
    except pdfium.PdfiumError as error:
        encrypted = "password" in str(error).lower() or "security" in str(error).lower()
        raise Rejected("encrypted" if encrypted else "damaged", str(error)) from None
    lines = [line for page in pages for line in columns.in_reading_order(page)]
    printed = [line.text for line in lines]
    characters = sum(map(len, printed))
    if characters < MIN_CHARACTERS_PER_PAGE * n_pages:
        raise Rejected("no text", f"{characters} characters on {n_pages} pages: is it a scan?")
    title, sections = layout.to_sections(lines)
    if len(named) > 8 and not NO_TITLE.search(named):
        title = named
    return describe(n_pages, title, sections, printed)


def _lines_of_page(page: Any, number: int) -> list[Line]:
    from pypdfium2 import raw

    if raw.FPDFPage_CountObjects(page) > MAX_PAGE_OBJECTS:
        raise Rejected("too large", f"page {number} has over {MAX_PAGE_OBJECTS:,} objects")
    textpage = page.get_textpage()
    n_characters = textpage.count_chars()
    if n_characters > MAX_PAGE_CHARACTERS:
        raise Rejected("too large", f"page {number} has over {MAX_PAGE_CHARACTERS:,} characters")
    printed = PRINTED_LINE.finditer(_text(textpage, n_characters))
    lines = [_line(textpage, match, number) for match in printed]
    width, height = page.get_size()
    seen = [line for line in lines if _is_visible(line, width + height)]
    letters: Counter[int] = Counter()
    for line in seen:
        letters[line.angle] += len(line.text)
    # Text at another angle is a stamp at the edge or the label of an axis.
    upright = max(letters, key=letters.__getitem__, default=0)
    return [line for line in seen if line.angle == upright]


def _text(textpage: Any, n_characters: int) -> str:
    """The text of a page; a character's place in it is its number on the page."""
    from pypdfium2 import raw

    def character(at: int) -> str:
        code = raw.FPDFText_GetUnicode(textpage, at)
        is_hyphen = code == PDFIUM_HYPHEN and raw.FPDFText_IsHyphen(textpage, at) == 1
        return BROKEN_WORD if is_hyphen else chr(code)

    return "".join(map(character, range(n_characters)))


def _is_visible(line: Line, farthest: float) -> bool:
    on_page = not line.right or (line.right > 0 and line.left < farthest)
    return on_page and not 0 < line.height < READABLE_POINTS


def _line(textpage: Any, match: re.Match[str], number: int) -> Line:
    """The line of ``match``: its place, and size and font by a few of its characters."""
    from pypdfium2 import raw

    printed = match.group()
    first = match.start() + len(printed) - len(printed.lstrip())
    end = max(first, match.start() + len(printed.rstrip(f" \t{BROKEN_WORD}")) - 1)
    letter = next((at for at, c in enumerate(printed, match.start()) if c.isalpha()), first)
    size = sorted(_size(textpage, at) for at in (letter, (first + end) // 2, end))[1]
    left, bottom, begins, _ = _box(textpage, first)
    right = max(begins, _box(textpage, end)[2])
    gaps = []
    for blank in re.finditer(r"(?<=\S)[ \t]+(?=\S)", printed):
        start = _box(textpage, match.start() + blank.start() - 1)[2]
        stop = _box(textpage, match.start() + blank.end())[0]
        if stop - start > size:
            gaps.append((blank.end(), start, stop))
    font = _font(textpage, letter)
    return Line(
        page=number,
        text=TEX_CODE.sub(lambda code: TEX_CODES[code.group()], printed),
        height=size,
        bold=bool(BOLD_FONT.search(font) and BOLD_FONT.search(_font(textpage, end))),
        left=left,
        right=right,
        bottom=bottom,
        gaps=tuple(gaps),
        font=font,
        angle=round(max(0.0, raw.FPDFText_GetCharAngle(textpage, first)) / (math.pi / 2)) % 4,
    )


def _box(textpage: Any, at: int) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of a character in points; 0 where it has no place."""
    from pypdfium2 import PdfiumError

    try:
        return textpage.get_charbox(at, loose=True)
    except PdfiumError:
        return 0.0, 0.0, 0.0, 0.0


def _size(textpage: Any, at: int) -> float:
    """Size of a character's font in points, as printed.

    Not the height of its box: fonts without a declared height give a box of the letter's own.
    """
    from pypdfium2 import raw

    matrix = raw.FS_MATRIX()
    if not raw.FPDFText_GetMatrix(textpage, at, matrix):
        return 0.0
    return round(raw.FPDFText_GetFontSize(textpage, at) * math.hypot(matrix.c, matrix.d), 1)


def _font(textpage: Any, at: int) -> str:
    """Name of a character's font, "" where there is none."""
    from pypdfium2 import PdfiumError

    try:
        return textpage.get_textobj(at).get_font().get_base_name()
    except PdfiumError:
        return ""
