"""Executed notebooks to pages that people read: one file each, no network, no script.

Papers and model answers are not trusted. Whatever a notebook displays passes an
allow-list of HTML, figures are embedded as pictures, and each page forbids the browser
to run or load anything (Content-Security-Policy).
"""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cutoff import files
from cutoff.experiment import size_order
from cutoff.params import Params
from cutoff.run import folders, stages

THEME = Path(__file__).parents[1] / "theme"
TAGS = (
    "a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption "
    "figure h1 h2 h3 h4 hr i img ins kbd li mark ol p pre s section small span strong sub summary "
    "sup table tbody td tfoot th thead tr ul"
).split()
ATTRIBUTES = {
    "*": ["class", "title", "style", "aria-label", "role"],
    "a": ["href"],
    "details": ["open"],
    "img": ["src", "alt", "width", "height"],
    "td": ["colspan", "rowspan"],
    "th": ["colspan", "rowspan", "scope"],
}
STYLES = ["background-color", "color", "font-weight", "text-align", "white-space", "width"]


def theme_hash() -> str:
    """Changes when reports would look different; they are then rendered again."""
    files = [*sorted(THEME.iterdir()), Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def report(stage: stages.Stage, p: Params) -> Path:
    """Render the executed notebook of ``stage`` to HTML beside it and return the page."""
    import nbformat
    from nbconvert import HTMLExporter

    folder = folders.locate(stage.name, p).folder
    notebook = nbformat.read(folder / f"{stage.name}.ipynb", as_version=4)
    notebook.metadata.pop("widgets", None)  # Colab leaves a form that nbconvert cannot read
    notebook.cells = _join_silent(notebook.cells)
    exporter = HTMLExporter(
        extra_template_basedirs=[],
        template_name="base",
        template_file=str(THEME / "report.html.j2"),
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        filters={"safe_html": safe_html, "alt_text": alt_text},
    )
    about: dict[str, Any] = {
        "title": f"{_title(notebook.cells)} ({p.size})",
        "css": (THEME / "report.css").read_text(encoding="utf-8"),
        "links": _links(stage, p),
        "facts": _footer(stages.entry(stage, p), p),
    }
    page, _ = exporter.from_notebook_node(notebook, resources={"report": about})
    for link in about["links"]:  # notebooks link to notebooks, reports to reports
        page = page.replace(f'href="{Path(link["href"]).stem}.ipynb"', f'href="{link["href"]}"')
    path = folder / f"{stage.name}.html"
    files.write_text_atomic(path, page)
    folders.update_stage(
        folder,
        stage.name,
        title=_title(notebook.cells),
        headline=_headline(notebook.cells),
        theme=theme_hash(),
    )
    return path


def index(outputs: Path) -> Path:
    """Write the page that lists every report below ``outputs``, with its headline."""
    from jinja2 import Template

    groups = []
    for path in sorted(outputs.glob("*/run.json"), key=lambda path: _order(path.parent.name)):
        name = path.parent.name
        entries = folders.read_run(path.parent)["stages"]
        reports = [
            {
                "href": f"{name}/{stage.name}.html",
                "title": entries[stage.name].get("title", stage.name),
                "headline": entries[stage.name].get("headline", ""),
                "facts": _when(entries[stage.name]),
            }
            for stage in stages.STAGES
            if stage.name in entries and (path.parent / f"{stage.name}.html").exists()
        ]
        title = "All sizes together" if name == "compare" else f"Size {name}"
        if reports:
            groups.append({"title": title, "reports": reports})
    template = Template((THEME / "index.html.j2").read_text(encoding="utf-8"))
    css = (THEME / "report.css").read_text(encoding="utf-8")
    page = outputs / "index.html"
    files.write_text_atomic(page, template.render(groups=groups, css=css))
    return page


def safe_html(text: str) -> str:
    """``text`` with everything that is not on the allow-list shown as text or left out."""
    import bleach
    from bleach.css_sanitizer import CSSSanitizer

    text = re.sub(r"(?is)<(style|script)\b.*?</\1\s*>", "", text)  # pandas adds its own style
    return bleach.clean(
        text,
        tags=TAGS,
        attributes=ATTRIBUTES,
        protocols=["http", "https", "data"],
        css_sanitizer=CSSSanitizer(allowed_css_properties=STYLES),
    )


def alt_text(output: Any, mime_type: str) -> str:
    """What a figure shows, in words: its metadata ``alt``, else the text beside it."""
    metadata = output.get("metadata", {})
    own = metadata.get(mime_type, {})
    alt = (own.get("alt") if isinstance(own, dict) else None) or metadata.get("alt")
    text = str(alt or output.get("data", {}).get("text/plain", ""))
    return "Figure" if not text or text.startswith("<") else text


def _join_silent(cells: list[Any]) -> list[Any]:
    """One folded "Code" line per result: cells that show nothing join the next code cell."""
    joined: list[Any] = []
    for cell in cells:
        before = joined[-1] if joined else None
        both_code = before is not None and before.cell_type == cell.cell_type == "code"
        if before is not None and both_code and not _shows(before):
            before.source = f"{before.source}\n\n{cell.source}".strip()
            before.outputs = cell.outputs
        else:
            joined.append(cell)
    return joined


def _shows(cell: Any) -> bool:
    return any(output.get("name") != "stderr" for output in cell.outputs)


def _title(cells: list[Any]) -> str:
    for cell in cells:
        if cell.cell_type == "markdown" and (found := re.search(r"(?m)^# (.+)$", cell.source)):
            return found[1].strip()
    return "Report"


def _headline(cells: list[Any]) -> str:
    """First sentence that the notebook computed under "What we found"."""
    under = False
    for cell in cells:
        if cell.cell_type == "markdown":
            under = "what we found" in cell.source.lower()
        for output in cell.get("outputs", []) if under else []:
            text = output.get("data", {}).get("text/markdown") or output.get("text", "")
            for line in str(text).splitlines():
                plain = re.sub(r"[*`_#]|^\s*(-|\d+\.)\s+", "", line).strip()
                if plain:
                    return plain
    return ""


def _links(stage: stages.Stage, p: Params) -> list[dict[str, Any]]:
    links = []
    for other in stages.STAGES:
        here = folders.locate(stage.name, p).folder
        there = folders.locate(other.name, p).folder
        prefix = "" if here == there else f"../{there.name}/"
        text = other.name.replace("_", " ")
        links.append({"href": f"{prefix}{other.name}.html", "text": text, "here": other is stage})
    return links


def _footer(entry: dict[str, Any], p: Params) -> dict[str, str]:
    facts = entry.get("provenance", {})
    names = ("base model", "data set", "seed", "GPU", "code", "Python")
    shown = {name: str(facts[name]) for name in names if name in facts}
    shown = {"size": p.size, **shown, "computed": _when(entry)}
    if entry.get("peak_rss_mb"):
        shown["peak memory"] = f"{entry['peak_rss_mb']:,} MB"
    return {**shown, "key of inputs": str(entry.get("key", "")), "licence": "Apache-2.0"}


def _when(entry: dict[str, Any]) -> str:
    if "finished" not in entry:
        return ""
    finished = datetime.fromisoformat(entry["finished"]).astimezone(UTC)
    return f"{finished:%Y-%m-%d %H:%M} UTC, in {entry['seconds']:.0f} s"


def _order(name: str) -> tuple[Any, ...]:
    """The comparison first, then the sizes."""
    return (name != "compare", *size_order(name))
