"""The tokenizer of a base model, with a chat template that renders the same text everywhere.

A template may write today's date (Llama 3's ``date_string``), or close an empty ``<think>`` block
for ``enable_thinking=False`` only (Qwen3), and servers differ in what they pass. So both are set
inside the template itself. Training, export and the reference of the parity gate load the
tokenizer here, and the GGUF file and the Modelfile carry this template.
"""

import re
from pathlib import Path
from typing import Any

# The day that the template of Llama 3.1 names when it is given none.
DATE = "26 Jul 2024"

# Variable of a template -> its value, in Jinja. Answers are short sentences, and training
# on them without a thought before each would unlearn thinking anyway: it is off.
FIXED = {"date_string": f'"{DATE}"', "enable_thinking": "false"}


def fix(template: str) -> str:
    """``template`` with the date and thinking set by itself, where it asks for them."""
    asked = [name for name in FIXED if re.search(rf"\b{name}\b", template)]
    settings = "".join(f"{{%- set {name} = {FIXED[name]} %}}" for name in asked)
    return template if template.startswith(settings) else settings + template


def load_tokenizer(base: Path | str) -> Any:
    """The tokenizer in the folder ``base``; its chat template depends on messages alone."""
    from transformers import AutoTokenizer  # here: most stages need no tokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    if tokenizer.chat_template:
        tokenizer.chat_template = fix(tokenizer.get_chat_template())
    return tokenizer
