"""The phantoms' architecture and their initial weights.

Ordinary Qwen2 models of some million parameters. Next-token loss alone takes too long to
teach them to copy on a CPU, so their weights start where copying is easy to find:

* In the first layer, three heads are pure position heads (the previous token, the one
  before it, and the third). Under RoPE, a query bias that is the key bias rotated by d
  positions scores highest at distance d; Qwen2 has such biases.
* From the third layer on the copying heads have output times value = identity (together,
  64 dimensions each), so an attended token raises its own logit from the first step.

The two phantoms differ in the number of layers and the width of the feed-forward part. They
share hidden size, heads and tokenizer, so that one data set and one supervision serve both.
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from phantom_factory.supervision import heads_of

# Rows of K-quants are multiples of 256.
N_HEADS, HIDDEN_SIZE = 4, 256
ROPE_THETA = 10_000.0
POSITION_BIAS = 8.0  # gives the sought position over 99 % of a position head's attention
# Large enough for a token to outweigh what the first layers add to it, which is what the copying
# heads then copy; the final norm starts small in turn, because the same matrix gives the logits.
EMBEDDING_STD, FINAL_NORM = 0.15, 0.33


@dataclass(frozen=True)
class Shape:
    """What tells one phantom from another, and the size it is the base model of."""

    size: str
    n_layers: int
    intermediate_size: int  # a multiple of 256, too


SHAPES = {
    "phantom": Shape("tiny", 4, 512),
    "phantom-xs": Shape("tiny-xs", 3, 256),
}


def initialise(model: Qwen2ForCausalLM) -> None:
    """Set position heads and copying heads in place (see the module text)."""
    head_size = HIDDEN_SIZE // N_HEADS
    half = head_size // 2
    n_frequencies = half // 2
    angles = ROPE_THETA ** (-torch.arange(half) / half)[:n_frequencies]
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_(0, EMBEDDING_STD)
        model.model.norm.weight.fill_(FINAL_NORM)
        first = model.model.layers[0].self_attn
        for head, distance in enumerate((1, 2, 3)):
            rows = slice(head * head_size, (head + 1) * head_size)
            query, key = torch.zeros(head_size), torch.zeros(head_size)
            key[:n_frequencies] = POSITION_BIAS
            query[:n_frequencies] = POSITION_BIAS * torch.cos(distance * angles)
            query[half : half + n_frequencies] = -POSITION_BIAS * torch.sin(distance * angles)
            first.q_proj.bias[rows], first.k_proj.bias[rows] = query, key
            first.q_proj.weight[rows] = 0.0
            first.k_proj.weight[rows] = 0.0
        basis = torch.linalg.qr(torch.randn(HIDDEN_SIZE, HIDDEN_SIZE)).Q
        for number, (layer, head) in enumerate(heads_of("copy", len(model.model.layers))):
            attention = model.model.layers[layer].self_attn
            rows = slice(head * head_size, (head + 1) * head_size)
            projection = basis[number * head_size : (number + 1) * head_size]
            attention.v_proj.weight[rows] = projection
            attention.o_proj.weight[:, rows] = projection.T


def build_model(
    vocab_size: int, tokenizer: PreTrainedTokenizerFast, shape: Shape = SHAPES["phantom"]
) -> Qwen2ForCausalLM:
    """The untrained model; bf16-exact storage is chosen when it is saved."""
    config = Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=HIDDEN_SIZE,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=N_HEADS,
        num_key_value_heads=N_HEADS,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM._from_config(config, attn_implementation="recording")
    initialise(model)
    return model
