"""Every prompt text of the experiment, and the one function that renders each.

Training, export checks and evaluation all call these functions, so the six
conditions cannot drift apart: what differs between two conditions is the weights
or the passages, never the wording. The same texts serve every model size, from
the phantom to 14B, because 05 refuses to compare runs whose prompts differ.

Neither prompt invites the model to decline: an invitation would move closed-book
answers by an amount that depends on how obedient a model is, not on what it knows.
"""

import hashlib
import unicodedata
from collections.abc import Sequence

Message = dict[str, str]

SYSTEM_CLOSED_BOOK = "You answer questions about scientific papers in one short sentence."
SYSTEM_RAG = (
    SYSTEM_CLOSED_BOOK + " Use the passages and cite the number of the passage in brackets."
)


def plain(text: str) -> str:
    """``text`` in Unicode's composed form (NFC), without white space around it.

    Qwen's tokenizers compose by themselves where llama.cpp does not, and Llama's chat
    templates trim where Ollama's cannot: other texts would be other tokens on two sides.
    """
    return unicodedata.normalize("NFC", text).strip()


def render_passages(passages: Sequence[str]) -> str:
    """Number the passage texts from 1 in the given order: ``[1] first\\n[2] second``."""
    return "\n".join(f"[{number}] {plain(text)}" for number, text in enumerate(passages, start=1))


def render_closed_book(question: str) -> list[Message]:
    """Chat messages that ask ``question`` without any context."""
    return [
        {"role": "system", "content": SYSTEM_CLOSED_BOOK},
        {"role": "user", "content": f"Question: {plain(question)}"},
    ]


def render_rag(question: str, passages: Sequence[str]) -> list[Message]:
    """Chat messages that ask ``question`` over numbered ``passages``.

    Raises ``ValueError`` when there is no passage: an empty context is a retrieval
    failure that must be seen, not a closed-book question in disguise.
    """
    if not passages:
        raise ValueError(f"no passage to answer from for the question {question!r}")
    content = f"Passages:\n{render_passages(passages)}\nQuestion: {plain(question)}"
    return [
        {"role": "system", "content": SYSTEM_RAG},
        {"role": "user", "content": content},
    ]


def prompts_sha256() -> str:
    """Hash of everything these functions can put before a model.

    Runs with different hashes were asked different questions and are not comparable.
    """
    rendered = [render_closed_book("Q?"), render_rag("Q?", ["A.", "B."])]
    return hashlib.sha256(repr(rendered).encode()).hexdigest()
