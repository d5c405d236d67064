"""Tables and examples: readable numbers, escaped text, a structure that can be read aloud."""

from html.parser import HTMLParser

import pandas as pd
import pytest

from cutoff.report import page
from cutoff.report.wording import interval, label, millions, p_value, percent, points

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    "written, expected",
    [
        (percent(0.62857), "62.9\u00a0%"),
        (percent(float("nan")), "–"),
        (points(-0.0125), "−1.2"),
        (points(0.6), "+60.0"),
        (points(-0.0001), "0.0"),
        (interval(-0.025, 0.075), "−2.5\u00a0to\u00a07.5"),
        (millions(3_300_000), "3.3\u00a0M"),
        (millions(14.8e9), "14.8\u00a0B"),
        (p_value(0.0421), ".042"),
        (p_value(0.00004), "<\u00a0.001"),
        (p_value(1.0), "1.000"),
        (p_value(float("nan")), "–"),
        (label("rag_ft_rag"), "RAG-tuned + RAG"),
        (label("rag_ft - base"), "RAG-tuned − Base"),
        (label("something else"), "something else"),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    assert written == expected


def test_a_table_has_caption_and_scopes_and_no_markup_of_its_content() -> None:
    frame = pd.DataFrame({"condition": ["base", HOSTILE], "n": [1200, 3], "note": ["x", HOSTILE]})
    made = page.table_html(frame, f"Caption {HOSTILE}")
    tags = Tags(made).found
    assert {tag for tag, _ in tags} == {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    scopes = [attributes["scope"] for tag, attributes in tags if tag == "th"]
    assert scopes == ["col", "col", "col", "row", "row"]
    assert "1,200" in made


def test_intervals_are_folded_in_and_missing_values_stay_missing() -> None:
    missing = float("nan")
    row = {"difference": 0.1, "ci_low": missing, "ci_high": missing, "p_holm": None, "gained": 12e3}
    folded = {"auc": 0.75, "auc_low": 0.7, "auc_high": 0.8, "share": 0.5, "share_low": missing}
    made = page.table_html(pd.DataFrame([row | folded | {"share_high": missing}]), "Contrasts")
    assert "95 % interval" in made and "ci_" not in made and "low" not in made.lower()
    assert "nan" not in made.lower() and "None" not in made and made.count(">–<") == 2
    assert ">0.750 (0.700 to 0.800)<" in made and ">50.0\u00a0%<" in made and ">12,000<" in made
    alone = page.table_html(pd.DataFrame({"x": [1], "x_low": [0.25]}), "One end only")
    assert "0.25" in alone
    assert "<tbody></tbody>" in page.table_html(pd.DataFrame({"n": []}), "Nothing")


def test_examples_escape_what_models_wrote_and_say_what_they_leave_out() -> None:
    frame = pd.DataFrame(
        {
            "question": [HOSTILE] * 3,
            "reference": ["a & b"] * 3,
            "condition": ["base", "base_rag", "rag_ft"],
            "response": [HOSTILE, "x" * (page.LONGEST_EXAMPLE + 42), "fine"],
            "passed": pd.array([True, False, pd.NA], dtype="boolean"),
        }
    )
    made = page.examples_html(frame, "Examples")
    assert {"script", "img"}.isdisjoint(tag for tag, _ in Tags(made).found)
    assert "a &amp; b" in made
    assert "(42 more characters)" in made
    assert all(f">{word}</td>" in made for word in ("pass", "fail", "no verdict"))


def test_the_grid_has_a_row_per_condition_and_a_column_per_stratum() -> None:
    rows = [
        (stratum, condition, 80, 1, 0.5, 0.4, 0.6)
        for stratum in ("all_post", "seen", "control")
        for condition in ("base", "base_rag")
    ]
    names = "stratum condition n judge_failed pass_rate ci_low ci_high".split()
    grid = page.rates_grid(pd.DataFrame(rows, columns=names))
    assert list(grid["condition"]) == ["base", "base_rag"]
    assert list(grid.columns[1:]) == [
        f"{name}, n\u00a0=\u00a081"
        for name in ("All new papers", "Trained facts", "Papers before the cutoff")
    ]
    assert grid.iloc[0, 1] == "50.0\u00a0%\u00a0(40.0\u00a0to\u00a060.0)"
