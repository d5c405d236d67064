"""Hugging Face weights and tokenizer -> one GGUF file in F16 or BF16.

    write_gguf(base, None, Path("models/base.F16.gguf"))
    write_gguf(base, adapter, Path("models/rag_ft.F16.gguf"))

Matrices become 16-bit; vectors (norms, biases) stay float32, as llama.cpp expects. The file
records the hash of everything that made it, so a finished file is recognised and not made
again.
"""

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import torch
from gguf import GGMLQuantizationType
from transformers import PreTrainedTokenizerBase

from cutoff import files
from cutoff.chat_template import load_tokenizer
from cutoff.errors import CutoffError
from cutoff.export import families, merge
from cutoff.export.families import Family
from cutoff.export.gguf_file import Tensor, write
from cutoff.export.gguf_header import MADE_FROM_KEY, recorded

# Raise this when the same inputs would give another file, so that old files are made again.
WRITER_VERSION = 2

FILE_TYPES = {
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
}

# llama.cpp splits text by a rule it knows by name, not by the tokenizer's own pattern:
# a pattern that is not listed here would be tokenized by another rule, silently. The
# rule also decides whether a word that is a token stays whole whatever the merges say.
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PRE_TOKENIZERS = {
    CONTRACTIONS + r"|\p{N}" + REST: "qwen2",  # Qwen2, Qwen2.5, Qwen3
    CONTRACTIONS + r"|\p{N}{1,3}" + REST: "llama-bpe",  # Llama 3.x
}
WHOLE_WORDS_FIRST = {"llama-bpe"}

# Tokens of the families here at which llama.cpp stops whatever the file says.
STOPS_BY_NAME = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"}


