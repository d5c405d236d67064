"""Phantom papers as real PDF files, so that everything after them is real extraction."""

from datetime import UTC, datetime, time

from fpdf import FPDF

from cutoff.phantom.world import Paper


def render_pdf(paper: Paper) -> bytes:
    """One A4 page: title, date, sections with headings, running text, page number.

    The bytes depend on the paper alone (the file's creation date is the paper's own).
    """
    pdf = FPDF(format="A4")
    pdf.set_creation_date(datetime.combine(paper.first_version, time(), tzinfo=UTC))
    pdf.set_title(paper.title)
    pdf.set_margin(25)
    pdf.add_page()
    pdf.set_font("Times", "B", 16)
    pdf.multi_cell(0, 8, paper.title, align="C", new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("Times", "I", 11)
    dated = f"First version of {paper.first_version.isoformat()}"
    pdf.cell(0, 8, dated, align="C", new_x="LMARGIN", new_y="NEXT")
    for heading, sentences in paper.sections:
        pdf.ln(3)
        pdf.set_font("Times", "B", 12)
        pdf.cell(0, 7, heading, new_x="LMARGIN", new_y="NEXT")
        pdf.set_font("Times", "", 11)
        pdf.multi_cell(0, 5.5, " ".join(sentences), align="J", new_x="LMARGIN", new_y="NEXT")
    pdf.set_auto_page_break(False)  # the page number stands below the margin
    pdf.set_y(-20)
    pdf.set_font("Times", "", 9)
    pdf.cell(0, 5, str(pdf.page_no()), align="C")
    return bytes(pdf.output())
