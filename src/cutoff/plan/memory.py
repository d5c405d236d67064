"""Memory and disk that a model needs, in bytes, from its shape.

The working memory of a training was counted, not guessed: autograd's own list of what it keeps
for the backward pass (``torch.autograd.graph.saved_tensors_hooks``), on small Qwen2 models with
LoRA on all projections, is linear in the numbers below. A test counts again. ``SLACK`` stands
for buffers that live for a moment.
"""

from cutoff import micro_batch
from cutoff.params import Params
from cutoff.plan.architecture import Architecture

# QLoRA (Dettmers et al. 2023, arXiv:2305.14314, section 3): 4 bits, and 0.127 bits for the
# doubly quantised constants.
NF4_BYTES = (4 + 0.127) / 8
TRAINED_BYTES = 16  # a LoRA weight, its gradient and Adam's two moments, all in float32
HALF, FULL = 2, 4  # bytes of 16-bit and of 32-bit numbers

# Bytes kept per token and layer, per unit of (hidden, intermediate, key width, rank), without
# dropout; what dropout adds per unit of (hidden, intermediate). In 16 bits on a GPU its masks
# take a byte per element; on a CPU they are float32 and each masked input is a tensor of its own.
KEPT = {HALF: (23.4, 8.4, 4.3, 30.0), FULL: (24.3, 16.0, 8.0, 28.0)}
DROPOUT = {HALF: (6.0, 1.0), FULL: (40.0, 4.0)}
# What a process takes for every byte that autograd lists. CPU: measured at the dimensions of
# Qwen2.5 0.5B (3.33 GB for 1.74) and rounded up; GPU: with LoRA at 0.5B's and 7B's on an H200
# the plan is 3 to 8 % above the peak.
SLACK = {HALF: 1.25, FULL: 2.0}

# Of Python and its libraries, measured on tiny; the notebook's kernel lives beside the training.
LIBRARIES = {"training": 0.70e9, "export": 0.87e9, "evaluation": 0.53e9}
KERNEL = 0.34e9
CUDA_CONTEXT = 0.6e9  # of every process on a GPU, and the allocator's rounding
# llama.cpp computes up to 512 tokens at once, with a float32 logit for every one of them.
UBATCH_TOKENS = 512

# Bits per weight in a GGUF file. Q8_0: blocks of 32 with a 16-bit scale. Q4_K_M: half of the
# values and downward projections and the embedding or head are Q6_K, all else Q4_K. Rows that are
# no multiple of 256 become Q8_0 and Q5_0 (ggml-quants, llama-quant.cpp of llama.cpp).
Q4_K, Q6_K, Q5_0, Q8_0 = 4.5, 6.5625, 5.5, 8.5
GGUF_HEADER = 40  # per token of the vocabulary: its text, type and merge


def training(
    model: Architecture, p: Params, tokens: int, micro: int, checkpointing: bool, gpu: bool
) -> float:
    """The peak of a pass of ``micro`` examples of ``tokens`` tokens; 16 bits on a GPU, else 32."""
    width, layers = HALF if gpu else FULL, model.num_hidden_layers
    weights = model.n_body * (NF4_BYTES if p.load_in_4bit else width)
    weights += (model.n_embedding + model.n_vectors) * width
    per_layer = micro * tokens * kept_per_token(model, p.lora_rank, p.lora_dropout, width)
    kept = layers * per_layer
    if checkpointing:  # the input of every layer, and one layer at a time in full
        kept = layers * micro * tokens * model.hidden_size * width + per_layer
    fixed = CUDA_CONTEXT if gpu else LIBRARIES["training"]
    return weights + TRAINED_BYTES * model.n_lora(p.lora_rank) + SLACK[width] * kept + fixed


def kept_per_token(model: Architecture, rank: int, dropout: float, width: int) -> float:
    """Bytes that one token leaves in one layer until the backward pass."""
    sizes = (model.hidden_size, model.intermediate_size, model.key_width, rank)
    kept = sum(a * b for a, b in zip(KEPT[width], sizes, strict=True))
    masks = sum(a * b for a, b in zip(DROPOUT[width], sizes[:2], strict=True))
    return kept + (masks if dropout else 0.0)


def on_gpu(
    model: Architecture, p: Params, tokens: int, capacity: float
) -> tuple[micro_batch.Plan, float]:
    """What a GPU of ``capacity`` free bytes would do, by the rule that training itself follows,
    and its peak. Raises ``CutoffError`` where not even the smallest pass fits."""
    possible = micro_batch.sizes(p.batch_size, 1, p.micro_batch_size)

    def attempt(micro: int, recompute: bool) -> int:
        return int(training(model, p, tokens, micro, recompute, gpu=True))

    way = p.gradient_checkpointing
    plan = micro_batch.choose(possible, way, tokens, int(capacity), attempt)
    return plan, training(model, p, tokens, plan.micro_batch, plan.checkpointing, gpu=True)


def on_cpu(model: Architecture, p: Params, tokens: int) -> float:
    """The peak on this CPU, by the rule that training follows, with the notebook's kernel."""
    plan = micro_batch.on_cpu(p.batch_size, 1, p.micro_batch_size, p.gradient_checkpointing, tokens)
    return KERNEL + training(model, p, tokens, plan.micro_batch, plan.checkpointing, gpu=False)


def file_size(model: Architecture, kind: str) -> float:
    """Bytes of a GGUF file: F16, BF16, Q8_0 or Q4_K_M."""
    rest = 4.0 * model.n_vectors + GGUF_HEADER * model.vocab_size  # vectors are always float32
    if kind != "Q4_K_M":
        bits = Q8_0 if kind == "Q8_0" else 16.0
        return bits / 8 * (model.n_body + model.n_embedding) + rest

    def types(row: int) -> tuple[float, float]:
        return (Q4_K, Q6_K) if row % 256 == 0 else (Q5_0, Q8_0)

    total = 0.0
    for place, (row, n_rows) in enumerate(model.projections):
        low, high = types(row)
        mean = (low + high) / 2 if place in (2, 6) else low  # values and downward projections
        total += model.num_hidden_layers * row * n_rows * mean
    low, high = types(model.hidden_size)
    one = model.vocab_size * model.hidden_size
    total += one * high + (model.n_embedding - one) * low
    return total / 8 + rest


def serving(model: Architecture, kind: str, num_ctx: int, requests: int, copies: int = 1) -> float:
    """Bytes of answering ``requests`` at a time from ``copies`` of the weights, with the keys and
    values of each request in 16 bits."""
    cache = 2.0 * model.num_hidden_layers * model.key_width * num_ctx * HALF
    buffer = 4.0 * UBATCH_TOKENS * model.vocab_size
    return copies * (file_size(model, kind) + buffer) + requests * cache


def export_memory(model: Architecture, gpu: bool) -> float:
    """Main memory of stage 03 at its peak: the reference in transformers (on the GPU where there
    is one), beside a 16-bit file that is being read."""
    reference = 0 if gpu else FULL * model.n_parameters
    return LIBRARIES["export"] + reference + HALF * model.n_parameters
