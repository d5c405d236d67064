"""No question twice: in the same words, in nearly the same, or in others.

Two questions are compared by the pieces of five letters that they share (Jaccard
similarity; candidates come from MinHash signatures) and by the cosine of their embeddings.
Neither is enough alone: "How large is Crane-7B?" and "How large is Crane-3B?" look and mean
almost the same, but ask for two facts. So questions that differ in a number or in a name are
never the same question, and letters alone do not make one of two that each have a content
word of their own ("the width of Crane", "the depth of Crane").
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cutoff.generate.facts import checks
from cutoff.generate.facts.rejections import Reason
from cutoff.generate.questions.evidence import normalise
from cutoff.records import Fact, Wording

if TYPE_CHECKING:
    import numpy as np

PIECE = 5  # letters
ALIKE = 0.6  # Jaccard similarity
SAME_MEANING = 0.95  # cosine
N_PERMUTATIONS = 128


def pieces(text: str, subject: str = "") -> frozenset[str]:
    """Runs of ``PIECE`` letters of a text without the subject's name.

    A shorter text is one piece: all short texts would else be alike. An empty one has none.
    """
    if subject:
        text = re.sub(re.escape(subject), " ", text, flags=re.IGNORECASE)
    bare = re.sub(r"[^\w.]+", " ", normalise(text)).strip(" .")
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


def between_splits(questions: Sequence[Wording], subjects: Mapping[str, str]) -> list[float]:
    """How alike each evaluation question is to the nearest training question about its fact.

    From 0 to 1 (the same letters), subjects left out; ``ALIKE`` and more is nearly the same.
    """
    trained: dict[str, list[frozenset[str]]] = defaultdict(list)
    found = []
    for question in sorted(questions, key=lambda question: question["split"] == "eval"):
        fact_id = question["fact_id"]
        own = pieces(question["question"], subjects[fact_id])
        if question["split"] == "train":
            trained[fact_id].append(own)
        elif trained[fact_id]:
            found.append(max(similarity(own, other) for other in trained[fact_id]))
    return found


class _Asked(NamedTuple):
    """A wording of a fact, and what it is compared by: ``names`` must agree."""

    fact_id: str
    pieces: frozenset[str]
    names: frozenset[str]
    content: frozenset[str]


class Questions:
    """Questions of the facts admitted so far, each fact with all its wordings."""

    def __init__(self, embed: "Callable[[Sequence[str]], np.ndarray] | None" = None) -> None:
        from datasketch import MinHashLSH

        self._embed = embed
        self._exact: dict[str, str] = {}
        self._near = MinHashLSH(threshold=ALIKE, num_perm=N_PERMUTATIONS)
        self._known: list[_Asked] = []
        self._vectors: dict[frozenset[str], list[tuple[str, np.ndarray]]] = defaultdict(list)

    def admit(self, candidates: Sequence[Fact]) -> list[tuple[Reason, str] | None]:
        """Admit facts in their order; for each that asks again: (reason, fact_id of the first).

        A fact has ``fact_id``, ``subject``, ``question`` and ``paraphrases``.
        """
        vectors: Any = [None] * len(candidates)
        if self._embed and candidates:
            vectors = self._embed([fact["question"] for fact in candidates])
        return [self._admit_one(*pair) for pair in zip(candidates, vectors, strict=True)]

    def _admit_one(self, fact: Fact, vector: Any) -> tuple[Reason, str] | None:
        wordings = [fact["question"], *fact["paraphrases"]]
        own = [_asked(fact, text) for text in wordings]
        for text in wordings:
            if first := self._exact.get(normalise(text)):
                return Reason.REPEATED, first
        for asked in own:
            for key in sorted(self._near.query(_signature(asked.pieces))):
                if _nearly_same(asked, self._known[key]):
                    return Reason.ALIKE, self._known[key].fact_id
        if vector is not None:
            same_names = self._vectors[own[0].names]
            for first, other in same_names:
                if float(vector @ other) >= SAME_MEANING:
                    return Reason.SAME_MEANING, first
            same_names.append((fact["fact_id"], vector))
        self._exact |= {normalise(text): fact["fact_id"] for text in wordings}
        for asked in own:
            self._near.insert(len(self._known), _signature(asked.pieces))
            self._known.append(asked)
        return None


def _asked(fact: Fact, text: str) -> _Asked:
    capitals = re.findall(r"(?<!^)(?<![.?!] )\b[^\W\d_]*[A-Z][\w-]*", text)
    told = [*checks.words(f"{fact['subject']} {' '.join(capitals)}"), *checks.numbers(text)]
    names = frozenset(told) - checks.STOP_WORDS - checks.GENERIC
    return _Asked(fact["fact_id"], pieces(text), names, frozenset(checks.content(text)))


def _nearly_same(a: _Asked, b: _Asked) -> bool:
    if a.names != b.names or (a.content - b.content and b.content - a.content):
        return False
    return similarity(a.pieces, b.pieces) >= ALIKE


def _signature(own: frozenset[str]) -> Any:
    from datasketch import MinHash

    signature = MinHash(num_perm=N_PERMUTATIONS, seed=1)
    signature.update_batch([piece.encode() for piece in sorted(own)])
    return signature
