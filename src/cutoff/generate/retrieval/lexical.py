"""BM25: passages that share rare words with a question, weighted by how rare they are.

Robertson S, Zaragoza H (2009). The probabilistic relevance framework: BM25 and beyond.
Foundations and Trends in Information Retrieval 3, 333-389. The variant is Lucene's, k1 = 1.5,
b = 0.75, as ``bm25s`` has them.
"""

import re
from collections.abc import Sequence

import numpy as np

# Words, and numbers with their points: "84.3" is one term, "(BLEU-4)," is "bleu-4".
TERM = re.compile(r"\w+(?:[.,'’\-]\w+)*")


def terms(text: str) -> list[str]:
    """The words of ``text`` in lower case, without those that every text has (the, of, ...)."""
    from bm25s.stopwords import STOPWORDS_EN

    return [word for word in TERM.findall(text.lower()) if word not in STOPWORDS_EN]


class WordIndex:
    """BM25 over ``texts``, made in memory in seconds: there is no file that could be stale."""

    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s  # slow to import

        self.vocabulary: dict[str, int] = {}
        ids = [
            [self.vocabulary.setdefault(term, len(self.vocabulary)) for term in terms(text)]
            for text in texts
        ]
        self.n_texts = len(texts)
        self._bm25: bm25s.BM25 | None = None
        if self.vocabulary:
            self._bm25 = bm25s.BM25(backend="numpy")
            self._bm25.index((ids, self.vocabulary), create_empty_token=False, show_progress=False)

    def scores(self, question: str) -> np.ndarray:
        """BM25 score of every text, float32; 0 where no word is shared."""
        known = [self.vocabulary[term] for term in terms(question) if term in self.vocabulary]
        if self._bm25 is None or not known:
            return np.zeros(self.n_texts, np.float32)
        return self._bm25.get_scores_from_ids(known)
