"""The model families that can be exported; a new one is one entry in ``FAMILIES``.

Whatever an entry does not promise to express is refused: a file without it is another model.
Sources: the configuration classes of transformers; llama.cpp's convert_hf_to_gguf.py
(row order of Q and K, factors of the Llama 3 RoPE scaling).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf

from cutoff import files
from cutoff.errors import CutoffError


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
    "quantization_config": "quantised weights (an adapter is merged into 16-bit or 32-bit ones)",
    "use_sliding_window": "sliding windows",
    "attention_bias": "biases of the attention's projections",
    "mlp_bias": "biases of the feed-forward layers",
}


def family(config: Mapping[str, Any]) -> Family:
    """The entry of the architecture that ``config.json`` names first."""
    return FAMILIES[config["architectures"][0]]


def config_of(base: Path) -> dict[str, Any]:
    """``config.json`` of the model in ``base``; ``CutoffError`` where it cannot be exported."""
    config: dict[str, Any] = files.read_json(base / "config.json")
    if reason := why_not(config):
        raise CutoffError(
            f"{base} cannot be exported: {reason}. Use convert_hf_to_gguf.py of llama.cpp, or "
            "another base_model."
        )
    return config


def why_not(config: Mapping[str, Any]) -> str | None:
    """What of ``config.json`` a GGUF file would not express; ``None`` where it expresses all."""
    name = (config.get("architectures") or ["none"])[0]
    if name not in FAMILIES:
        return f"the architecture {name} is none of {', '.join(FAMILIES)}"
    scaling, known = rope(config), FAMILIES[name].rope_types
    reasons = [words for setting, words in REFUSED.items() if config.get(setting)]
    if set(config.get("layer_types") or ()) - {"full_attention"}:
        reasons.append("layers of several types")
    if (activation := config.get("hidden_act", "silu")) != "silu":
        reasons.append(f"the activation {activation}")
    if scaling["rope_type"] not in known:
        reasons.append(f"the RoPE scaling {scaling['rope_type']} (supported: {', '.join(known)})")
    if scaling["rope_theta"] is None:
        reasons.append("no rope_theta")
    if scaling.get("partial_rotary_factor", 1.0) != 1.0:
        reasons.append("RoPE on a part of each head")
    return f"{name} with {' and '.join(reasons)}" if reasons else None


def rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """RoPE settings with ``rope_type`` and ``rope_theta``, wherever ``config.json`` has them.

    transformers 5 writes ``rope_parameters``; models on the hub have ``rope_theta`` and
    ``rope_scaling`` at the top level, the older ones with ``type`` instead of ``rope_type``.
    """
    given = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    given.setdefault("rope_type", given.get("type", "default"))
    given.setdefault("rope_theta", config.get("rope_theta"))
    return given


def head_dimension(config: Mapping[str, Any]) -> int:
    """Rows of Q per head; Qwen3's do not add up to the hidden size."""
    whole: int = config["hidden_size"] // config["num_attention_heads"]
    return config.get("head_dim") or whole


def rope_factors(config: Mapping[str, Any]) -> list[float] | None:
    """What llama.cpp divides each of half a head's RoPE frequencies by; ``None``: no scaling.

    Llama 3.1 slows the low frequencies by ``factor``, keeps the high ones and blends those
    between (arXiv 2407.21783; ``_compute_llama3_parameters`` of transformers).
    """
    scaling = rope(config)
    if scaling["rope_type"] != "llama3":
        return None
    context = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    n = head_dimension(config)
    factors = []
    for i in range(0, n, 2):
        turns = context / (2 * math.pi * scaling["rope_theta"] ** (i / n))  # in the old context
        kept = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / (kept + (1 - kept) / scaling["factor"]))
    return factors


def as_in_file(name: str, values: Any, config: Mapping[str, Any]) -> Any:
    """The tensor ``values`` of the weight ``name`` with its rows in llama.cpp's order."""
    rotated = name.rpartition(".")[0].endswith(("self_attn.q_proj", "self_attn.k_proj"))
    if not (rotated and family(config).interleaved):
        return values
    # Rows of whole heads in the order 0, d/2, 1, d/2 + 1, ...
    heads = values.reshape(-1, 2, head_dimension(config) // 2, *values.shape[1:])
    return heads.swapaxes(1, 2).reshape(values.shape)
