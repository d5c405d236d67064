"""The tokenizer and the chat template inside a GGUF file, or why llama.cpp would not follow them.

Byte-level BPE alone: llama.cpp splits text by rules of its own, so a tokenizer is exported
only where one of them is known to be the same.
"""

import json
from pathlib import Path
from typing import Any

import gguf

from cutoff import files, splitting
from cutoff.chat_template import load_tokenizer
from cutoff.errors import CutoffError
from cutoff.export import families

# Tokens of the families here at which llama.cpp stops whatever the file says.
STOPS_BY_NAME = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"}


def add(writer: gguf.GGUFWriter, base: Path, vocab_size: int) -> None:
    """Tokens, merges, special tokens and chat template of the tokenizer in the folder ``base``.

    ``vocab_size`` is the number of embedding rows. Rows beyond the tokenizer's last token
    (models round their vocabulary up) get names that no text can produce.
    """
    tokenizer = load_tokenizer(base)
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    check(spec)
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
    _add_special_tokens(writer, tokenizer, stop_ids(base))


def require_exportable(base: Path) -> None:
    """Raise ``CutoffError`` where 03 could not export ``base``: before anything is trained."""
    vocab_size = families.config_of(base)["vocab_size"]
    add(gguf.GGUFWriter(None, "llama"), base, vocab_size)


def check(spec: dict[str, Any]) -> None:
    """Refuse a ``tokenizer.json`` with which llama.cpp would make other tokens of a text.

    NFC (Qwen) is let through: llama.cpp leaves it out, which shows only with decomposed
    letters.
    """
    if spec["model"]["type"] != "BPE":
        raise CutoffError(
            f"The tokenizer is {spec['model']['type']}; only byte-level BPE is exported."
        )
    rule, whole = pre_tokenizer_name(spec["pre_tokenizer"]), spec["model"].get("ignore_merges")
    if bool(whole) != (rule in splitting.WHOLE_WORDS_FIRST):
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


def pre_tokenizer_name(spec: dict[str, Any]) -> str:
    """llama.cpp's name of the rule by which the tokenizer splits text before merging."""
    if (name := splitting.name_of(spec)) is None:
        steps = spec.get("pretokenizers", [spec])
        raise CutoffError(
            f"The tokenizer splits text by {json.dumps(steps)[:300]}, which llama.cpp is not known "
            f"to share; known rules: {', '.join(splitting.RULES)}."
        )
    return name


def stop_ids(base: Path) -> list[int]:
    """Ids at which transformers stops generating, from ``generation_config.json``."""
    path = base / "generation_config.json"
    given = files.read_json(path).get("eos_token_id") if path.is_file() else None
    return given if isinstance(given, list) else [] if given is None else [given]


def opening(tokenizer: Any) -> str:
    """The BOS token, where the chat template writes it once, before everything else.

    SmolLM2 calls the token that opens every turn its BOS: that is none.
    """
    chat = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    rendered, bos = tokenizer.apply_chat_template(chat, tokenize=False), tokenizer.bos_token or ""
    return bos if bos and rendered.startswith(bos) and rendered.count(bos) == 1 else ""


def bos_id(tokenizer: Any) -> int:
    """The BOS id of the file. Without any, llama.cpp takes token 11, an ordinary piece of text."""
    known = [tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id]
    return next(index for index in known if index is not None)


def _add_special_tokens(writer: gguf.GGUFWriter, tokenizer: Any, other_stops: list[int]) -> None:
    """Ids of the special tokens, and the chat template.

    Exactly one BOS stands before a prompt where the chat template writes one. The servers
    agree on that only if ``add_bos_token`` is true: llama.cpp then takes the BOS off the
    rendered prompt and adds it while tokenizing, and Ollama, whose own templates have none,
    adds it as well. Where the template writes none, none may be added.
    """
    if tokenizer.eos_token_id is None or tokenizer.chat_template is None:
        raise CutoffError("The tokenizer has no end-of-turn token or no chat template.")
    names = dict(zip(other_stops, tokenizer.convert_ids_to_tokens(other_stops), strict=True))
    known = STOPS_BY_NAME | {tokenizer.eos_token}
    further = [index for index, name in names.items() if name not in known]
    if len(further) > 1:
        raise CutoffError(
            f"transformers ends an answer at {', '.join(names.values())}; a GGUF file has room for "
            "one of them besides those that llama.cpp knows by name."
        )
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_eot_token_id(tokenizer.eos_token_id)
    for index in further:
        writer.add_eom_token_id(index)
    writer.add_add_bos_token(bool(opening(tokenizer)))
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_bos_token_id(bos_id(tokenizer))
    writer.add_chat_template(str(tokenizer.get_chat_template()))
