"""The contrasts that were planned before any result was seen.

A sentence of the report may only rest on a planned contrast in a planned stratum. That
list is short on purpose: Holm's correction is paid for by every entry.
"""

from dataclasses import dataclass

POST_STRATA = ("seen", "unseen_fact", "unseen_paper")
STRATA = ("all_post", *POST_STRATA, "control")


@dataclass(frozen=True)
class Contrast:
    """A difference of pass rates, ``plus`` minus ``minus``, fixed before any result was seen.

    An interaction has two conditions on either side. ``planned`` names the strata in which
    the contrast carries a sentence of the report; in the others it is shown as detail.
    """

    name: str
    question: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    planned: tuple[str, ...]


CONTRASTS = (
    Contrast("rag", "What does retrieval buy?", ("base_rag",), ("base",), ("all_post",)),
    Contrast(
        "ft_closed_book_instruct",
        "What does question-answer training buy without retrieval?",
        ("instruct_ft",),
        ("base",),
        POST_STRATA,
    ),
    Contrast(
        "ft_closed_book_rag",
        "Does RAG-style training store knowledge?",
        ("rag_ft",),
        ("base",),
        ("seen", "unseen_paper"),
    ),
    Contrast(
        "ft_under_rag_instruct",
        "What does question-answer training add to retrieval?",
        ("instruct_ft_rag",),
        ("base_rag",),
        ("all_post",),
    ),
    Contrast(
        "ft_under_rag_rag",
        "What does RAG-style training add to retrieval?",
        ("rag_ft_rag",),
        ("base_rag",),
        ("all_post",),
    ),
    Contrast(
        "transfer_to_rag",
        "With retrieval, is question-answer training as good as RAG-style training?",
        ("instruct_ft_rag",),
        ("rag_ft_rag",),
        ("all_post",),
    ),
    Contrast(
        "transfer_to_closed_book",
        "Without retrieval, is RAG-style training as good as question-answer training?",
        ("rag_ft",),
        ("instruct_ft",),
        ("seen",),
    ),
    Contrast(
        "ft_instead_of_rag",
        "Can question-answer training replace retrieval?",
        ("instruct_ft",),
        ("base_rag",),
        ("seen",),
    ),
    Contrast(
        "interaction_instruct",
        "Does question-answer training gain more with retrieval than without?",
        ("instruct_ft_rag", "base"),
        ("base_rag", "instruct_ft"),
        ("all_post",),
    ),
    Contrast(
        "interaction_rag",
        "Does RAG-style training gain more with retrieval than without?",
        ("rag_ft_rag", "base"),
        ("base_rag", "rag_ft"),
        ("all_post",),
    ),
)
