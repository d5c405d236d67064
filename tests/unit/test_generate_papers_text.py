"""Text comes out of files whole and in order, without what belongs to the page or the site."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st

from cutoff.generate.reading import (
    cleaning,
    columns,
    headings,
    html_reader,
    layout,
    quality,
    reader,
    running_heads,
    text_reader,
)
from cutoff.generate.reading.document import Document, Rejected, kind_of
from cutoff.generate.reading.lines import HYPHENS, Line, join_lines

UNSEEN = {"Cc", "Cf", "Cs", "Cn", "Co"}
ANY_TEXT = st.text(alphabet=st.characters(), max_size=300)
WORDS = st.lists(st.from_regex(r"[a-z]{2,9}", fullmatch=True), min_size=1, max_size=60)


def lines_of(words: list[str], per_line: int, page: int = 1) -> list[Line]:
    texts = (" ".join(words[n : n + per_line]) for n in range(0, len(words), per_line))
    return [Line(page, text, 10.0, False) for text in texts]


def body(n: int = 30) -> str:
    return " ".join(
        f"In the trial {k} the loom was faster than each of the {k + 3} mills that we had seen."
        for k in range(n)
    )


def read_text(tmp_path: Path, name: str, text: str) -> Document:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return reader.read_here(path, kind_of(path))


# --- properties ----------------------------------------------------------------------


@given(ANY_TEXT)
def test_no_unseen_character_survives_and_cleaning_twice_changes_nothing(text: str) -> None:
    cleaned = cleaning.clean(text)
    assert not any(unicodedata.category(c) in UNSEEN for c in cleaned)
    assert cleaned == " ".join(cleaned.split())
    assert cleaning.clean(cleaned) == cleaned


@given(WORDS, st.data())
def test_words_broken_at_the_end_of_a_line_are_whole_again(
    words: list[str], data: st.DataObject
) -> None:
    lines = []
    for word in words:
        cut = data.draw(st.integers(0, len(word) - 1))
        hyphen = data.draw(st.sampled_from(HYPHENS))
        lines += [Line(1, word[:cut] + hyphen, 10, False)] if cut else []
        lines.append(Line(1, word[cut:], 10, False))
    assert join_lines(lines)[0].split() == words


@given(st.lists(st.tuples(WORDS, st.integers(1, 3)), min_size=1, max_size=5))
def test_page_breaks_stand_where_the_pages_begin(parts: list[tuple[list[str], int]]) -> None:
    lines, starts, page, n_words = [], [], 1, 0
    for words, step in parts:
        lines += lines_of(words, 4, page)
        n_words += len(words)
        starts += [n_words] * step
        page += step
    last = parts[-1][1]  # no lines stand on the pages after the last part
    assert join_lines(lines)[1] == starts[:-last]


@settings(max_examples=60, deadline=None)
@given(ANY_TEXT, WORDS)
def test_any_html_gives_its_words_and_no_exception(junk: str, words: list[str]) -> None:
    safe = junk.replace("<", "&lt;").replace("\0", "").replace("&", "&amp;")
    page = f"<html><body><p>{safe}</p><p>{' '.join(words)}</p></body></html>"
    (section,) = html_reader.read_bytes(page.encode("utf-8", "replace")).sections
    assert section["text"].split()[-len(words) :] == words
    assert not any(unicodedata.category(c) in UNSEEN for c in section["text"])


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (html_reader.read_bytes, text_reader.decode):
        try:
            read(data)
        except Rejected:
            pass


@settings(max_examples=40, deadline=None)
@given(st.lists(st.builds(Line, st.integers(1, 4), ANY_TEXT, st.sampled_from([0.0, 9.0, 12.0]),
                          st.booleans(), st.floats(0, 300), st.floats(300, 600),
                          st.floats(0, 800)), max_size=40))  # fmt: skip
def test_any_lines_can_be_put_in_order_and_into_sections(lines: list[Line]) -> None:
    ordered = columns.in_reading_order(lines)
    assert sorted(line.text for line in ordered) == sorted(line.text for line in lines)
    _, sections = layout.to_sections(sorted(lines, key=lambda line: line.page))
    for section in sections:
        assert section["page_breaks"] == sorted(section["page_breaks"])
        assert not any(unicodedata.category(c) in UNSEEN for c in section["text"])


# --- words ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "known", "whole"),
    [
        ("avail-", "able", [], "available"),
        ("well-", "known", ["well-known"], "well-known"),
        ("well-", "known", ["well-known", "wellknown"], "wellknown"),
        ("sleep-", "deprived", ["sleep", "deprived"], "sleep-deprived"),
        ("data-", "base", ["data", "base", "database"], "database"),
        ("GPT-", "4", [], "GPT-4"),
        ("Long-", "Term", [], "Long-Term"),
        ("(semi-", "definite),", ["semi-definite"], "(semi-definite),"),
    ],
)
def test_a_hyphen_at_the_end_of_a_line_stays_where_it_belongs(
    first: str, second: str, known: list[str], whole: str
) -> None:
    lines = [Line(1, f"a {first}", 10, False), Line(1, f"{second} b", 10, False)]
    assert join_lines(lines, set(known))[0] == f"a {whole} b"


def test_ligatures_and_accents_become_letters() -> None:
    assert cleaning.clean("e\ufb03cient Gr\u00a8un, \u00b4Erdos, na\u00a8ive") == (
        "efficient Grün, Érdos, naïve"
    )


@pytest.mark.parametrize(
    "heading", ["References", "7. References", "BIBLIOGRAPHY", "A Bibliography"]
)
def test_lists_of_references_are_dropped_and_appendices_kept(heading: str) -> None:
    names = ["1 Introduction", heading, "12(3),", "Appendix A", "Contents"]
    sections = [{"heading": name, "text": name} for name in names]
    kept = [section["heading"] for section in headings.without_references(sections)]
    assert kept == ["1 Introduction", "Appendix A"]


# --- pages ---------------------------------------------------------------------------


def print_columns(path: Path, across: bool) -> tuple[list[str], list[str]]:
    """Print two columns, line by line across both or one after the other."""
    left = [f"Left line {n} tells of looms and mills" for n in range(30)]
    right = [f"Right line {n} speaks of towns and rivers" for n in range(30)]
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Times", "", 9)
    pdf.text(
        20, 18, "This line stands above both of the columns and reaches from side to side " * 2
    )
    left_places = [(20, 30 + 5 * n, text) for n, text in enumerate(left)]
    right_places = [(110, 30 + 5 * n, text) for n, text in enumerate(right)]
    both = [*left_places, *right_places]
    for x, y, text in sorted(both, key=lambda place: (place[1], place[0])) if across else both:
        pdf.text(x, y, text)
    pdf.output(str(path))
    return left, right


@pytest.mark.parametrize("across", [True, False], ids=["line by line", "column by column"])
def test_columns_are_read_one_after_the_other(tmp_path: Path, across: bool) -> None:
    left, right = print_columns(tmp_path / "paper.pdf", across)
    (section,) = reader.read_here(tmp_path / "paper.pdf", "pdf").sections
    assert section["text"].endswith(" ".join([*left, *right]))
    assert section["text"].startswith("This line stands above")


def test_running_heads_and_feet_go_and_the_text_of_the_pages_stays(tmp_path: Path) -> None:
    class Journal(FPDF):
        def header(self) -> None:
            self.set_font("Times", "I", 9)
            name = "A. Weaver, B. Miller" if self.page_no() % 2 else "On Looms and Mills"
            self.cell(0, 5, f"{name} {self.page_no()}", new_x="LMARGIN", new_y="NEXT")
            self.ln(8)

        def footer(self) -> None:
            self.set_y(-15)
            self.set_font("Times", "", 8)
            self.cell(0, 5, f"Page {self.page_no()} of many")

    pdf = Journal(format=(150, 120))
    pdf.set_auto_page_break(True, 25)
    pdf.add_page()
    pdf.set_font("Times", "B", 14)
    pdf.cell(0, 10, "1 Introduction", new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("Times", "", 11)
    pdf.multi_cell(0, 5, body(90), align="L")
    pdf.output(str(tmp_path / "paper.pdf"))
    document = reader.read_here(tmp_path / "paper.pdf", "pdf")
    assert document.n_pages >= 6
    (section,) = document.sections
    assert section["text"] == body(90)
    assert len(section["page_breaks"]) == document.n_pages - 1


def test_page_numbers_are_not_text_but_numbers_in_the_text_are() -> None:
    lines = [Line(1, text) for text in ("3", "The result is", "42", "or so.")]
    kept = running_heads.without_page_number(lines)
    assert [line.text for line in kept] == ["The result is", "42", "or so."]
    assert running_heads.without_page_number([Line(1, "12")]) == []


def test_a_numbered_heading_at_the_top_of_a_page_is_no_running_head() -> None:
    lines = []
    for page, name in enumerate(["1 Method", "2 Results", "", "", ""], start=1):
        lines += [Line(page, name, 14.0, True, bottom=700)] if name else []
        lines += [Line(page, f"Text {n} of it.", 10.0, bottom=660 - 12 * n) for n in range(8)]
    assert running_heads.without_running_heads(lines) == lines


def test_bold_text_is_no_heading_where_all_text_is_bold() -> None:
    lines = [Line(1, "Title", 18.0, True), Line(1, "Intro", 13.0, True)]
    lines += [Line(1, f"text {n}", 11.0, True) for n in range(5)]
    assert [section["heading"] for section in layout.to_sections(lines)[1]] == ["Intro"]


def test_marks_of_axes_are_dropped_but_numbers_in_the_text_are_not() -> None:
    texts = ["It is", "42", "or more.", "0", "20", "40", "60", "The end."]
    kept = layout.without_figure_labels([Line(1, text, 10, False) for text in texts])
    assert [line.text for line in kept] == ["It is", "42", "or more.", "The end."]


def test_labels_of_figures_are_no_headings_where_real_ones_are_numbered() -> None:
    lines = [
        Line(1, "1 Introduction", 12.0, True, font="Bold"),
        *lines_of(body(5).split(), 9),
        Line(1, "Household Income", 14.0, False, font="Helvetica"),
        *lines_of(body(5).split(), 9),
        Line(2, "2 Results", 12.0, True, font="Bold"),
        *lines_of(body(5).split(), 9, page=2),
    ]
    headings = [section["heading"] for section in layout.to_sections(lines)[1]]
    assert headings == ["1 Introduction", "2 Results"]


def test_a_sentence_goes_on_across_a_footnote() -> None:
    lines = [
        Line(1, "The loom was faster than", 10, False, bottom=90),
        Line(1, "1 See the note.", 8, False, bottom=50),
        Line(2, "each of the mills.", 10, False, bottom=700),
    ]
    joined = join_lines(layout.notes_last(lines, 10.0))[0]
    assert joined == "The loom was faster than each of the mills. 1 See the note."


# --- other kinds of files ------------------------------------------------------------


def test_markdown_gives_headings_and_text_without_its_signs(tmp_path: Path) -> None:
    document = read_text(
        tmp_path,
        "paper.md",
        f"---\ntitle: On Looms\n---\n# Heading one\n\nThe *loom* is [fast](http://x.y) `now`.\n\n"
        f"## Results\n\n- {body(2)}\n\n<script>steal()</script>\n\nIt is $x_1^2$.\n\n"
        "## References\n\n1. Smith",
    )
    assert document.title == "On Looms"
    assert [section["heading"] for section in document.sections] == ["", "Results"]
    assert document.sections[0]["text"] == "The loom is fast now."
    assert document.sections[1]["text"].startswith(body(2))
    assert "x_1^2" in document.sections[1]["text"] and "steal" not in str(document.sections)


def test_plain_text_gives_headings_and_pages(tmp_path: Path) -> None:
    text = f"On Looms\n========\n\nABSTRACT\n\n{body(2)}\n\n1 Introduction\n\nThe begin-\nning\f"
    text += "of it.\n\nReferences\n\nSmith\n"
    document = read_text(tmp_path, "paper.txt", text)
    assert (document.title, document.n_pages) == ("On Looms", 2)
    assert [section["heading"] for section in document.sections] == ["ABSTRACT", "1 Introduction"]
    assert document.sections[1]["text"] == "The beginning of it."
    assert document.sections[1]["page_breaks"] == [2]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_texts_of_usual_encodings_are_read(encoding: str) -> None:
    assert text_reader.decode("Grün – naïve\r\n".encode(encoding)) == "Grün – naïve\n"


def test_formulas_are_text() -> None:
    page = (
        '<p>Loss <math alttext="\\displaystyle\\mathrm{MSE}\\leq 84{,}000\\%"><mi>x</mi></math>,'
        "<math><semantics><mi>y</mi><annotation>y_2</annotation></semantics></math>.</p>"
    )
    (section,) = html_reader.read_bytes(page.encode()).sections
    assert section["text"] == "Loss MSE≤ 84,000%,y_2."


# --- quality -------------------------------------------------------------------------

GOOD = Document(1, "", [{"heading": "1 A", "text": body()}], 3000, 0, [15] * 30)


def with_text(text: str) -> Document:
    return replace(GOOD, sections=[{"heading": "1 A", "text": text}])


GERMAN = " ".join(
    f"Im Versuch {k} war der Webstuhl schneller als jede der {k} Mühlen, die wir gesehen haben."
    for k in range(30)
)
BAD = {
    "too short": with_text(body(4)),
    "few words": with_text(
        " ".join(f"{body(1)} 3.1 | 4 = 17 {{}} 0.5 [7] 2 + % 8 & 9 11" for _ in "x" * 9)
    ),
    "damaged characters": replace(GOOD, damaged=200),
    "torn words": with_text(" ".join(" ".join(word) for word in body().split())),
    "words run together": with_text(
        " ".join(
            f"Theloomoftrial{'abcdefghijklmnopqrst'[n]}wasfaster thaneachofthemills."
            for n in range(20)
        )
    ),
    "torn lines": replace(GOOD, line_words=[1, 2] * 200),
    "repetition": with_text(f"{body(3)} " * 12),
    "few sentences": with_text(body().replace(".", "")),
    "not English": with_text(GERMAN),
}


def test_good_text_has_nothing_to_complain_of() -> None:
    assert quality.rate(GOOD) == (1.0, [])


@pytest.mark.parametrize("sign", BAD)
def test_bad_text_scores_low_for_the_right_reason(sign: str) -> None:
    score, reasons = quality.rate(BAD[sign])
    assert score < 0.6
    assert any(reason.startswith(sign) for reason in reasons), reasons


def test_a_text_without_headings_says_so_and_can_pass() -> None:
    score, reasons = quality.rate(replace(GOOD, sections=[{"heading": "", "text": body()}]))
    assert (score, reasons) == (quality.NO_SECTIONS, ["no sections (0.85)"])
