"""A Modelfile beside every exported model, so that Ollama can serve the same files.

    ollama create cutoff-tiny-base -f outputs/tiny/Modelfile.base

Ollama does not read the chat template inside a GGUF file but a Go template, so the
Modelfile repeats it. A wrong template is a model that was trained on other prompts than
it is asked: a template is written only where it provably renders what the tokenizer does.
"""

import os
from pathlib import Path

from transformers import AutoTokenizer

from cutoff import run
from cutoff.errors import CutoffError

CHATML = """\
{{ range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
CHATML_END_OF_TURN = "<|im_end|>"

PROBE = [
    {"role": "system", "content": "S1 <|x|>"},
    {"role": "user", "content": " U1\n{{ x }}"},
    {"role": "assistant", "content": "A1"},
    {"role": "user", "content": "U2 "},
]


def go_template(base: Path) -> str:
    """The Go template that renders as the tokenizer's chat template does.

    Compares both on a conversation with every role. Only ChatML is known; a template
    that renders anything else is an error.
    """
    tokenizer = AutoTokenizer.from_pretrained(base)
    rendered = tokenizer.apply_chat_template(PROBE, add_generation_prompt=True, tokenize=False)
    if rendered != render_chatml(PROBE) or tokenizer.eos_token != CHATML_END_OF_TURN:
        raise CutoffError(
            f"The chat template of {base} is not ChatML; no Modelfile is known for it. "
            f"It renders {rendered[:60]!r}..."
        )
    return CHATML


def render_chatml(messages: list[dict[str, str]]) -> str:
    """What Ollama makes of ``CHATML`` for ``messages``."""
    head, turn, tail = (
        CHATML.replace("{{ range .Messages }}", "\0").replace("{{ end }}", "\0").split("\0")
    )
    turns = [
        turn.replace("{{ .Role }}", m["role"]).replace("{{ .Content }}", m["content"])
        for m in messages
    ]
    return head + "".join(turns) + tail


def write_modelfile(base: Path, weights: Path, target: Path, num_ctx: int) -> str:
    """Write the Modelfile of one exported model and return its text.

    ``base`` holds the tokenizer, ``weights`` is the GGUF file, named relative to ``target``
    so that the folder can be moved; ``num_ctx`` is the context in tokens.
    """
    relative = Path(os.path.relpath(weights, target.parent)).as_posix()
    text = (
        f"FROM ./{relative}\n"
        f'TEMPLATE """{go_template(base)}"""\n'
        "PARAMETER temperature 0\n"
        f"PARAMETER num_ctx {num_ctx}\n"
        f'PARAMETER stop "{CHATML_END_OF_TURN}"\n'
    )
    run.write_text_atomic(target, text)
    return text
