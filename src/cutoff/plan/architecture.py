"""The shapes of the base models, known without downloading them, and the sizes that follow."""

from pathlib import Path
from typing import Any, NamedTuple

from cutoff import files, models
from cutoff.errors import CutoffError
from cutoff.params import Params


class Architecture(NamedTuple):
    """A decoder of the Qwen2 and Llama kind; names as in ``config.json``.

    ``attention_bias``: the projections to q, k and v have biases.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    tie_word_embeddings: bool
    attention_bias: bool
    head_dim: int = 0

    @property
    def query_width(self) -> int:
        """Width of the queries of one token in one layer."""
        return self.num_attention_heads * self._head_width

    @property
    def key_width(self) -> int:
        """Width of the keys, and of the values, of one token in one layer."""
        return self.num_key_value_heads * self._head_width

    @property
    def _head_width(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def projections(self) -> list[tuple[int, int]]:
        """(in, out) of the seven matrices of a layer, all of which LoRA adapts."""
        hidden, inner, keys = self.hidden_size, self.intermediate_size, self.key_width
        attention = [(hidden, self.query_width), (hidden, keys), (hidden, keys)]
        feed_forward = [(hidden, inner), (hidden, inner), (inner, hidden)]
        return [*attention, (self.query_width, hidden), *feed_forward]

    @property
    def n_body(self) -> int:
        """Weights of the layers' matrices: what 4-bit training packs."""
        return self.num_hidden_layers * sum(a * b for a, b in self.projections)

    @property
    def n_embedding(self) -> int:
        """Weights of the embedding, and of the head where it has its own."""
        return self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)

    @property
    def n_vectors(self) -> int:
        """Weights of norms and biases."""
        biases = self.query_width + 2 * self.key_width if self.attention_bias else 0
        return self.num_hidden_layers * (2 * self.hidden_size + biases) + self.hidden_size

    @property
    def n_parameters(self) -> int:
        """All weights."""
        return self.n_body + self.n_embedding + self.n_vectors

    def n_lora(self, rank: int) -> int:
        """Weights of an adapter on all seven matrices of every layer."""
        return self.num_hidden_layers * rank * sum(a + b for a, b in self.projections)


# hidden, intermediate, layers, heads, key-value heads, vocabulary, tied, bias of q, k, v.
KNOWN = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": (576, 1536, 30, 9, 3, 49152, True, False),
    "Qwen/Qwen2.5-0.5B-Instruct": (896, 4864, 24, 14, 2, 151936, True, True),
    "Qwen/Qwen2.5-1.5B-Instruct": (1536, 8960, 28, 12, 2, 151936, True, True),
    "Qwen/Qwen2.5-3B-Instruct": (2048, 11008, 36, 16, 2, 151936, True, True),
    "Qwen/Qwen2.5-7B-Instruct": (3584, 18944, 28, 28, 4, 152064, False, True),
    "Qwen/Qwen2.5-14B-Instruct": (5120, 13824, 48, 40, 8, 152064, False, True),
    "meta-llama/Llama-3.1-8B-Instruct": (4096, 14336, 32, 32, 8, 128256, False, False),
}


def find(p: Params) -> Architecture:
    """The architecture of ``base_model``, from the table above or the config of a folder.

    Raises ``CutoffError`` for a hub model that is not in the table: nothing is downloaded.
    """
    if p.base_model in KNOWN:
        return Architecture(*KNOWN[p.base_model])
    if folder := models.local_folder(p):
        return _read(folder / "config.json")
    raise CutoffError(
        f"base_model = {p.base_model!r} is no folder here and not among the models whose "
        f"shapes are known ({', '.join(KNOWN)}). Download it and give its folder "
        f"(`hf download {p.base_model} --local-dir FOLDER`, then base_model=FOLDER), or add "
        "the numbers of its config.json to src/cutoff/plan/architecture.py."
    )


def _read(path: Path) -> Architecture:
    config: dict[str, Any] = files.read_json(path)
    names = "hidden_size intermediate_size num_hidden_layers num_attention_heads vocab_size".split()
    if missing := [name for name in names if not isinstance(config.get(name), int)]:
        raise CutoffError(
            f"{path} does not say {', '.join(missing)}: this is no decoder of the Qwen2 or Llama "
            "kind, and its needs cannot be computed. Choose another base_model."
        )
    return Architecture(
        **{name: config[name] for name in names},
        num_key_value_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
        tie_word_embeddings=bool(config.get("tie_word_embeddings")),
        # Qwen2's biases stand in the code, not in the file.
        attention_bias=config.get("model_type") == "qwen2" or bool(config.get("attention_bias")),
        head_dim=config.get("head_dim") or 0,
    )
