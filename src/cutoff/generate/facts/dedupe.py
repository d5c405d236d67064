"""No question twice: in the same words, in nearly the same, or in others.

Two questions are compared by the pieces of five letters that they share (Jaccard
similarity; candidates come from MinHash signatures) and by the cosine of their embeddings.
Neither is enough alone: "How large is Crane-7B?" and "How large is Crane-3B?" look and mean
almost the same, but ask for two facts. So questions that differ in a number or in a name are
never the same question, and letters alone do not make one of two that each have a content
word of their own ("the width of Crane", "the depth of Crane").

A text that is shorter than a piece is one piece itself. With no pieces at all, all short
texts would have equal, empty signatures, and each would be a copy of every other.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cutoff.generate.facts import checks
from cutoff.generate.questions.evidence import normalise
from cutoff.records import Fact, Wording

if TYPE_CHECKING:
    import numpy as np

Embed = Callable[[Sequence[str]], "np.ndarray"]

PIECE = 5  # letters
ALIKE = 0.6  # Jaccard similarity
SAME_MEANING = 0.95  # cosine
N_PERMUTATIONS = 128


def pieces(text: str) -> frozenset[str]:
    """Runs of ``PIECE`` letters of a text; a shorter text is one piece, an empty one has none."""
    bare = re.sub(r"[^\w.]+", " ", normalise(text)).strip(" .")
    if not bare:
        return frozenset()
    return frozenset(bare[i : i + PIECE] for i in range(max(1, len(bare) - PIECE + 1)))


def similarity(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard similarity of two sets of pieces; nothing is similar to an empty set."""
    return len(a & b) / len(a | b) if a and b else 0.0


def different_wordings(wordings: Sequence[str], subject: str) -> list[str]:
    """Those of ``wordings`` that are unlike all before them, the subject's name left out."""
    kept: list[tuple[str, frozenset[str]]] = []
    for text in wordings:
        own = pieces(re.sub(re.escape(subject), " ", text, flags=re.IGNORECASE))
        if own and all(similarity(own, other) < ALIKE for _, other in kept):
            kept.append((text, own))
    return [text for text, _ in kept]


def between_splits(questions: Sequence[Wording], subjects: Mapping[str, str]) -> dict[str, Any]:
    """How alike the two splits word their questions about one fact, the subject left out.

    ``same``: evaluation questions worded as a training question; ``alike``: nearly so (at
    least ``ALIKE``); ``most``: the highest similarity.
    """
    by_fact: dict[str, list[frozenset[str]]] = {}
    found = []
    for split in ("train", "eval"):
        for question in questions:
            if question["split"] == split:
                subject = re.escape(subjects[question["fact_id"]])
                bare = re.sub(subject, " ", question["question"], flags=re.IGNORECASE)
                known = by_fact.setdefault(question["fact_id"], [])
                if split == "train":
                    known.append(pieces(bare))
                elif known:
                    found.append(max(similarity(pieces(bare), other) for other in known))
    return {
        "same": sum(value == 1.0 for value in found),
        "alike": sum(ALIKE <= value < 1.0 for value in found),
        "most": max(found, default=0.0),
    }


def names(question: str, subject: str) -> frozenset[str]:
    """What must agree for two questions to be one: their numbers, and the words of names."""
    capitals = re.findall(r"(?<!^)(?<![.?!] )\b[^\W\d_]*[A-Z][\w-]*", question)
    told = [*checks.words(subject), *checks.words(" ".join(capitals)), *checks.numbers(question)]
    return frozenset(
        word for word in told if word not in checks.STOP_WORDS and word not in checks.GENERIC
    )


class Questions:
    """Questions of the facts admitted so far, each fact with all its wordings."""

    def __init__(self, embed: Embed | None = None) -> None:
        from datasketch import MinHashLSH

        self._embed = embed
        self._exact: dict[str, str] = {}
        self._near = MinHashLSH(threshold=ALIKE, num_perm=N_PERMUTATIONS)
        self._known: dict[str, tuple[str, _Wording]] = {}
        self._vectors: dict[frozenset[str], list[tuple[str, np.ndarray]]] = {}

    def admit(self, candidates: Sequence[Fact]) -> list[tuple[str, str] | None]:
        """Admit facts in their order; for each that asks again: (reason, fact_id of the first).

        A fact has ``fact_id``, ``subject``, ``question`` and ``paraphrases``.
        """
        vectors: Any = [None] * len(candidates)
        if self._embed and candidates:
            vectors = self._embed([fact["question"] for fact in candidates])
        return [
            self._admit_one(fact, vector) for fact, vector in zip(candidates, vectors, strict=True)
        ]

    def _admit_one(self, fact: Fact, vector: Any) -> tuple[str, str] | None:
        wordings = [fact["question"], *fact["paraphrases"]]
        own = [_wording(text, fact["subject"]) for text in wordings]
        for text in wordings:
            if first := self._exact.get(normalise(text)):
                return checks.REPEATED, first
        for wording in own:
            if first := self._alike(wording):
                return checks.ALIKE, first
        if vector is not None:
            same_names = self._vectors.setdefault(own[0].names, [])
            for first, other in same_names:
                if float(vector @ other) >= SAME_MEANING:
                    return checks.SAME_MEANING, first
            same_names.append((fact["fact_id"], vector))
        for text, wording in zip(wordings, own, strict=True):
            self._exact[normalise(text)] = fact["fact_id"]
            key = str(len(self._known))
            self._known[key] = (fact["fact_id"], wording)
            self._near.insert(key, _signature(wording.pieces))
        return None

    def _alike(self, wording: "_Wording") -> str | None:
        for key in sorted(self._near.query(_signature(wording.pieces)), key=int):
            first, other = self._known[key]
            if nearly_same(wording, other):
                return first
        return None


@dataclass(frozen=True)
class _Wording:
    pieces: frozenset[str]
    names: frozenset[str]
    content: frozenset[str]


def _wording(text: str, subject: str) -> _Wording:
    return _Wording(pieces(text), names(text, subject), frozenset(checks.content(text)))


def nearly_same(a: _Wording, b: _Wording) -> bool:
    """Whether two wordings of two facts ask the same, by their letters."""
    if a.names != b.names or (a.content - b.content and b.content - a.content):
        return False
    return similarity(a.pieces, b.pieces) >= ALIKE


def _signature(own: frozenset[str]) -> Any:
    from datasketch import MinHash

    signature = MinHash(num_perm=N_PERMUTATIONS, seed=1)
    signature.update_batch([piece.encode() for piece in sorted(own)])
    return signature
