"""Base weights with a LoRA adapter folded in, read one tensor at a time.

Every exported file, the base model's too, is read through ``read_tensor``, so the three
models differ by their training and by nothing else. No merged copy is written: a 14B
model would need 28 GB of disk for each adapter. The sum is formed in float32 from
16-bit or 32-bit weights, never from 4-bit ones, whose rounding error it would freeze.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from cutoff import files
from cutoff.errors import CutoffError

LORA_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.weight")

# Variants of LoRA whose update is not scale * B @ A, or not with one scale for all layers.
UNSUPPORTED_LORA = ("use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "lora_bias")


def locate_tensors(base: Path) -> dict[str, Path]:
    """Tensor name -> safetensors file that holds it, for single-file and sharded models.

    A sharded model's index says which files belong to it, so a missing one is an error.
    """
    index = base / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted({base / name for name in files.read_json(index)["weight_map"].values()})
    else:
        shards = sorted(base.glob("*.safetensors"))
    if not shards:
        raise CutoffError(f"{base} holds no .safetensors file (other formats are not read).")
    located: dict[str, Path] = {}
    for path in shards:
        try:
            with safe_open(path, framework="pt") as weights:
                located.update(dict.fromkeys(weights.keys(), path))
        except (SafetensorError, OSError) as error:
            raise CutoffError(f"{path} cannot be read: {error}. Copy it again.") from None
    return located


@dataclass(frozen=True)
class Lora:
    """A PEFT LoRA adapter: each weight gains ``alpha / rank * (b @ a)``.

    ``keys``: name of the base model's weight -> the keys of b and a in the file ``path``.
    ``alpha`` is the one that makes this formula true: with rsLoRA ``lora_alpha * sqrt(rank)``.
    """

    path: Path
    rank: int
    alpha: float
    keys: dict[str, tuple[str, str]]

    def factors(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """b and a of one weight in float32."""
        with safe_open(self.path, framework="pt") as weights:
            b, a = (weights.get_tensor(key).float() for key in self.keys[name])
        return b, a


def read_lora(adapter: Path, tensors: Collection[str]) -> Lora:
    """The adapter in the folder ``adapter`` of a base model with the weights ``tensors``.

    Only plain LoRA on linear layers can be exported. Anything else in the folder (DoRA,
    trained embeddings, biases, ranks that differ by layer) is an error, because leaving it
    out would export another model than the one that was trained.
    """
    config = files.read_json(adapter / "adapter_config.json")
    special = [name for name in UNSUPPORTED_LORA if config.get(name)]
    if config.get("peft_type") != "LORA" or special:
        raise CutoffError(f"{adapter} is not a plain LoRA adapter {special}; it cannot be merged.")
    rank: int = config["r"]
    alpha = config["lora_alpha"] * (rank**0.5 if config.get("use_rslora") else 1.0)
    path = adapter / "adapter_model.safetensors"
    if not path.is_file():
        raise CutoffError(f"{adapter} holds no {path.name}. Run 02_finetune again.")
    halves: dict[str, dict[str, str]] = {}
    with safe_open(path, framework="pt") as weights:
        for key in weights.keys():
            match = LORA_KEY.fullmatch(key)
            name = f"{match['module']}.weight" if match else ""
            if match is None or name not in tensors:
                raise CutoffError(f"{path}: {key} fits no linear layer of the base model.")
            halves.setdefault(name, {})[match["half"]] = key
    if any(len(pair) < 2 for pair in halves.values()):
        raise CutoffError(f"{path} lacks one of lora_A and lora_B of a layer. Train it again.")
    return Lora(path, rank, alpha, {name: (pair["B"], pair["A"]) for name, pair in halves.items()})


def tensor_shape(path: Path, name: str) -> tuple[int, ...]:
    """Shape of one stored tensor, without reading it."""
    with safe_open(path, framework="pt") as weights:
        return tuple(weights.get_slice(name).get_shape())


def read_tensor(name: str, tensors: dict[str, Path], lora: Lora | None) -> torch.Tensor:
    """One weight in float32, with its update where the adapter has one."""
    with safe_open(tensors[name], framework="pt") as weights:
        stored = weights.get_tensor(name)
    if not stored.is_floating_point() or stored.element_size() < 2:
        raise CutoffError(f"{tensors[name]}: {name} is {stored.dtype}, not 16-bit or 32-bit float.")
    merged = stored.float()
    if lora is not None and name in lora.keys:
        b, a = lora.factors(name)
        merged += (lora.alpha / lora.rank * b) @ a
    return merged
