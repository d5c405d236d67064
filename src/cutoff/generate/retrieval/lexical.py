"""BM25: passages that share rare words with a question, weighted by how rare they are.

Robertson S, Zaragoza H (2009). The probabilistic relevance framework: BM25 and beyond.
Foundations and Trends in Information Retrieval 3, 333-389. The variant is Lucene's, k1 = 1.5,
b = 0.75, as ``bm25s`` has them.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

# Words, and numbers with their points: "84.3" is one term, "(BLEU-4)," is "bleu-4".
TERM = re.compile(r"\w+(?:[.,'’\-]\w+)*")


def terms(text: str) -> list[str]:
    """The words of ``text`` in lower case, without those that every text has (the, of, ...)."""
    from bm25s.stopwords import STOPWORDS_EN

    return [word for word in TERM.findall(text.lower()) if word not in STOPWORDS_EN]


def scorer(texts: Sequence[str]) -> Callable[[str], np.ndarray]:
    """Function ``question -> BM25 score of every text`` (float32, 0 where no word is shared).

    Made in memory in seconds: there is no file that could be stale.
    """
    import bm25s  # slow to import

    corpus = list(map(terms, texts))
    vocabulary = {term for words in corpus for term in words}
    bm25 = bm25s.BM25(backend="numpy")
    if vocabulary:
        bm25.index(corpus, create_empty_token=False, show_progress=False)

    def scores(question: str) -> np.ndarray:
        known = [term for term in terms(question) if term in vocabulary]
        return bm25.get_scores(known) if known else np.zeros(len(texts), np.float32)

    return scores
