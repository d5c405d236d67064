"""The experiment as data: conditions, strata, contrasts, variants, stages, sizes' order.

Every other module takes these names from here, and this one imports nothing of the package.
"""

import re
from dataclasses import dataclass

STAGES = ("generate", "finetune", "export", "evaluate", "compare")

# --- training x context ----------------------------------------------------------------

VARIANTS = ("instruct_ft", "rag_ft")
MODELS = ("base", *VARIANTS)


@dataclass(frozen=True)
class Condition:
    """Which weights answer (one of ``MODELS``), with which context in the prompt."""

    model: str
    context: str  # none | retrieved | oracle | distractor


# base, base_rag, instruct_ft, instruct_ft_rag, rag_ft, rag_ft_rag: the order of every table.
CONDITIONS = {
    model + suffix: Condition(model, context)
    for model in MODELS
    for suffix, context in (("", "none"), ("_rag", "retrieved"))
}
RAG_CONDITIONS = tuple(name for name, c in CONDITIONS.items() if c.context == "retrieved")
EXTRA_CONTEXTS = ("oracle", "distractor")
EXTRA_CONDITIONS = {
    f"{model}_{context}": Condition(model, context)
    for context in EXTRA_CONTEXTS
    for model in MODELS
}
ALL_CONDITIONS = CONDITIONS | EXTRA_CONDITIONS

# --- what a question can show -----------------------------------------------------------

# Trained fact in other words; other fact of a trained paper; paper that training never saw.
POST_STRATA = ("seen", "unseen_fact", "unseen_paper")
STRATA = ("all_post", *POST_STRATA, "control")

# --- what is asked of the answers ---------------------------------------------------------
#
# Planned before any result was seen. A sentence of the report may only rest on a planned
# contrast in a planned stratum. The list is short on purpose: Holm's correction is paid for
# by every entry.


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


def size_order(name: str) -> tuple[bool, list[float], str]:
    """What sizes are sorted by: the phantoms first, then the number in the name."""
    number = re.search(r"\d+(\.\d+)?", name)
    return not name.startswith("tiny"), [float(number[0])] if number else [], name
