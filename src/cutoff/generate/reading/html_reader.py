"""HTML files: the article's sections, without navigation, scripts, hidden text, references.

Knows the classes of LaTeXML, which makes arXiv's HTML (https://math.nist.gov/~BMiller/LaTeXML/),
and does with any other page what its headings and paragraphs allow. Parsed by lxml, without
network and without entities of the document's own.
"""

import re
from pathlib import Path
from typing import Any

from cutoff.generate.reading.cleaning import clean, damage, without_references
from cutoff.generate.reading.reader import Document, Unreadable

Record = dict[str, Any]

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
    """Text of an HTML file; raises ``Unreadable`` with the reason if there is none to be had."""
    return read_bytes(path.read_bytes())


def read_bytes(data: bytes) -> Document:
    """``read`` for the content of a file."""
    from lxml import etree, html

    if re.search(rb"<!ENTITY", data, re.IGNORECASE):
        raise Unreadable("damaged", "declares entities of its own, which no paper needs")
    if b"\0" in data[:1024] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("not what its name says", "named HTML, but binary")
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
        raise Unreadable("damaged", f"no HTML that can be parsed ({error})") from None
    text = _Collector()
    text.walk(_article(root))
    sections = without_references(text.sections)
    return Document(
        n_pages=1,
        title=text.title or _head_title(root),
        sections=[section for section in sections if section["text"]],
        characters=text.characters,
        damaged=text.damaged,
        line_words=text.line_words,
        licence=_licence(root),
    )


def _article(root: Any) -> Any:
    """The article's element: LaTeXML's document, else ``article`` or ``main``, else the page."""
    for path in (
        "//*[contains(concat(' ', @class, ' '), ' ltx_document ')][self::article]",
        "//article",
        "//main",
    ):
        found = root.xpath(path)
        if len(found) == 1:
            return found[0]
    return root


def _head_title(root: Any) -> str:
    return clean(" ".join(root.xpath("//head/title/text()")))


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


class _Collector:
    """Walks the elements of an article and gathers title and sections."""

    def __init__(self) -> None:
        self.title = ""
        self.sections: list[Record] = []
        self.characters = 0
        self.damaged = 0
        self.line_words: list[int] = []
        self._parts: list[str] = []
        self._paragraphs: list[str] = []
        self._notes: list[str] = []
        self._heading = ""

    def walk(self, article: Any) -> None:
        from lxml import etree

        depth = 0
        walker = etree.iterwalk(article, events=("start", "end"))
        for event, element in walker:
            tag = etree.QName(element).localname.lower() if isinstance(element.tag, str) else ""
            depth += 1 if event == "start" else -1
            if depth > DEEPEST:
                raise Unreadable("nested too deeply", f"more than {DEEPEST} levels")
            if event == "end":
                self._leave(element, tag, element is article)
            elif self._enter(element, tag):
                walker.skip_subtree()
        self._end_section()

    def _enter(self, element: Any, tag: str) -> bool:
        """Take the element's own text; True if what is inside it is not to be walked."""
        classes = element.get("class", "").split()
        if tag == "math":
            self._parts.append(math_text(element))
            return True
        if not tag or _is_skipped(element, tag, classes):
            return True
        if "ltx_note" in classes:
            inner = _Collector()
            for content in element.xpath(".//*[contains(@class, 'ltx_note_content')]")[:1]:
                inner._parts.append(content.text or "")
                for child in content:
                    inner.walk(child)
                    inner._parts.append(child.tail or "")
                inner._end_section()
            self._notes += [section["text"] for section in inner.sections]
            return True
        if tag in BLOCKS:
            self._end_paragraph()
        if tag in ("td", "th", "br") or "ltx_tag" in classes:
            self._parts.append(" ")
        self._parts.append(element.text or "")
        return False

    def _leave(self, element: Any, tag: str, is_article: bool) -> None:
        classes = element.get("class", "").split()
        skipped = not tag or tag == "math" or _is_skipped(element, tag, classes)
        if not skipped and tag in HEADINGS and not any(name in RUN_IN for name in classes):
            self._take_heading(tag, classes)
        elif not skipped and tag in BLOCKS and "ltx_note" not in classes:
            self._end_paragraph()
        if tag in ("td", "th") or "ltx_tag" in classes:
            self._parts.append(" ")
        if not is_article:
            self._parts.append(element.tail or "")

    def _take_heading(self, tag: str, classes: list[str]) -> None:
        heading = clean("".join(self._parts))
        self._parts = []
        is_title = "ltx_title_document" in classes or (tag == "h1" and not self.title)
        if is_title and not self.sections:
            self.title = heading
        elif heading:
            self._end_section()
            self._heading = heading

    def _end_paragraph(self) -> None:
        raw = "".join(self._parts)
        self._parts = []
        text = clean(raw)
        if text:
            self.characters += len(raw)
            self.damaged += damage(raw)
            self.line_words.append(len(text.split()))
            self._paragraphs.append(text)

    def _end_section(self) -> None:
        self._end_paragraph()
        text = " ".join([*self._paragraphs, *self._notes])
        if text or self._heading:
            self.sections.append(
                {"heading": self._heading, "page": 1, "text": text, "page_breaks": []}
            )
        self._paragraphs, self._notes, self._heading = [], [], ""


def _is_skipped(element: Any, tag: str, classes: list[str]) -> bool:
    return (
        tag in SKIPPED_TAGS
        or not SKIPPED_CLASSES.isdisjoint(classes)
        or element.get("id") in SKIPPED_IDS
        or element.get("hidden") is not None
        or element.get("aria-hidden") == "true"
        or bool(HIDDEN_STYLE.search(element.get("style", "")))
    )
