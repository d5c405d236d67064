"""Hugging Face weights and tokenizer -> one GGUF file in F16, written tensor by tensor.

    write_gguf(base, None, Path("models/base.F16.gguf"))
    write_gguf(base, adapter, Path("models/rag_ft.F16.gguf"))

Matrices become float16; vectors (norms, Q/K/V biases) stay float32, as llama.cpp
expects. Memory holds one tensor at a time. The file records the hash of everything
that made it, so a finished file is recognised and not made again.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors import safe_open
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from cutoff import run
from cutoff.errors import CutoffError
from cutoff.export import merge

# Raise this when the same inputs would give another file, so that old files are made again.
WRITER_VERSION = 1
MADE_FROM_KEY = "cutoff.made_from"

ARCHITECTURES = {"Qwen2ForCausalLM": gguf.MODEL_ARCH.QWEN2}

# llama.cpp splits text by a rule it knows by name, not by the tokenizer's own pattern:
# a pattern that is not listed here would be tokenized by another rule, silently.
PRE_TOKENIZERS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": "qwen2",
}


def made_from(base: Path, adapter: Path | None) -> str:
    """SHA-256 over the contents of every file that shapes the exported model."""
    digest = hashlib.sha256(f"gguf_writer {WRITER_VERSION}".encode())
    for folder in (base, adapter):
        patterns = ("*.safetensors", "*config.json", "tokenizer.json", "chat_template.jinja")
        paths = {path for pattern in patterns for path in (folder.glob(pattern) if folder else ())}
        for path in sorted(paths):
            digest.update(f"{path.name} {run.sha256_file(path)}".encode())
    return digest.hexdigest()


def recorded(path: Path, key: str) -> Any:
    """One metadata value of a GGUF file; ``None`` if the key or the file is missing or torn."""
    if not path.is_file():
        return None
    try:
        field = gguf.GGUFReader(path).get_field(key)
    except (ValueError, IndexError, OSError):
        return None
    return None if field is None else field.contents()


def write_gguf(base: Path, adapter: Path | None, target: Path) -> bool:
    """Write ``target`` from the folder of the base model and, unless ``None``, an adapter.

    Returns whether the file was written; ``False`` means that a finished file made from
    the same contents was already there. The file appears under its name only when it is
    complete.
    """
    origin = made_from(base, adapter)
    if recorded(target, MADE_FROM_KEY) == origin:
        return False
    config = merge.read_config(base)
    architecture = check_supported(config, base)
    tensors = merge.locate_tensors(base)
    updates = merge.read_updates(adapter, tensors)
    names = gguf_names(tensors, config, architecture)

    run.make_folder(target.parent)
    partial = target.with_name(f".{target.name}.partial")
    writer = gguf.GGUFWriter(partial, gguf.MODEL_ARCH_NAMES[architecture])
    try:
        writer.add_string(MADE_FROM_KEY, origin)
        add_hyperparameters(writer, config)
        add_tokenizer(writer, AutoTokenizer.from_pretrained(base), config["vocab_size"])
        for name, gguf_name in names.items():
            shape = tensor_shape(tensors[name], name)
            dtype = gguf_dtype(shape)
            n_bytes = int(np.prod(shape)) * dtype.itemsize
            writer.add_tensor_info(gguf_name, shape, dtype, n_bytes)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name in names:
            merged = merge.read_tensor(name, tensors, updates).numpy()
            with np.errstate(over="ignore"):  # the next line says it better
                converted = merged.astype(gguf_dtype(merged.shape))
            if not np.isfinite(converted).all():
                raise CutoffError(f"{name} of {base} holds values that float16 cannot express.")
            writer.write_tensor_data(converted)
        writer.close()
        os.replace(partial, target)
    except OSError as error:
        reason = error.strerror or "the disk may be full"  # NumPy gives no reason
        raise CutoffError(f"Cannot write {target}: {reason}.") from None
    finally:
        with suppress(OSError):  # a full disk is reported once
            writer.close()
        partial.unlink(missing_ok=True)
    return True


def check_supported(config: dict[str, Any], base: Path) -> gguf.MODEL_ARCH:
    """The GGUF architecture of the model; an error where the export would not be faithful."""
    name = (config.get("architectures") or ["none"])[0]
    if name not in ARCHITECTURES:
        raise CutoffError(
            f"{base}: the architecture {name} cannot be exported; supported: "
            f"{', '.join(ARCHITECTURES)}. For others use convert_hf_to_gguf.py of llama.cpp."
        )
    scaling = (config.get("rope_parameters") or config.get("rope_scaling") or {}).get("rope_type")
    if scaling not in (None, "default") or config.get("use_sliding_window"):
        raise CutoffError(f"{base}: RoPE scaling and sliding windows are not exported.")
    return ARCHITECTURES[name]


def gguf_names(
    tensors: dict[str, Path], config: dict[str, Any], architecture: gguf.MODEL_ARCH
) -> dict[str, str]:
    """Hugging Face tensor name -> GGUF tensor name, in the order of the file."""
    name_map = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    names: dict[str, str] = {}
    for name in tensors:
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue  # llama.cpp reuses token_embd.weight when output.weight is absent
        gguf_name = name_map.get_name(name, try_suffixes=(".weight", ".bias"))
        if gguf_name is None:
            raise CutoffError(f"{tensors[name]}: no GGUF name is known for the tensor {name}.")
        names[name] = gguf_name
    if "lm_head.weight" not in tensors and not config.get("tie_word_embeddings"):
        raise CutoffError("The model's embeddings are not tied, but it has no lm_head.weight.")
    return names


def tensor_shape(path: Path, name: str) -> tuple[int, ...]:
    """Shape of one stored tensor, without reading it."""
    with safe_open(path, framework="pt") as weights:
        return tuple(weights.get_slice(name).get_shape())


def gguf_dtype(shape: tuple[int, ...]) -> np.dtype[Any]:
    """float32 for vectors, float16 for matrices."""
    return np.dtype(np.float32 if len(shape) == 1 else np.float16)


def add_hyperparameters(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """Dimensions and constants of the network, from ``config.json``."""
    # transformers 5 moved rope_theta from the top level into rope_parameters
    rope_theta = (config.get("rope_parameters") or config)["rope_theta"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(rope_theta)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def add_tokenizer(
    writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, vocab_size: int
) -> None:
    """Byte-level BPE: tokens, merges, special tokens, chat template; no BOS is ever added.

    ``vocab_size`` is the number of embedding rows. Rows beyond the tokenizer's last token
    (models round their vocabulary up) get names that no text can produce.
    """
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    if spec["model"]["type"] != "BPE":
        raise CutoffError(
            f"The tokenizer is {spec['model']['type']}; only byte-level BPE is exported."
        )
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
    if tokenizer.eos_token_id is None or tokenizer.chat_template is None:
        raise CutoffError("The tokenizer has no end-of-turn token or no chat template.")
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
        # Without any BOS id llama.cpp takes token 11, an ordinary piece of text.
        writer.add_bos_token_id(tokenizer.bos_token_id or tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)


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
