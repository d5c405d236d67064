"""Memory and disk that a model needs, in bytes, from its shape.

The working memory of a training was counted, not guessed: autograd's own list of what it keeps
for the backward pass, on small Qwen2 models with LoRA on all projections
(``torch.autograd.graph.saved_tensors_hooks``), is linear in the numbers below. A test counts
again. Buffers that live for a moment are not in it; ``SLACK`` stands for them.
"""

from dataclasses import dataclass

from cutoff import micro_batch
from cutoff.params import Params
from cutoff.plan.architecture import Architecture

# QLoRA (Dettmers et al. 2023, arXiv:2305.14314, section 3): 4 bits, and 0.127 bits for the
# doubly quantised constants.
NF4_BYTES = (4 + 0.127) / 8
# LoRA weights, their gradients and Adam's two moments, all in float32.
TRAINED_BYTES = 16
HALF, FULL = 2, 4  # bytes of 16-bit and of 32-bit numbers

# Bytes kept per token and layer, per unit of (hidden, intermediate, key width, rank), without
# dropout; what dropout adds per unit of (hidden, intermediate).
KEPT = {HALF: (23.4, 8.4, 4.3, 30.0), FULL: (24.3, 16.0, 8.0, 28.0)}
# In 16 bits on a GPU the masks take a byte per element; on a CPU they are float32 and, without
# mixed precision, each masked input is a tensor of its own.
DROPOUT = {HALF: (6.0, 1.0), FULL: (40.0, 4.0)}
# What a process takes for every byte that autograd lists. CPU: measured at the dimensions of
# Qwen2.5 0.5B (3.33 GB for 1.74) and rounded up; GPU: not measured, an assumption.
SLACK = {HALF: 1.25, FULL: 2.0}

# Of Python and its libraries, measured on tiny; the notebook's kernel lives beside the training.
LIBRARIES = {"training": 0.70e9, "export": 0.87e9, "evaluation": 0.53e9}
KERNEL = 0.34e9
CUDA_CONTEXT = 0.6e9  # of every process on a GPU, and the allocator's rounding
# llama.cpp computes up to 512 tokens at once, with a float32 logit for every one of them.
UBATCH_TOKENS = 512

# Bits per weight of a GGUF file's matrices. Q8_0: blocks of 32 with a 16-bit scale. Q4_K_M: half
# of the values and of the downward projections are Q6_K (6.5625 bits), the others Q4_K (4.5),
# the embedding or head Q6_K. K-quants need rows of a multiple of 256; where they are not,
# Q4_K becomes Q5_0 (5.5) and Q6_K becomes Q8_0 (ggml-quants, llama-quant.cpp of llama.cpp).
Q4_K, Q6_K, Q5_0, Q8_0 = 4.5, 6.5625, 5.5, 8.5
GGUF_HEADER = 40  # per token of the vocabulary: its text, type and merge


@dataclass(frozen=True)
class Training:
    """Bytes of one training process: base weights, adapter with optimiser, activations, and
    ``fixed`` for libraries or driver."""

    weights: float
    adapter: float
    activations: float
    fixed: float

    @property
    def total(self) -> float:
        """The peak."""
        return self.weights + self.adapter + self.activations + self.fixed


def training(
    model: Architecture, p: Params, tokens: int, micro: int, checkpointing: bool, gpu: bool
) -> Training:
    """A pass of ``micro`` examples of ``tokens`` tokens; 16 bits on a GPU, 32 on a CPU."""
    width = HALF if gpu else FULL
    rest = (model.n_embedding + model.n_vectors) * width
    weights = model.n_body * (NF4_BYTES if p.load_in_4bit else width) + rest
    per_layer = micro * tokens * kept_per_token(model, p.lora_rank, p.lora_dropout, width)
    activations = model.num_hidden_layers * per_layer
    if checkpointing:  # the input of every layer, and one layer at a time in full
        inputs = model.num_hidden_layers * micro * tokens * model.hidden_size * width
        activations = inputs + per_layer
    fixed = CUDA_CONTEXT if gpu else LIBRARIES["training"]
    adapter = float(TRAINED_BYTES * model.n_lora(p.lora_rank))
    return Training(weights, adapter, SLACK[width] * activations, fixed)


