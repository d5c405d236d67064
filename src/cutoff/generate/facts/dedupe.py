"""No question twice: in the same words, in nearly the same, or in others.

Two questions are compared by the pieces of five letters that they share (Jaccard similarity)
and by the cosine of their embeddings. Neither is enough alone: "How large is Crane-7B?" and "How
large is Crane-3B?" look and mean almost the same. So questions that differ in a number or in a
name are never compared, and letters do not make one of two that each have a content word of
their own ("the width of Crane", "the depth of Crane").
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cutoff.generate.facts import checks
from cutoff.generate.facts.rejections import Reason
from cutoff.records import Fact

if TYPE_CHECKING:
    import numpy as np

PIECE = 5  # letters
ALIKE = 0.6  # Jaccard similarity
SAME_MEANING = 0.95  # cosine


def pieces(text: str, subject: str = "") -> frozenset[str]:
    """Runs of ``PIECE`` letters of a text without the subject's name.

    A shorter text is one piece: all short texts would else be alike. An empty one has none.
    """
    if subject:
        text = re.sub(re.escape(subject), " ", text, flags=re.IGNORECASE)
    bare = re.sub(r"[^\w.]+", " ", checks.normalise(text)).strip(" .")
    if not bare:
        return frozenset()
    return frozenset(bare[i : i + PIECE] for i in range(max(1, len(bare) - PIECE + 1)))


def similarity(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard similarity of two sets of pieces; nothing is similar to an empty set."""
    return len(a & b) / len(a | b) if a and b else 0.0


def different_wordings(wordings: Sequence[str], subject: str) -> list[str]:
    """Those of ``wordings`` that are unlike all before them, the subject's name left out."""
    kept: dict[str, frozenset[str]] = {}
    for text in wordings:
        own = pieces(text, subject)
        if own and all(similarity(own, other) < ALIKE for other in kept.values()):
            kept[text] = own
    return list(kept)


class _Asked(NamedTuple):
    """A wording of a fact; only the fact's own question has a ``vector``."""

    fact_id: str
    pieces: frozenset[str]
    content: frozenset[str]
    vector: Any

    def is_nearly(self, other: "_Asked") -> bool:
        """Whether both ask the same by their letters, their names being the same."""
        apart = self.content - other.content and other.content - self.content
        return not apart and similarity(self.pieces, other.pieces) >= ALIKE


class Questions:
    """Questions of the facts admitted so far, each fact with all its wordings."""

    def __init__(self, embed: "Callable[[Sequence[str]], np.ndarray] | None" = None) -> None:
        self._embed = embed
        self._exact: dict[str, str] = {}
        self._by_names: dict[frozenset[str], list[_Asked]] = defaultdict(list)

    def admit(self, candidates: Sequence[Fact]) -> list[tuple[Reason, str] | None]:
        """Admit facts in their order; for each that asks again: (reason, fact_id of the first).

        A fact has ``fact_id``, ``subject``, ``question`` and ``paraphrases``.
        """
        vectors: Any = [None] * len(candidates)
        if self._embed and candidates:
            vectors = self._embed([fact["question"] for fact in candidates])
        return [self._admit_one(*pair) for pair in zip(candidates, vectors, strict=True)]

    def _admit_one(self, fact: Fact, vector: Any) -> tuple[Reason, str] | None:
        texts = [fact["question"], *fact["paraphrases"]]
        for text in texts:
            if first := self._exact.get(checks.normalise(text)):
                return Reason.REPEATED, first
        own: list[tuple[frozenset[str], _Asked]] = []
        for text in texts:
            content = frozenset(checks.content(text))
            asked = _Asked(fact["fact_id"], pieces(text), content, None if own else vector)
            own.append((_names(text, fact["subject"]), asked))
        for names, asked in own:
            for other in self._by_names[names]:
                if asked.is_nearly(other):
                    return Reason.ALIKE, other.fact_id
        for other in self._by_names[own[0][0]] if vector is not None else ():
            if other.vector is not None and float(vector @ other.vector) >= SAME_MEANING:
                return Reason.SAME_MEANING, other.fact_id
        self._exact |= {checks.normalise(text): fact["fact_id"] for text in texts}
        for names, asked in own:
            self._by_names[names].append(asked)
        return None


def _names(text: str, subject: str) -> frozenset[str]:
    """The numbers of a question, and the words of names in it."""
    capitals = re.findall(r"(?<!^)(?<![.?!] )\b[^\W\d_]*[A-Z][\w-]*", text)
    told = [*checks.words(f"{subject} {' '.join(capitals)}"), *checks.numbers(text)]
    return frozenset(told) - checks.STOP_WORDS - checks.GENERIC
