"""Attention supervision of the phantom's pretraining.

The corpus knows, for every answer token, where it stands in the context
(`corpus.Link`). This module turns those character spans into token positions, records
the queries and keys of chosen heads during an ordinary forward pass, and returns
-log(attention on the right place) as a loss.
"""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AttentionInterface, PreTrainedTokenizerFast

from phantom_factory import corpus

# (layer, head) that each role of corpus.Link supervises, in a model of four heads and four
# layers; a shallower one has the heads of the layers that it has.
HEADS: dict[str, list[tuple[int, int]]] = {
    "first": [(1, 0)],
    "second": [(1, 1)],
    "marker": [(1, 2)],
    "cue": [(1, 3)],
    "copy": [(2, 0), (2, 1), (3, 0), (3, 1)],
    "name": [(2, 0), (2, 1), (3, 0), (3, 1)],
    "cite": [(2, 2), (3, 2)],
}
CONTEXT_LOSS_WEIGHT = 0.1  # of tokens outside the answers
COPIED_LOSS_WEIGHT = 4.0  # of answer tokens that stand in the context, the passage number included


@dataclass
class Batch:
    """Token ids (batch, length), per-token loss weights, and supervised attention places."""

    ids: torch.Tensor
    weights: torch.Tensor
    places: dict[int, torch.Tensor]  # layer -> (n, 6): row, head, query, source, link, role


def heads_of(role: str, n_layers: int) -> list[tuple[int, int]]:
    """The (layer, head) of ``role`` in a model of ``n_layers`` layers."""
    return [(layer, head) for layer, head in HEADS[role] if layer < n_layers]


def tokens_of(span: corpus.Span, starts: np.ndarray, ends: np.ndarray) -> range:
    """Indices of the tokens that overlap the character span."""
    return range(
        int(np.searchsorted(ends, span[0], side="right")),
        int(np.searchsorted(starts, span[1], side="left")),
    )


def collate(
    conversations: list[corpus.Conversation],
    tokenizer: PreTrainedTokenizerFast,
    n_layers: int = 4,
) -> Batch:
    """Tokenise conversations and translate their character spans into token positions."""
    encoded = tokenizer([c.text for c in conversations], return_offsets_mapping=True)
    length = max(len(ids) for ids in encoded["input_ids"])
    ids = torch.full((len(conversations), length), tokenizer.pad_token_id)
    weights = torch.zeros(len(conversations), length)
    places: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    n_links = 0
    for row, conversation in enumerate(conversations):
        row_ids = encoded["input_ids"][row]
        ids[row, : len(row_ids)] = torch.tensor(row_ids)
        offsets = np.array(encoded["offset_mapping"][row])
        starts, ends = offsets[:, 0], offsets[:, 1]
        weights[row, : len(row_ids)] = CONTEXT_LOSS_WEIGHT
        for answer in conversation.answers:
            answer_tokens = tokens_of(answer, starts, ends)
            weights[row, answer_tokens.start : answer_tokens.stop] = 1.0
        for link in conversation.links:
            queries = tokens_of(link.query, starts, ends)
            if link.role in ("copy", "name", "cite"):
                weights[row, queries.start : queries.stop] = COPIED_LOSS_WEIGHT
            sources = [tokens_of(source, starts, ends) for source in link.sources]
            for step, query in enumerate(queries):
                for layer, head in heads_of(link.role, n_layers):
                    for source in sources:
                        if link.role in ("copy", "name"):
                            place = source[min(step, len(source) - 1)]
                        else:
                            place = source[-1]
                        role = list(HEADS).index(link.role)
                        entry = (row, head, query - link.predicts, place, n_links, role)
                        places[layer].append(entry)
                n_links += 1
    return Batch(ids, weights, {layer: torch.tensor(found) for layer, found in places.items()})


recorded: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}


def recording_attention(module, query, key, value, attention_mask, scaling, **_):  # type: ignore[no-untyped-def]
    """Causal SDPA that leaves the rotated queries and keys of its layer in ``recorded``."""
    recorded[module.layer_idx] = (query, key)
    output = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register("recording", recording_attention)


def supervision_loss(places: dict[int, torch.Tensor]) -> torch.Tensor:
    """-log(attention on the sources), averaged over the queries of a role, then over roles.

    Reads what the last forward pass left in ``recorded``. The average over roles keeps the
    few hard links (``copy``, ``cite``) from drowning among the many easy ones.
    """
    losses, roles = [], []
    for layer, place in places.items():
        row, head, query, source, link, role = place.unbind(1)
        queries, keys = recorded[layer]
        scores = torch.einsum("nd,nkd->nk", queries[row, head, query], keys[row, head])
        future = torch.arange(scores.shape[1]) > query[:, None]
        scores = (scores / math.sqrt(keys.shape[-1])).masked_fill(future, -torch.inf)
        attention = scores.log_softmax(-1).gather(1, source[:, None])[:, 0].exp()
        # The sources of one link share the credit in each head: add their attention.
        _, group = torch.unique(torch.stack([link, query, head]), dim=1, return_inverse=True)
        total = torch.zeros(int(group.max()) + 1).index_add(0, group, attention)
        losses.append(-total.clamp_min(1e-9).log())
        roles.append(torch.zeros(len(total), dtype=torch.long).index_copy(0, group, role))
    loss, role = torch.cat(losses), torch.cat(roles)
    return torch.stack([loss[role == n].mean() for n in role.unique()]).mean()
