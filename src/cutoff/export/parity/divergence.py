"""How far the probabilities of the next token moved between training and serving, in nats.

KL(P || Q) = sum_i p_i log(p_i / q_i), P from transformers, Q from the server, at the same places
of the same text. A server sends only its most probable tokens; those that it left out become one
bucket on both sides. Merging outcomes never increases the divergence (it follows from the log sum
inequality, Cover and Thomas, Elements of Information Theory, 2nd ed., theorem 2.7.1): the figure
is a lower bound, which can miss a difference inside the bucket and never invents one.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# The most probable 100 tokens hold nearly all of the mass, also of 150,000; a reply is 12 kB.
TOP_TOKENS = 100
# Places per answer: its first token, its last and two between. A server keeps what the places
# of one answer share, so four cost little more than one.
PLACES = 4
SMALLEST = 1e-7  # what 32-bit floats leave of 1: less of a bucket is rounding


def places(n_tokens: int) -> list[int]:
    """Up to ``PLACES`` indices of an answer of ``n_tokens``, spread evenly, both ends included."""
    return sorted({round(x) for x in np.linspace(0, n_tokens - 1, min(n_tokens, PLACES))})


def nats(reference: NDArray[np.float32], served: Mapping[int, float]) -> float:
    """KL(reference || served), with everything that ``served`` leaves out as one bucket.

    ``reference`` holds the log-probability of every token; ``served`` maps token ids to
    log-probabilities, the most probable ones or all. At least 0; 0 for equal ones.
    """
    ids = list(served)
    log_p, log_q = reference[ids].astype(float), np.array([served[i] for i in ids], dtype=float)
    p, q = np.exp(log_p), np.exp(log_q)
    of_tokens = np.sum(p * np.where(p > 0, log_p - log_q, 0.0))
    rest_p, rest_q = (max(1.0 - float(x.sum()), SMALLEST) for x in (p, q))
    return max(0.0, float(of_tokens + rest_p * np.log(rest_p / rest_q)))
