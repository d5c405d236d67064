"""PDF files: the printed lines with their places, letters and weights, by PDFium."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cutoff.generate.reading import layout
from cutoff.generate.reading.cleaning import BROKEN_WORD, Line, clean, damage
from cutoff.generate.reading.reader import Document, Unreadable

MAX_PAGES = 400
MAX_PAGE_CHARACTERS = 100_000
MAX_OBJECTS = 1_000_000  # of the file
MAX_PAGE_OBJECTS = 300_000  # letters, lines and pictures of one page
READABLE_POINTS = 2.0  # text in smaller letters is for machines only
MIN_CHARACTERS_PER_PAGE = 40  # fewer on average: pictures of pages
# Small capitals are for headings too. TeX's fonts have names of their own.
BOLD_FONT = re.compile(r"bold|black|heavy|cmbx|cmb10|sfbx|medi\b|-demi|cmcsc|smallcap", re.I)
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
    """Text of a PDF file; raises ``Unreadable`` with the reason if there is none to be had."""
    import pypdfium2 as pdfium

    if path.read_bytes().count(b" obj") > MAX_OBJECTS:
        raise Unreadable("too large", f"more than {MAX_OBJECTS:,} objects")
    try:
        with pdfium.PdfDocument(path) as document:
            n_pages = len(document)
            if n_pages > MAX_PAGES:
                raise Unreadable("too many pages", f"{n_pages:,}; at most {MAX_PAGES} are read")
            pages = [list(_lines_of_page(page, n)) for n, page in enumerate(document, start=1)]
            named = clean(document.get_metadata_value("Title"))
    except pdfium.PdfiumError as error:
        encrypted = "password" in str(error).lower() or "security" in str(error).lower()
        raise Unreadable("encrypted" if encrypted else "damaged", str(error)) from None
    lines = [line for page in pages for line in layout.in_reading_order(page)]
    characters = sum(len(line.text) for line in lines)
    if characters < MIN_CHARACTERS_PER_PAGE * n_pages:
        raise Unreadable("no text", f"{characters} characters on {n_pages} pages: is it a scan?")
    title, sections = layout.to_sections(lines)
    good_name = len(named) > 8 and not NO_TITLE.search(named)
    return Document(
        n_pages=n_pages,
        title=named if good_name else title,
        sections=sections,
        characters=characters,
        damaged=sum(damage(line.text) for line in lines),
        line_words=[len(line.text.split()) for line in lines],
    )


def _lines_of_page(page: Any, number: int) -> Iterator[Line]:
    from pypdfium2 import raw

    if raw.FPDFPage_CountObjects(page) > MAX_PAGE_OBJECTS:
        raise Unreadable("too large", f"page {number} has over {MAX_PAGE_OBJECTS:,} objects")
    textpage = page.get_textpage()
    if textpage.count_chars() > MAX_PAGE_CHARACTERS:
        raise Unreadable("too large", f"page {number} has over {MAX_PAGE_CHARACTERS:,} characters")
    width, height = page.get_size()
    text = textpage.get_text_range()
    found: list[tuple[Line, int]] = []
    fonts: dict[Any, str] = {}
    for match in PRINTED_LINE.finditer(text):
        line, angle = _place(textpage, text, match, number, fonts)
        off_page = line.right and not (line.right > 0 and line.left < width + height)
        if not off_page and not 0 < line.height < READABLE_POINTS:
            found.append((line, angle))
    letters: Counter[int] = Counter()
    for line, angle in found:
        letters[angle] += len(line.text)
    upright = letters.most_common(1)[0][0] if letters else 0
    # Text at another angle is a stamp at the edge or the label of an axis.
    return (line for line, angle in found if angle == upright)


def _place(
    textpage: Any, text: str, match: re.Match[str], number: int, fonts: dict[Any, str]
) -> tuple[Line, int]:
    """The line of ``match`` and its angle in quarter turns."""
    from pypdfium2 import raw

    shift = 0 if text.isascii() else len(text[: match.start()].encode("utf-16-le")) // 2
    shift -= 0 if text.isascii() else match.start()  # PDFium counts in UTF-16

    def index(position: int) -> int:
        return raw.FPDFText_GetCharIndexFromTextIndex(textpage, position + shift)

    def box(at: int) -> Any:
        rect = raw.FS_RECTF()
        raw.FPDFText_GetLooseCharBox(textpage, at, rect)
        return rect

    printed = match.group()
    whole = TEX_CODE.sub(lambda code: TEX_CODES[code.group()], printed)
    first = match.start() + len(printed) - len(printed.lstrip())
    last = match.start() + len(printed.rstrip(f" \t{BROKEN_WORD}")) - 1
    start, end = index(first), index(max(first, last))
    if start < 0 or end < 0:
        return Line(number, whole, 0.0, False), 0
    begin, finish = box(start), box(end)
    letter = next((at for at, c in enumerate(printed, match.start()) if c.isalpha()), first)
    samples = (index(letter), index((first + last) // 2), end)
    size = sorted(_size(textpage, at) for at in samples)[1]
    gaps = []
    for blank in re.finditer(r"(?<=\S)[ \t]+(?=\S)", printed):
        left = box(index(match.start() + blank.start() - 1)).right
        right = box(index(match.start() + blank.end())).left
        if right - left > size:
            gaps.append((blank.end(), left, right))
    font, other = (_font_name(textpage, at, fonts) for at in (samples[0], end))
    bold = bool(BOLD_FONT.search(font) and BOLD_FONT.search(other))
    angle = round(max(0.0, raw.FPDFText_GetCharAngle(textpage, start)) / (math.pi / 2)) % 4
    place = (begin.left, max(begin.right, finish.right), begin.bottom)
    return Line(number, whole, size, bold, *place, tuple(gaps), font), angle


def _size(textpage: Any, index: int) -> float:
    """Size of a letter's font in points, as printed.

    Not the height of its box: fonts without a declared height give a box of the letter's own.
    """
    from pypdfium2 import raw

    matrix = raw.FS_MATRIX()
    if index < 0 or not raw.FPDFText_GetMatrix(textpage, index, matrix):
        return 0.0
    return round(raw.FPDFText_GetFontSize(textpage, index) * math.hypot(matrix.c, matrix.d), 1)


def _font_name(textpage: Any, index: int, fonts: dict[Any, str]) -> str:
    """Name of the letter's font, "" where there is none; ``fonts`` remembers them."""
    import ctypes

    from pypdfium2 import raw

    printed = raw.FPDFText_GetTextObject(textpage, index)
    font = raw.FPDFTextObj_GetFont(printed) if printed else None
    if not font:
        return ""
    key = ctypes.addressof(font.contents)
    if key not in fonts:
        length = raw.FPDFFont_GetBaseFontName(font, None, 0)
        name = ctypes.create_string_buffer(length)
        raw.FPDFFont_GetBaseFontName(font, name, length)
        fonts[key] = name.value.decode("utf-8", "replace")
    return fonts[key]
