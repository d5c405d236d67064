"""The tokenizer of a base model, with a chat template that renders the same text everywhere.

Three things make one template render different prompts on two sides of an export:

* the date: the Llama 3 templates write ``Today Date: ...`` from ``date_string``, which is
  the day of the call with Llama 3.2 in transformers and with any Llama 3 in llama.cpp;
* thinking: Qwen3's closes an empty ``<think>`` block for ``enable_thinking=False`` only, and
  servers differ in what they pass;
* a caller who forgets to pass either.

So both are set inside the template itself. Training, export and the reference of the
parity gate load the tokenizer here, and the GGUF file and the Modelfile carry this template.
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
