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
    parts = [*sorted(THEME.iterdir()), Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in parts)).hexdigest()[:16]


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
    title = _title(notebook.cells)
    links = _links(stage, p)
    about = {
        "title": f"{title} ({p.size})",
        "css": (THEME / "report.css").read_text(encoding="utf-8"),
        "links": links,
        "facts": _footer(stages.entry(stage, p), p),
    }
    page, _ = exporter.from_notebook_node(notebook, resources={"report": about})
    for link in links:  # notebooks link to notebooks, reports to reports
        page = page.replace(f'href="{Path(link["href"]).stem}.ipynb"', f'href="{link["href"]}"')
    path = folder / f"{stage.name}.html"
    files.write_text_atomic(path, page)
    shown = {"title": title, "headline": _headline(notebook.cells), "theme": theme_hash()}
    folders.update_stage(folder, stage.name, **shown)
    return path


def index(outputs: Path) -> Path:
    """Write the page that lists every report below ``outputs``, with its headline."""
    from jinja2 import Template

    groups = []
    runs = (path.parent for path in outputs.glob("*/run.json"))
    # The comparison first, then the sizes.
    for folder in sorted(runs, key=lambda run: (run.name != folders.COMPARE, size_order(run.name))):
        entries = folders.read_run(folder)["stages"]
        reports = [
            {
                "href": f"{folder.name}/{name}.html",
                "title": entry.get("title", name),
                "headline": entry.get("headline", ""),
                "facts": _when(entry),
            }
            for name, entry in sorted(entries.items())
            if (folder / f"{name}.html").exists()
        ]
        title = "All sizes together" if folder.name == folders.COMPARE else f"Size {folder.name}"
        if reports:
            groups.append({"title": title, "reports": reports})
    template = Template((THEME / "index.html.j2").read_text(encoding="utf-8"))
    css = (THEME / "report.css").read_text(encoding="utf-8")
    page = outputs / "index.html"
    files.write_text_atomic(page, template.render(groups=groups, css=css))
    return page


def safe_html(text: str) -> str:
    """``text`` with everything that is not on the allow-list shown as text or left out."""
    from nbconvert.preprocessors.sanitize import SanitizeHTML

    text = re.sub(r"(?is)<(style|script)\b.*?</\1\s*>", "", text)  # pandas adds its own style
    cleaner = SanitizeHTML(tags=TAGS, attributes=ATTRIBUTES, styles=STYLES)
    clean: str = cleaner.sanitize_html_tags(text)  # type: ignore[no-untyped-call]
    return clean


def alt_text(output: Any, mime_type: str) -> str:
    """What a figure shows, in words: its metadata ``alt``, else the text beside it."""
    metadata = output.get("metadata", {})
    alt = metadata.get(mime_type, {}).get("alt") or metadata.get("alt")
    text = str(alt or output.get("data", {}).get("text/plain", ""))
    return "Figure" if not text or text.startswith("<") else text


def _join_silent(cells: list[Any]) -> list[Any]:
    """One folded "Code" line per result: cells that show nothing join the next code cell."""
    joined: list[Any] = []
    for cell in cells:
        before = joined[-1] if joined else cell
        both_code = before is not cell and before.cell_type == cell.cell_type == "code"
        if both_code and all(output.get("name") == "stderr" for output in before.outputs):
            before.source = f"{before.source}\n\n{cell.source}".strip()
            before.outputs = cell.outputs
        else:
            joined.append(cell)
    return joined


def _title(cells: list[Any]) -> str:
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    found = re.search(r"(?m)^# (.+)$", text)
    return found[1].strip() if found else "Report"


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
    here = folders.locate(stage.name, p).folder
    for other in stages.STAGES:
        there = folders.locate(other.name, p).folder
        prefix = "" if here == there else f"../{there.name}/"
        text = other.name.replace("_", " ")
        links.append({"href": f"{prefix}{other.name}.html", "text": text, "here": other is stage})
    return links


def _footer(entry: dict[str, Any], p: Params) -> dict[str, str]:
    facts = entry.get("provenance", {})
    names = ("base model", "data set", "seed", "GPU", "code", "Python")
    shown = {"size": p.size, **{name: str(facts[name]) for name in names if name in facts}}
    shown["computed"] = _when(entry)
    if entry.get("peak_rss_mb"):
        shown["peak memory"] = f"{entry['peak_rss_mb']:,} MB"
    return {**shown, "key of inputs": str(entry.get("key", "")), "licence": "Apache-2.0"}


def _when(entry: dict[str, Any]) -> str:
    if "finished" not in entry:
        return ""
    finished = datetime.fromisoformat(entry["finished"]).astimezone(UTC)
    return f"{finished:%Y-%m-%d %H:%M} UTC, in {entry['seconds']:.0f} s"