def kept_per_token(model: Architecture, rank: int, dropout: float, width: int) -> float:
    """Bytes that one token leaves in one layer until the backward pass."""
    sizes = (model.hidden_size, model.intermediate_size, model.key_width, rank)
    kept = sum(a * b for a, b in zip(KEPT[width], sizes, strict=True))
    masks = sum(a * b for a, b in zip(DROPOUT[width], sizes[:2], strict=True))
    return kept + (masks if dropout else 0.0)


def on_gpu(
    model: Architecture, p: Params, tokens: int, capacity: float
) -> tuple[micro_batch.Plan, Training]:
    """What a GPU of ``capacity`` free bytes would do, by the rule that training itself follows.

    Raises ``CutoffError`` where not even the smallest pass fits.
    """
    possible = micro_batch.sizes(p.batch_size, 1, p.micro_batch_size)
    plan = micro_batch.choose(
        possible,
        p.gradient_checkpointing,
        tokens,
        int(capacity),
        lambda micro, recompute: int(training(model, p, tokens, micro, recompute, True).total),
    )
    return plan, training(model, p, tokens, plan.micro_batch, plan.checkpointing, gpu=True)


def on_cpu(model: Architecture, p: Params, tokens: int) -> Training:
    """What this CPU would do, by the rule that training itself follows."""
    plan = micro_batch.on_cpu(p.batch_size, 1, p.micro_batch_size, p.gradient_checkpointing, tokens)
    return training(model, p, tokens, plan.micro_batch, plan.checkpointing, gpu=False)


def file_size(model: Architecture, kind: str) -> float:
    """Bytes of a GGUF file: F16, BF16, Q8_0 or Q4_K_M."""
    vectors = 4.0 * model.n_vectors  # always float32
    rest = vectors + GGUF_HEADER * model.vocab_size
    if kind in ("F16", "BF16"):
        return 2.0 * (model.n_body + model.n_embedding) + rest
    if kind == "Q8_0":
        return Q8_0 / 8 * (model.n_body + model.n_embedding) + rest
    bits = 0.0
    projections = model.projections
    for place, (rows, columns) in enumerate(projections):
        careful = 0.5 if place in (2, 6) else 0.0  # values and downward projections
        low, high = (Q4_K, Q6_K) if rows % 256 == 0 else (Q5_0, Q8_0)
        bits += rows * columns * (careful * high + (1 - careful) * low)
    bits *= model.num_hidden_layers
    one = model.vocab_size * model.hidden_size
    low, high = (Q4_K, Q6_K) if model.hidden_size % 256 == 0 else (Q5_0, Q8_0)
    bits += one * high + (0 if model.tie_word_embeddings else one * low)
    return bits / 8 + rest


def kv_cache(model: Architecture, num_ctx: int) -> float:
    """Bytes of the keys and values of one request, in 16 bits."""
    return 2.0 * model.num_hidden_layers * model.key_width * num_ctx * HALF


def serving(model: Architecture, kind: str, num_ctx: int, requests: int, copies: int = 1) -> float:
    """Bytes of answering ``requests`` at a time from ``copies`` of the weights."""
    buffer = 4.0 * UBATCH_TOKENS * model.vocab_size
    return copies * (file_size(model, kind) + buffer) + requests * kv_cache(model, num_ctx)


def export_memory(model: Architecture, gpu: bool) -> float:
    """Main memory of stage 03 at its peak: the reference in transformers, beside a 16-bit file
    that is being read. On a GPU the reference lies there."""
    reference = 0 if gpu else FULL * model.n_parameters
    return LIBRARIES["export"] + reference + HALF * model.n_parameters
