"""The model families that can be exported, and what differs between them in a GGUF file.

A new family is one entry in ``FAMILIES``. Whatever a family's entry does not promise to
express is refused, because a file that leaves it out is another model.
Sources: the configuration classes of transformers; llama.cpp's convert_hf_to_gguf.py
(row order of Q and K, factors of the Llama 3 RoPE scaling).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import torch

from cutoff.errors import CutoffError

CONVERTER = "convert_hf_to_gguf.py of llama.cpp"


@dataclass(frozen=True)
class Family:
    """What llama.cpp expects of an architecture.

    ``rope_types``: the RoPE scalings that its file can express. ``interleaved``: the two
    halves of a rotated pair lie side by side in Q and K, not half a head apart as in
    transformers, so the rows change places.
    """

    architecture: gguf.MODEL_ARCH
    rope_types: tuple[str, ...] = ("default",)
    interleaved: bool = False


FAMILIES = {
    "Qwen2ForCausalLM": Family(gguf.MODEL_ARCH.QWEN2),  # Qwen2, Qwen2.5
    "Qwen3ForCausalLM": Family(gguf.MODEL_ARCH.QWEN3),
    "LlamaForCausalLM": Family(
        gguf.MODEL_ARCH.LLAMA, rope_types=("default", "llama3"), interleaved=True
    ),
}

# Settings under which the network computes something that no entry above expresses.
REFUSED = {
    "use_sliding_window": "sliding windows",
    "attention_bias": "biases of the attention's projections",
    "mlp_bias": "biases of the feed-forward layers",
}


def family(config: Mapping[str, Any], base: Path) -> Family:
    """The family of the model in ``base``; an error where the export would not be faithful."""
    name = (config.get("architectures") or ["none"])[0]
    if name not in FAMILIES:
        raise CutoffError(
            f"{base}: the architecture {name} cannot be exported; supported: "
            f"{', '.join(FAMILIES)}. For others use {CONVERTER}."
        )
    found = FAMILIES[name]
    unsupported = [words for setting, words in REFUSED.items() if config.get(setting)]
    if set(config.get("layer_types") or ()) - {"full_attention"}:
        unsupported.append("layers of several types")
    if (activation := config.get("hidden_act", "silu")) != "silu":
        unsupported.append(f"the activation {activation}")
    scaling = rope(config, base)
    if scaling["rope_type"] not in found.rope_types:
        unsupported.append(f"the RoPE scaling {scaling['rope_type']}")
    if scaling.get("partial_rotary_factor", 1.0) != 1.0:
        unsupported.append("RoPE on a part of each head")
    if unsupported:
        raise CutoffError(
            f"{base}: {name} is not exported with {' or '.join(unsupported)} "
            f"(RoPE types supported: {', '.join(found.rope_types)}). Use {CONVERTER}."
        )
    return found


def rope(config: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """RoPE settings with ``rope_type`` and ``rope_theta``, wherever ``config.json`` has them.

    transformers 5 writes ``rope_parameters``; models on the hub have ``rope_theta`` and
    ``rope_scaling`` at the top level, the older ones with ``type`` instead of ``rope_type``.
    """
    given = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    given.setdefault("rope_type", given.get("type", "default"))
    if "rope_theta" not in given:
        if "rope_theta" not in config:
            raise CutoffError(f"{base}/config.json has no rope_theta. Copy the model again.")
        given["rope_theta"] = config["rope_theta"]
    return given


def head_dimension(config: Mapping[str, Any]) -> int:
    """Rows of Q per head; Qwen3's do not add up to the hidden size."""
    whole: int = config["hidden_size"] // config["num_attention_heads"]
    return config.get("head_dim") or whole


def rope_factors(config: Mapping[str, Any], base: Path) -> torch.Tensor | None:
    """What llama.cpp divides each RoPE frequency by, ``None`` without scaling.

    Llama 3.1 slows the low frequencies by ``factor``, keeps the high ones and blends those
    between (arXiv 2407.21783; ``_compute_llama3_parameters`` of transformers). A GGUF file
    holds the factors as a tensor of half a head.
    """
    scaling = rope(config, base)
    if scaling["rope_type"] != "llama3":
        return None
    n = head_dimension(config)
    factor, low, high, context = (
        float(scaling[name])
        for name in (
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
        )
    )
    factors = []
    for i in range(0, n, 2):
        turns = context / (2 * math.pi * scaling["rope_theta"] ** (i / n))  # in the old context
        kept = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / (kept + (1 - kept) / factor))
    return torch.tensor(factors, dtype=torch.float32)


def interleave(rows: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows of whole heads of Q or K in llama.cpp's order: 0, d/2, 1, d/2 + 1, ..."""
    heads = rows.reshape(-1, 2, head_dim // 2, *rows.shape[1:])
    return heads.swapaxes(1, 2).reshape(rows.shape)


def is_rotated(name: str) -> bool:
    """Whether the weight's rows are the dimensions that RoPE rotates."""
    return name.rpartition(".")[0].endswith(("self_attn.q_proj", "self_attn.k_proj"))
