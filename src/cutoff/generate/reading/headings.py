"""What reads like a heading of a paper, and the sections that are no text of it."""

import re
from collections.abc import Iterable

from cutoff.records import Section

NUMBER = r"(?:(?:\d+(?:\.\d+)*|[IVX]+|[A-Z])[.)]?\s+)?"
REFERENCES = re.compile(
    NUMBER + r"(?:references|bibliography|literature cited|works cited|references and notes)\s*:?",
    re.IGNORECASE,
)
KNOWN_HEADING = re.compile(
    NUMBER + r"(?:abstract|summary|introduction|background|related work|methods?|methodology"
    r"|materials and methods|experiments|results|discussion|conclusions?|conclusions? and .*"
    r"|.* and outlook|acknowledge?ments?|limitations|appendix.*)[.:]?",
    re.IGNORECASE,
)
NUMBERED_HEADING = re.compile(r"(?:\d{1,2}(?:\.\d{1,2})*|[A-Z](?:\.\d+)*)[.)]?\s+[A-Z][^\W\d].*")
ROMAN_HEADING = re.compile(r"[IVX]+\.\s+[A-Z][A-Z\s,:&-]+")
CONTENTS = re.compile(NUMBER + r"(?:table of )?contents\s*:?", re.IGNORECASE)
AFTER_REFERENCES = re.compile(
    r"(?:appendi|supplement|acknowledg|affiliation|[A-Z][.)]?\s+[A-Z]|[A-Z]?\d+(?:\.\d+)*[.)]?\s+[A-Z])",
    re.IGNORECASE,
)


def is_named(text: str) -> bool:
    """True if the words are those of a section's heading: numbered, or well known."""
    return bool(NUMBERED_HEADING.fullmatch(text) or KNOWN_HEADING.fullmatch(text))


def without_references(sections: Iterable[Section]) -> list[Section]:
    """Sections without reference lists and tables of contents.

    A list of references ends at a heading that looks like one of an appendix: within the
    list, bold volume numbers look like headings too.
    """
    kept = []
    dropping = False
    for section in sections:
        heading = section["heading"]
        if REFERENCES.fullmatch(heading):
            dropping = True
        elif AFTER_REFERENCES.match(heading):
            dropping = False
        if not dropping and not CONTENTS.fullmatch(heading):
            kept.append(section)
    return kept
