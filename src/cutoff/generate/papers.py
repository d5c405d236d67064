"""Papers: a source of PDF files, and the text read back out of them, section by section.

Every source ends in files on disk, and everything later is read from those files. The
phantom could hand over its sentences directly; it goes through PDF like any other paper,
so that its extraction is as real as that of a paper somebody downloads.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutoff import run
from cutoff.errors import CutoffError
from cutoff.params import Params
from cutoff.phantom import pages, world

Record = dict[str, Any]

SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
BOLD_FONT = re.compile(r"bold|black|heavy|semibold", re.IGNORECASE)
LONGEST_HEADING = 100  # characters
LARGER = 1.05  # a heading's letters are at least this much higher than those of the text


@dataclass(frozen=True)
class Line:
    """One printed line: its page (from 1), text, letter height in points and weight."""

    page: int
    text: str
    height: float
    bold: bool


def make_papers(p: Params, folder: Path) -> list[Record]:
    """Write the PDF of every paper under ``folder`` and read it; records of ``papers.jsonl``."""
    return [_make_record(paper, folder) for paper in phantom_papers(p)]


def phantom_papers(p: Params) -> list[world.Paper]:
    """The fictional papers of this run, with their truth: post-cutoff first, then control."""
    try:
        return world.make_papers(p.seed, p.n_post_papers, p.n_control_papers)
    except ValueError as error:
        raise CutoffError(
            f"The phantom cannot make these papers: {error}. "
            "Change n_post_papers or n_control_papers."
        ) from None


def _make_record(paper: world.Paper, folder: Path) -> Record:
    path = folder / "pdf" / f"{safe_name(paper.paper_id)}.pdf"
    run.write_bytes_atomic(path, pages.render_pdf(paper))
    n_pages, sections = read_pdf(path)
    return {
        "paper_id": paper.paper_id,
        "title": paper.title,
        "period": paper.period,
        "first_version": paper.first_version.isoformat(),
        "source": "phantom",
        "file": path.relative_to(folder).as_posix(),
        "sha256": run.sha256_file(path),
        "n_pages": n_pages,
        "sections": sections,
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


def read_pdf(path: Path) -> tuple[int, list[Record]]:
    """Number of pages and sections of a PDF file.

    A section is ``{heading, page, text, page_breaks}``: the page on which it begins, its
    lines joined to running text, and the positions of the words that begin a new page.
    Raises ``CutoffError`` if the file is no readable PDF or holds no text.
    """
    n_pages, lines = read_lines(path)
    sections = to_sections(lines)
    if not sections:
        raise CutoffError(f"{path} holds no text; is it a scan?")
    return n_pages, sections


def read_lines(path: Path) -> tuple[int, list[Line]]:
    """Number of pages and all printed lines of a PDF file, in reading order."""
    import pypdfium2 as pdfium

    lines = []
    try:
        with pdfium.PdfDocument(path) as document:
            for number, page in enumerate(document, start=1):
                lines += _lines_of_page(page, number)
            n_pages = len(document)
    except (pdfium.PdfiumError, FileNotFoundError) as error:
        raise CutoffError(f"Cannot read {path} as a PDF file: {error}") from None
    return n_pages, lines


def _lines_of_page(page: Any, number: int) -> list[Line]:
    from pypdfium2 import raw

    textpage = page.get_textpage()
    lines = []
    for match in re.finditer(r"[^\r\n]*[^\s\r\n][^\r\n]*", textpage.get_text_range()):
        text = match.group()
        first = match.start() + len(text) - len(text.lstrip())
        index = raw.FPDFText_GetCharIndexFromTextIndex(textpage, first)
        _, bottom, _, top = textpage.get_charbox(index, loose=True)
        font = textpage.get_textobj(index).get_font().get_base_name()
        lines.append(Line(number, text, round(top - bottom, 1), bool(BOLD_FONT.search(font))))
    return without_page_number(lines)


def without_page_number(lines: list[Line]) -> list[Line]:
    """The lines of one page without a first or last line that is nothing but a number."""
    if lines and lines[0].text.strip().isdecimal():
        lines = lines[1:]
    if lines and lines[-1].text.strip().isdecimal():
        lines = lines[:-1]
    return lines


def to_sections(lines: Sequence[Line]) -> list[Record]:
    """Recognise headings by their letters, join the other lines to running text.

    The largest lines at the top are the title and belong to no section. Text that comes
    before the first heading is the section with the heading "".
    """
    body_height, body_bold = _body_style(lines)

    def is_heading(line: Line) -> bool:
        stands_out = line.height >= LARGER * body_height or (line.bold and not body_bold)
        return stands_out and len(line.text) <= LONGEST_HEADING and line.height >= body_height

    largest = max((line.height for line in lines), default=0.0)
    sections: list[Record] = []
    texts: list[list[Line]] = []
    previous: Line | None = None
    for line in lines:
        heading = is_heading(line)
        is_title = heading and not sections and line.height == largest > body_height
        if heading and not is_title:
            if previous and is_heading(previous) and sections and not texts[-1]:
                sections[-1]["heading"] += f" {_clean(line.text)}"  # a heading of two lines
            else:
                sections.append({"heading": _clean(line.text), "page": line.page})
                texts.append([])
        elif not is_title:
            if not sections:
                sections.append({"heading": "", "page": line.page})
                texts.append([])
            texts[-1].append(line)
        previous = line
    joined = [section | join_lines(text) for section, text in zip(sections, texts, strict=True)]
    return [section for section in joined if section["text"]]


def _body_style(lines: Sequence[Line]) -> tuple[float, bool]:
    """Height and weight in which most characters are set."""
    characters: Counter[tuple[float, bool]] = Counter()
    for line in lines:
        characters[line.height, line.bold] += len(line.text)
    return characters.most_common(1)[0][0] if characters else (0.0, False)


def join_lines(lines: Sequence[Line]) -> Record:
    """``{text, page_breaks}``: lines joined by blanks."""
    words: list[str] = []
    page_breaks: list[int] = []
    page = lines[0].page if lines else 0
    for line in lines:
        page_breaks += [len(words)] * (line.page - page)
        page = line.page
        words += _clean(line.text).split()
    return {"text": " ".join(words), "page_breaks": page_breaks}


def _clean(text: str) -> str:
    """Without control and formatting characters, which nobody sees and models stumble over.

    PDFium marks a hyphen at a line's end by U+FFFE: without it, the word is whole again.
    """
    dropped = ("Cc", "Cf", "Cs", "Cn")
    kept = (c for c in text if c.isspace() or unicodedata.category(c) not in dropped)
    return " ".join("".join(kept).split())
