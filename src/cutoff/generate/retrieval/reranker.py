"""Reranking: a cross-encoder reads question and passage together and orders the best again.

Nogueira R, Cho K (2019). Passage re-ranking with BERT. arXiv:1901.04085.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cutoff.errors import CutoffError

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

BATCH_SIZE = 32


@lru_cache(maxsize=1)
def cross_encoder(reranker_model: str) -> "CrossEncoder":
    """The loaded cross-encoder; a folder needs no network."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        from sentence_transformers import CrossEncoder
        from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = CrossEncoder(
            reranker_model, local_files_only=Path(reranker_model).is_dir(), trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CutoffError(
            f"Cannot load reranker_model = {reranker_model!r} ({reason:.200}). Check the name and "
            "the network, or set reranker_model=null, which keeps the order of the retriever."
        ) from None
    known = getattr(getattr(model.model, "config", None), "architectures", None) or []
    if model.num_labels != 1 or type(model.model).__name__ not in known:
        # Another kind of model would be given an output layer of random weights.
        raise CutoffError(
            f"reranker_model = {reranker_model!r} is no reranker: it was not trained to give one "
            "score for a question and a passage. Choose another, or set reranker_model=null."
        )
    return model


def scores(reranker_model: str, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Relevance of every (question, passage), higher is better: raw outputs of the model.

    The raw output, not its sigmoid, which is 1.0 for all good passages alike.
    """
    import torch

    if not pairs:
        return np.empty(0, np.float32)
    distinct = list(dict.fromkeys(pairs))  # equal passages get equal scores, to the last bit
    found = cross_encoder(reranker_model).predict(
        distinct,
        batch_size=BATCH_SIZE,
        activation_fn=torch.nn.Identity(),
        show_progress_bar=False,
        convert_to_numpy=True,
    )
    score_of = dict(zip(distinct, found.tolist(), strict=True))
    return np.array([score_of[pair] for pair in pairs])
