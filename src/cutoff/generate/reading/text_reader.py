"""Markdown and plain text files."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from cutoff.generate.reading import html_reader
from cutoff.generate.reading.cleaning import (
    KNOWN_HEADING,
    NUMBERED_HEADING,
    REFERENCES,
    Line,
    damage,
    join_lines,
    vocabulary,
)
from cutoff.generate.reading.cleaning import without_references as drop_references
from cutoff.generate.reading.reader import Document, Unreadable

Record = dict[str, Any]

FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
FIRST_TITLE = re.compile(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*$", re.MULTILINE)
LONGEST_HEADING = 80  # characters
UNDERLINE = re.compile(r"[=\-~^*]{3,}")
MOST_DAMAGED = 0.1  # share of characters; more of them is no text in this encoding


def decode(data: bytes) -> str:
    """Text of UTF-8, UTF-16 (with a mark) or Windows-1252 bytes; raises ``Unreadable``."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in data:
        raise Unreadable("not what its name says", "named a text, but binary")
    else:
        encoding = "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    if damage(text) > MOST_DAMAGED * len(text):
        raise Unreadable("not what its name says", "named a text, but binary")
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
    text = decode(path.read_bytes())
    pages = text.split("\f")
    if not pages[-1].strip():
        pages = pages[:-1]
    lines: list[Line] = []
    headings: set[int] = set()
    for number, page in enumerate(pages, start=1):
        printed = page.split("\n")
        for place, line in enumerate(printed):
            before = printed[place - 1] if place else ""
            after = printed[place + 1] if place + 1 < len(printed) else ""
            if not line.strip() or UNDERLINE.fullmatch(line.strip()):
                continue
            if is_heading(line.strip(), before.strip(), after.strip()):
                headings.add(len(lines))
            lines.append(Line(number, line, 0.0, False))
    known = vocabulary(lines)
    starts = sorted({0} | headings)
    sections = []
    for start, end in zip(starts, [*starts, len(lines)][1:], strict=True):
        titled = start in headings
        body = lines[start + 1 if titled else start : end]
        section: Record = {"heading": lines[start].text.strip() if titled else "", "page": 1}
        if body:
            section["page"] = body[0].page
        sections.append(section | join_lines(body, known))
    title = ""
    if len(sections) > 1 and 0 in headings and not KNOWN_HEADING.fullmatch(sections[0]["heading"]):
        title = sections[0]["heading"]
    return Document(
        n_pages=max(1, len(pages)),
        title=title,
        sections=[section for section in drop_references(sections) if section["text"]],
        characters=sum(len(line.text) for line in lines),
        damaged=sum(damage(line.text) for line in lines),
        line_words=[len(line.text.split()) for line in lines],
    )


def is_heading(line: str, before: str, after: str) -> bool:
    """True for an underlined line, or a short one between empty lines that reads like one."""
    if not line or len(line) > LONGEST_HEADING or not any(c.isalpha() for c in line):
        return False
    if UNDERLINE.fullmatch(after) and len(after) >= len(line) / 2:
        return True
    if before or (after and not (KNOWN_HEADING.fullmatch(line) or REFERENCES.fullmatch(line))):
        return False
    capitals = line.isupper() and len(line) > 3
    named = (
        KNOWN_HEADING.fullmatch(line)
        or REFERENCES.fullmatch(line)
        or NUMBERED_HEADING.fullmatch(line)
    )
    return bool(capitals or named) and line[-1] not in ".,;"
