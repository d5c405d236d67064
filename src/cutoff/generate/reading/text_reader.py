"""Markdown and plain text files."""

import re
from dataclasses import replace
from pathlib import Path

from cutoff.generate.reading import html_reader
from cutoff.generate.reading.cleaning import damage
from cutoff.generate.reading.document import Document, Rejected, describe
from cutoff.generate.reading.headings import KNOWN_HEADING, REFERENCES, is_named
from cutoff.generate.reading.lines import Line, Part, join_parts, vocabulary

FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
FIRST_TITLE = re.compile(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*$", re.MULTILINE)
LONGEST_HEADING = 80  # characters
UNDERLINE = re.compile(r"[=\-~^*]{3,}")
MOST_DAMAGED = 0.1  # share of characters; more of them is no text in this encoding


def decode(data: bytes) -> str:
    """Text of UTF-8, UTF-16 (with a mark) or Windows-1252 bytes; raises ``Rejected``."""
    binary = Rejected("not what its name says", "named a text, but binary")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in data:
        raise binary
    else:
        encoding = "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    if damage(text) > MOST_DAMAGED * len(text):
        raise binary
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_markdown(path: Path) -> Document:
    """A Markdown file, by way of the HTML that it means; front matter gives the title only."""
    import mistune

    text = decode(path.read_bytes())
    matter = FRONT_MATTER.match(text)
    body = text[matter.end() :] if matter else text
    to_html = mistune.create_markdown(escape=False, plugins=["table", "math", "strikethrough"])
    page = f"<html><body>{to_html(body)}</body></html>"
    document = html_reader.read_bytes(page.encode("utf-8", "replace"))
    title = FIRST_TITLE.search(matter.group()) if matter else None
    return replace(document, title=title[1]) if title else document


def read_text(path: Path) -> Document:
    """A plain text file; a form feed begins a page, a short line of its own can be a heading."""
    pages = decode(path.read_bytes()).split("\f")
    if not pages[-1].strip():
        pages = pages[:-1]
    parts = [Part("", 1)]
    for number, page in enumerate(pages, start=1):
        printed = page.split("\n")
        for before, line, after in zip(["", *printed], printed, [*printed[1:], ""], strict=False):
            if not line.strip() or UNDERLINE.fullmatch(line.strip()):
                continue
            if is_heading(line.strip(), before.strip(), after.strip()):
                parts.append(Part(line.strip(), number))
            else:
                parts[-1].lines.append(Line(number, line))
    lines = [line for part in parts for line in part.lines]
    for part in parts:
        part.page = part.lines[0].page if part.lines else part.page
    title = ""
    if not parts[0].lines and len(parts) > 2 and not KNOWN_HEADING.fullmatch(parts[1].heading):
        title = parts[1].heading
    printed = [line.text for line in lines] + [part.heading for part in parts[1:]]
    return describe(max(1, len(pages)), title, join_parts(parts, vocabulary(lines)), printed)


def is_heading(line: str, before: str, after: str) -> bool:
    """True for an underlined line, or a short one between empty lines that reads like one."""
    if not line or len(line) > LONGEST_HEADING or not any(c.isalpha() for c in line):
        return False
    if UNDERLINE.fullmatch(after) and len(after) >= len(line) / 2:
        return True
    well_known = bool(KNOWN_HEADING.fullmatch(line) or REFERENCES.fullmatch(line))
    if before or (after and not well_known):
        return False
    capitals = line.isupper() and len(line) > 3
    return (capitals or well_known or is_named(line)) and line[-1] not in ".,;"