def made_from(base: Path, adapter: Path | None, dtype: str) -> str:
    """SHA-256 over the contents of every file that shapes the exported model."""
    digest = hashlib.sha256(f"gguf_writer {WRITER_VERSION} {dtype}".encode())
    for folder in (base, adapter):
        patterns = ("*.safetensors", "*config.json", "tokenizer.json", "chat_template.jinja")
        paths = {path for pattern in patterns for path in (folder.glob(pattern) if folder else ())}
        for path in sorted(paths):
            digest.update(f"{path.name} {sha256(path)}".encode())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """``run.sha256_file``, asked once: three exports share a base model of many GB."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    return files.sha256_file(path)


def write_gguf(base: Path, adapter: Path | None, target: Path, dtype: str = "F16") -> bool:
    """Write ``target`` from the folder of the base model and, unless ``None``, an adapter.

    ``dtype`` is ``F16`` or ``BF16``. Returns whether the file was written; ``False`` means
    that a finished file made from the same contents was already there.
    """
    origin = made_from(base, adapter, dtype)
    if recorded(target, MADE_FROM_KEY) == origin:
        return False
    config = merge.read_config(base)
    family = families.family(config, base)
    stored = merge.locate_tensors(base)
    updates = merge.read_updates(adapter, stored)

    def read(name: str) -> Iterator[torch.Tensor]:
        head_dim = families.head_dimension(config)
        rotated = family.interleaved and families.is_rotated(name)
        for rows in merge.read_slices(name, stored, updates, head_dim if rotated else 1):
            yield families.interleave(rows, head_dim) if rotated else rows

    tensors = []
    for name, gguf_name in gguf_names(stored, config, family.architecture).items():
        shape = merge.tensor_shape(stored[name], name)
        tensor_type = GGMLQuantizationType.F32 if len(shape) == 1 else GGMLQuantizationType[dtype]
        tensors.append(Tensor(gguf_name, shape, tensor_type, functools.partial(read, name)))
    factors = families.rope_factors(config, base)
    if factors is not None:
        tensors.append(
            Tensor(
                "rope_freqs.weight",
                (len(factors),),
                GGMLQuantizationType.F32,
                lambda: iter([factors]),
            )
        )

    def add_metadata(writer: gguf.GGUFWriter) -> None:
        writer.add_string(MADE_FROM_KEY, origin)
        add_hyperparameters(writer, config, family, base)
        writer.add_file_type(FILE_TYPES[dtype])
        add_tokenizer(writer, load_tokenizer(base), config["vocab_size"], stop_ids(base))

    write(target, family.architecture, tensors, add_metadata)
    return True


def gguf_names(
    tensors: dict[str, Path], config: dict[str, Any], architecture: gguf.MODEL_ARCH
) -> dict[str, str]:
    """Hugging Face tensor name -> GGUF tensor name, in the order of the file."""
    name_map = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    names: dict[str, str] = {}
    for name in tensors:
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue  # llama.cpp reuses token_embd.weight when output.weight is absent
        if name.endswith("rotary_emb.inv_freq"):
            continue  # computed from the configuration; old files store it
        gguf_name = name_map.get_name(name, try_suffixes=(".weight", ".bias"))
        if gguf_name is None:
            raise CutoffError(f"{tensors[name]}: no GGUF name is known for the tensor {name}.")
        names[name] = gguf_name
    if "lm_head.weight" not in tensors and not config.get("tie_word_embeddings"):
        raise CutoffError("The model's embeddings are not tied, but it has no lm_head.weight.")
    return names


def add_hyperparameters(
    writer: gguf.GGUFWriter, config: dict[str, Any], family: Family, base: Path
) -> None:
    """Dimensions and constants of the network, from ``config.json``."""
    head_dim = families.head_dimension(config)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(families.rope(config, base)["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def stop_ids(base: Path) -> list[int]:
    """Ids at which transformers stops generating, from ``generation_config.json``."""
    path = base / "generation_config.json"
    given = files.read_json(path).get("eos_token_id") if path.is_file() else None
    return given if isinstance(given, list) else [] if given is None else [given]


def add_tokenizer(
    writer: gguf.GGUFWriter,
    tokenizer: PreTrainedTokenizerBase,
    vocab_size: int,
    other_stops: list[int],
) -> None:
    """Byte-level BPE: tokens, merges, special tokens, chat template.

    ``vocab_size`` is the number of embedding rows. Rows beyond the tokenizer's last token
    (models round their vocabulary up) get names that no text can produce.
    """
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    check_tokenizer(spec)
    added = {token["id"]: token for token in spec["added_tokens"]}
    names = {index: text for text, index in spec["model"]["vocab"].items()}
    names |= {index: token["content"] for index, token in added.items()}
    if max(names) >= vocab_size:
        raise CutoffError(f"The tokenizer has more tokens than the model has rows ({vocab_size}).")

    def token_type(index: int) -> gguf.TokenType:
        if index in added:
            special = added[index]["special"]
            return gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED
        return gguf.TokenType.NORMAL if index in names else gguf.TokenType.UNUSED

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer_name(spec["pre_tokenizer"]))
    writer.add_token_list([names.get(index, f"[PAD{index}]") for index in range(vocab_size)])
    writer.add_token_types([token_type(index) for index in range(vocab_size)])
    writer.add_token_merges(
        [pair if isinstance(pair, str) else " ".join(pair) for pair in spec["model"]["merges"]]
    )
    add_special_tokens(writer, tokenizer, other_stops)


def check_tokenizer(spec: dict[str, Any]) -> None:
    """Refuse a ``tokenizer.json`` with which llama.cpp would make other tokens of a text.

    NFC (Qwen) is let through: llama.cpp leaves it out, which shows only with decomposed
    letters.
    """
    if spec["model"]["type"] != "BPE":
        raise CutoffError(
            f"The tokenizer is {spec['model']['type']}; only byte-level BPE is exported."
        )
    rule, whole = pre_tokenizer_name(spec["pre_tokenizer"]), spec["model"].get("ignore_merges")
    if bool(whole) != (rule in WHOLE_WORDS_FIRST):
        raise CutoffError(
            f"The tokenizer's ignore_merges is {whole}; llama.cpp ties the opposite to its rule "
            f"{rule} and would split words differently."
        )
    normalizer = (spec.get("normalizer") or {"type": "NFC"})["type"]
    greedy = [
        token["content"]
        for token in spec["added_tokens"]
        if token["lstrip"] or token["rstrip"] or token["single_word"]
    ]
    if normalizer != "NFC" or greedy:
        changes = ", ".join([normalizer, *greedy])
        raise CutoffError(f"The tokenizer changes texts ({changes}) as llama.cpp does not.")


def add_special_tokens(
    writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, other_stops: list[int]
) -> None:
    """Ids of the special tokens, and the chat template.

    Exactly one BOS stands before a prompt where the chat template writes one. The servers
    agree on that only if ``add_bos_token`` is true: llama.cpp then takes the BOS off the
    rendered prompt and adds it while tokenizing, and Ollama, whose own templates have none,
    adds it as well. Where the template writes none, none may be added.
    """
    if tokenizer.eos_token_id is None or tokenizer.chat_template is None:
        raise CutoffError("The tokenizer has no end-of-turn token or no chat template.")
    chat = [{"role": "user", "content": "Q"}]
    rendered = str(tokenizer.apply_chat_template(chat, tokenize=False))
    has_bos = bool(tokenizer.bos_token) and rendered.startswith(str(tokenizer.bos_token))
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_eot_token_id(tokenizer.eos_token_id)
    names = dict(zip(other_stops, tokenizer.convert_ids_to_tokens(other_stops), strict=True))
    further = [
        index
        for index, name in names.items()
        if index != tokenizer.eos_token_id and name not in STOPS_BY_NAME
    ]
    if len(further) > 1:
        raise CutoffError(
            f"transformers ends an answer at {', '.join(names.values())}; a GGUF file has room for "
            "one of them besides those that llama.cpp knows by name."
        )
    for index in further:
        writer.add_eom_token_id(index)
    writer.add_add_bos_token(has_bos)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    # Without any BOS id llama.cpp takes token 11, an ordinary piece of text.
    placeholder = [tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id]
    writer.add_bos_token_id(next(index for index in placeholder if index is not None))
    writer.add_chat_template(str(tokenizer.get_chat_template()))


def pre_tokenizer_name(spec: dict[str, Any]) -> str:
    """llama.cpp's name of the rule by which the tokenizer splits text before merging."""
    steps = spec.get("pretokenizers", [spec])
    pattern = next(
        (step["pattern"].get("Regex") for step in steps if step["type"] == "Split"), None
    )
    if pattern not in PRE_TOKENIZERS:
        raise CutoffError(
            f"The tokenizer splits text by the pattern {pattern!r}, which llama.cpp is not known "
            f"to share; known rules: {', '.join(sorted(set(PRE_TOKENIZERS.values())))}."
        )
    return PRE_TOKENIZERS[pattern]
