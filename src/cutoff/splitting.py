"""How a tokenizer splits text before merging: llama.cpp's name of a rule, and the rule itself.

llama.cpp splits by a rule that it knows by name, not by the tokenizer's own pattern: a pattern
that is not listed here would be tokenized by another rule, silently. The rule also decides
whether a word that is a token stays whole whatever the merges say (``ignore_merges``).
"""

from typing import Any

_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _by_pattern(pattern: str) -> list[dict[str, Any]]:
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    return [split, _byte_level(use_regex=False)]


def _byte_level(use_regex: bool) -> dict[str, Any]:
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    return {**level, "use_regex": use_regex}


RULES: dict[str, list[dict[str, Any]]] = {
    "qwen2": _by_pattern(_LETTERS + r"|\p{N}" + _REST),  # Qwen2, Qwen2.5, Qwen3
    "llama-bpe": _by_pattern(_LETTERS + r"|\p{N}{1,3}" + _REST),  # Llama 3.x
    "smollm": [{"type": "Digits", "individual_digits": True}, _byte_level(use_regex=True)],
}
WHOLE_WORDS_FIRST = {"llama-bpe"}


def name_of(pre_tokenizer: dict[str, Any]) -> str | None:
    """The name of the rule that ``pre_tokenizer`` of a ``tokenizer.json`` follows, if known."""
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    return next((name for name, rule in RULES.items() if _essence(rule) == _essence(steps)), None)


def _essence(steps: list[dict[str, Any]]) -> list[Any]:
    """What decides where text is split; ByteLevel only does where it uses its own pattern."""
    return [
        (step["type"], step.get("pattern", {}).get("Regex"), step.get("individual_digits"))
        for step in steps
        if step["type"] != "ByteLevel" or step["use_regex"]
    ]
