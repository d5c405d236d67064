"""HTML files: the article's sections, without navigation, scripts, hidden text, references.

Knows the classes of LaTeXML, which makes arXiv's HTML (https://math.nist.gov/~BMiller/LaTeXML/),
and does with any other page what its headings and paragraphs allow. Parsed by lxml, without
network and without entities of the document's own.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cutoff.generate.reading.cleaning import clean
from cutoff.generate.reading.document import Document, Rejected, describe
from cutoff.records import Section

DEEPEST = 200  # levels of elements; LaTeXML needs a few dozen, the parser gives up at 256
SKIPPED_TAGS = frozenset(
    "script style head nav header footer aside noscript template svg canvas button form input "
    "select textarea dialog iframe object embed audio video img map".split()
)
SKIPPED_CLASSES = frozenset(
    "ltx_bibliography ltx_page_navbar ltx_page_header ltx_page_footer ltx_page_logo ltx_TOC "
    "ltx_toclist ltx_authors ltx_dates ltx_ERROR ltx_note_mark ltx_tag_note ltx_index "
    "package-alerts sr-only infobox".split()
)
SKIPPED_IDS = frozenset("license-tr watermark-tr infobox target-section header footer".split())
BLOCKS = frozenset(
    "p div section article main body h1 h2 h3 h4 h5 h6 ul ol li dl dt dd table tr caption "
    "figure figcaption blockquote pre hr address details summary".split()
)
HEADINGS = frozenset("h1 h2 h3 h4 h5 h6".split())
RUN_IN = ("ltx_title_paragraph", "ltx_title_subparagraph", "ltx_title_theorem", "ltx_title_proof")
HIDDEN_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0(?!\.)", re.I
)
# What a formula's TeX says in one sign anyway.
TEX = {r"\%": "%", "{,}": ",", r"\times": "×", r"\pm": "±", r"\leq": "≤", r"\geq": "≥"}
TEX |= {r"\approx": "≈", r"\sim": "∼", r"\,": " ", r"\;": " ", r"\!": "", r"\ ": " ", r"\#": "#"}
TEX |= {r"\le": "≤", r"\ge": "≥", r"\to": "→", r"\rightarrow": "→", r"\cdot": "·", r"\&": "&"}
TEX_SIGN = re.compile("|".join(rf"{re.escape(t)}(?![A-Za-z])" for t in sorted(TEX, reverse=True)))
TEX_WRAPPER = re.compile(r"\\(?:text|mathrm|textrm|operatorname|mathbf|textbf|mathit)\{([^{}]*)\}")
TEX_STYLE = re.compile(r"\\(?:display|text|script)style\s*|\\(?:left|right)(?=[^A-Za-z])")


def read(path: Path) -> Document:
    """Text of an HTML file; raises ``Rejected`` with the reason if there is none to be had."""
    return read_bytes(path.read_bytes())


def read_bytes(data: bytes) -> Document:
    """``read`` for the content of a file."""
    from lxml import etree, html

    if re.search(rb"<!ENTITY", data, re.IGNORECASE):
        raise Rejected("damaged", "declares entities of its own, which no paper needs")
    if b"\0" in data[:1024] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Rejected("not what its name says", "named HTML, but binary")
    try:
        data.decode("utf-8")
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = None  # as the page itself declares
    parser = html.HTMLParser(
        encoding=encoding, no_network=True, remove_comments=True, remove_pis=True, huge_tree=False
    )
    try:
        root = html.document_fromstring(data, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError) as error:
        raise Rejected("damaged", f"no HTML that can be parsed ({error})") from None
    title, sections, paragraphs = _collect(_article(root))
    title = title or clean(" ".join(root.xpath("//head/title/text()")))
    return describe(1, title, sections, paragraphs, _licence(root))


def _article(root: Any) -> Any:
    """The article's element: LaTeXML's document, else ``article`` or ``main``, else the page."""
    for path in (
        "//article[contains(concat(' ', @class, ' '), ' ltx_document ')]",
        "//article",
        "//main",
    ):
        found = root.xpath(path)
        if len(found) == 1:
            return found[0]
    return root


def _licence(root: Any) -> str:
    """The licence that arXiv prints above the article, "" elsewhere."""
    for element in root.xpath("//*[@id='license-tr']"):
        return clean("".join(element.itertext())).removeprefix("License:").strip()
    return ""


def math_text(element: Any) -> str:
    """A formula as text: its TeX, with the commonest signs as characters."""
    tex = element.get("alttext")
    if tex is None:
        notes = element.xpath(".//*[local-name()='annotation']/text()")
        tex = notes[0] if notes else " ".join(element.itertext())
    tex = TEX_STYLE.sub("", tex.replace("%\n", ""))
    tex = TEX_WRAPPER.sub(r"\1", tex)
    return TEX_SIGN.sub(lambda match: TEX[match.group()], tex)


def _collect(article: Any) -> tuple[str, list[Section], list[str]]:
    """Title, sections with their notes at the end, and every paragraph as it stood there."""
    title, heading = "", ""
    parts: list[str] = []
    paragraphs: list[str] = []  # of the section
    notes: list[str] = []  # of the section
    printed: list[str] = []
    sections: list[Section] = []

    def end_section() -> None:
        nonlocal paragraphs, notes
        text = " ".join([*paragraphs, *notes])
        if text or heading:
            sections.append({"heading": heading, "page": 1, "text": text, "page_breaks": []})
        paragraphs, notes = [], []

    for kind, piece in [*_pieces(article, 1), ("end", "")]:
        if kind == "text":
            parts.append(piece)
            continue
        if kind == "note":
            notes.append(piece)
            continue
        raw, parts = "".join(parts), []
        text = clean(raw)
        if kind == "title" and not sections and not title:
            title = text
        elif kind in ("title", "heading"):
            if text:
                end_section()
                heading = text
        elif text:
            printed.append(raw)
            paragraphs.append(text)
    end_section()
    return title, sections, printed


def _pieces(element: Any, depth: int) -> Iterator[tuple[str, str]]:
    """An element's pieces of text, without its tail, in order: (kind, text).

    ``text`` goes on in the paragraph that ``end`` ends; ``heading`` and ``title`` end what was
    a heading; a ``note`` stands elsewhere.
    """
    if depth > DEEPEST:
        raise Rejected("nested too deeply", f"more than {DEEPEST} levels")
    tag = element.tag.lower().rpartition("}")[2] if isinstance(element.tag, str) else ""
    classes = element.get("class", "").split()
    if tag == "math":
        yield "text", math_text(element)
        return
    if _is_skipped(element, tag, classes):
        return
    if "ltx_note" in classes:
        for content in element.xpath(".//*[contains(@class, 'ltx_note_content')]")[:1]:
            _, sections, _ = _collect(content)
            yield from (("note", section["text"]) for section in sections)
        return
    if tag in BLOCKS:
        yield "end", ""
    apart = tag in ("td", "th") or "ltx_tag" in classes
    yield "text", f"{' ' if apart or tag == 'br' else ''}{element.text or ''}"
    for child in element:
        yield from _pieces(child, depth + 1)
        yield "text", child.tail or ""
    if tag in HEADINGS and not any(name in RUN_IN for name in classes):
        yield ("title" if "ltx_title_document" in classes or tag == "h1" else "heading"), ""
    elif tag in BLOCKS:
        yield "end", ""
    if apart:
        yield "text", " "


def _is_skipped(element: Any, tag: str, classes: list[str]) -> bool:
    return (
        not tag
        or tag in SKIPPED_TAGS
        or not SKIPPED_CLASSES.isdisjoint(classes)
        or element.get("id") in SKIPPED_IDS
        or element.get("hidden") is not None
        or element.get("aria-hidden") == "true"
        or bool(HIDDEN_STYLE.search(element.get("style", "")))
    )
