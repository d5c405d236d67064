"""A Modelfile beside every exported model, so that Ollama can serve the same files.

    ollama create cutoff-tiny-base -f outputs/tiny/Modelfile.base

Ollama reads a Go template, not the one inside a GGUF file. A wrong one is a model that is asked
other prompts than it was trained on, so it is written only for the chat formats below, and only
where it renders other conversations exactly as the tokenizer does.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cutoff import files
from cutoff.chat_template import load_tokenizer
from cutoff.errors import CutoffError
from cutoff.export.gguf_tokenizer import opening, stop_ids
from cutoff.models import Files
from cutoff.params import Params
from cutoff.prompts import Message

# How a turn begins and ends: ChatML (Qwen, SmolLM2, the phantoms) and Llama 3.
FORMATS = (
    ("<|im_start|>{role}\n", "<|im_end|>\n"),
    ("<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>"),
)
# Conversations on which the Go template must render what the tokenizer renders. Contents
# have no blanks at their ends: the templates of Llama 3 cut those off and Go cannot.
PROBES: tuple[list[Message], ...] = (
    [{"role": "system", "content": "S\n<|x|>"}, {"role": "user", "content": "U1\n\n{{ .Role }}"}],
    [{"role": "user", "content": "U"}],
    [
        {"role": "system", "content": "Sys 1"},
        {"role": "user", "content": "U1"},
        {"role": "assistant", "content": "A1\nA"},
        {"role": "user", "content": "U2"},
        {"role": "assistant", "content": "A2"},
        {"role": "user", "content": "U3 'x' \"y\""},
    ],
)


class ChatFormat(NamedTuple):
    """A chat template taken apart: ``begin`` has a place for ``{role}``; ``preface`` stands before
    the system message (the date of Llama 3), ``default`` before a conversation without one,
    ``lead`` before the answer (the empty thinking of Qwen3)."""

    begin: str
    end: str
    preface: str
    default: str
    lead: str

    def turn(self, role: str, content: str) -> str:
        """One message."""
        return self.begin.format(role=role) + content + self.end

    def render(self, messages: Sequence[Message]) -> str:
        """What Ollama makes of ``messages`` with ``in_go``."""
        text = "" if messages[0]["role"] == "system" else self.default
        for message in messages:
            preface = self.preface if message["role"] == "system" else ""
            text += self.turn(message["role"], preface + message["content"])
        return text + self.begin.format(role="assistant") + self.lead

    def in_go(self) -> str:
        """The same in Go's ``text/template``."""
        return (
            f"{{{{ if .System }}}}{self.turn('system', self.preface + '{{ .System }}')}"
            f"{{{{ else }}}}{self.default}{{{{ end }}}}"
            f'{{{{ range .Messages }}}}{{{{ if eq .Role "user" }}}}'
            f"{self.turn('user', '{{ .Content }}')}"
            f'{{{{ else if eq .Role "assistant" }}}}{self.turn("assistant", "{{ .Content }}")}'
            f"{{{{ end }}}}{{{{ end }}}}{self.begin.format(role='assistant')}{self.lead}"
        )


def go_template(base: Path) -> str:
    """The Go template that renders as the chat template of the tokenizer in ``base`` does.

    A beginning-of-sequence token is left out: Ollama adds it where the GGUF file says so.
    Raises ``CutoffError`` where no format fits exactly.
    """
    tokenizer = load_tokenizer(base)
    for begin, end in FORMATS:
        found = _taken_apart(tokenizer, begin, end)
        if found is not None and all(found.render(m) == _render(tokenizer, m) for m in PROBES):
            if end.strip() != tokenizer.eos_token:
                raise CutoffError(
                    f"The chat template of {base} ends a turn with {end.strip()}, its tokenizer "
                    f"with {tokenizer.eos_token!r}; servers would not stop there."
                )
            return found.in_go()
    raise CutoffError(
        f"No Go template is known that renders as the chat template of {base} does (known: ChatML, "
        "Llama 3). Serve the model with provider llama_cpp, which uses the tokenizer's own."
    )


def _taken_apart(tokenizer: Any, begin: str, end: str) -> ChatFormat | None:
    system: Message = {"role": "system", "content": "«system»"}
    user: Message = {"role": "user", "content": "«user»"}
    turn = begin.format(role="user") + user["content"] + end
    default, _, rest = _render(tokenizer, [user]).partition(turn)
    before = _render(tokenizer, [system, user]).partition(system["content"])[0]
    opening, answer = begin.format(role="system"), begin.format(role="assistant")
    texts = (before.removeprefix(opening), default, rest.removeprefix(answer))
    fits = rest.startswith(answer) and before.startswith(opening)
    if not fits or any("{{" in text or '"""' in text for text in texts):
        return None
    return ChatFormat(begin, end, *texts)


def _render(tokenizer: Any, messages: Sequence[Message]) -> str:
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return str(text).removeprefix(opening(tokenizer))


def parameters(p: Params, base: Path) -> dict[str, Any]:
    """What Ollama is to answer with unless a request says otherwise; 04 always says it too.

    Answers stop at the end of turn and at whatever ``generation_config.json`` adds.
    """
    tokenizer = load_tokenizer(base)
    further = tokenizer.convert_ids_to_tokens(stop_ids(base))
    return {
        "temperature": p.temperature,
        "top_p": p.top_p,
        "repeat_penalty": p.repeat_penalty,
        "num_ctx": p.num_ctx,
        "num_predict": p.max_new_tokens,
        "stop": list(dict.fromkeys([tokenizer.eos_token, *further])),
    }


def settings(parameters: Mapping[str, Any]) -> list[str]:
    """The parameters as Ollama writes and lists them, a line each: ``num_ctx 1024``."""
    return [
        f'{name} "{value}"' if isinstance(value, str) else f"{name} {value:g}"
        for name, given in parameters.items()
        for value in (given if isinstance(given, list) else [given])
    ]


def write_modelfile(base: Path, of_model: Files, target: Path, p: Params) -> str:
    """Write the Modelfile of one exported model and return its text.

    ``base`` holds the tokenizer. Weights and adapter are named relative to ``target``, so that
    the folder can be moved.
    """
    lines = [
        f"{word} ./{Path(os.path.relpath(path, target.parent)).as_posix()}"
        for word, path in zip(("FROM", "ADAPTER"), of_model.paths, strict=False)
    ]
    lines.append(f'TEMPLATE """{go_template(base)}"""')
    lines += [f"PARAMETER {line}" for line in settings(parameters(p, base))]
    text = "\n".join(lines) + "\n"
    files.write_text_atomic(target, text)
    return text
