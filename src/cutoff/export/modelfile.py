"""A Modelfile beside every exported model, so that Ollama can serve the same files.

    ollama create cutoff-tiny-base -f outputs/tiny/Modelfile.base

Ollama does not read the chat template inside a GGUF file but a Go template. A wrong one is
a model that was trained on other prompts than it is asked. So it is not chosen from a list
by the model's name but put together from what the tokenizer itself renders, and it is
written only where it then renders other conversations exactly as the tokenizer does.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cutoff import files
from cutoff.chat_template import load_tokenizer
from cutoff.errors import CutoffError
from cutoff.export.gguf_writer import stop_ids
from cutoff.params import Params
from cutoff.prompts import Message

ACTION = re.compile(r"\{\{ (?P<action>.*?) \}\}", re.DOTALL)

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


def go_template(base: Path) -> str:
    """The Go template that renders as the chat template of the tokenizer in ``base`` does.

    A beginning-of-sequence token is left out: Ollama puts it before every prompt itself
    where the GGUF file says so. Conversations are a system message or none, then user and
    assistant in turn.
    """
    tokenizer = load_tokenizer(base)
    template = _assemble(tokenizer, base)
    for messages in PROBES:
        expected, found = _render(tokenizer, messages), render(template, messages)
        if found != expected:
            raise CutoffError(
                f"No Go template is known for the chat template of {base}: it renders "
                f"{_difference(expected, found)}. Serve the model with provider llama_cpp, which "
                "uses the tokenizer's own."
            )
    return template


def _render(tokenizer: Any, messages: Sequence[Message]) -> str:
    """What the tokenizer renders, without the beginning-of-sequence token."""
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return str(text).removeprefix(tokenizer.bos_token or "")


def _assemble(tokenizer: Any, base: Path) -> str:
    """A Go template of the pieces that the tokenizer puts around the contents of a conversation.

    Between two contents stand the end of one turn (the tokenizer's end token and white space)
    and the beginning of the next.
    """
    contents = ["«system»", "«user»", "«assistant»", "«user again»"]
    roles = ["system", "user", "assistant", "user"]
    chat = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)]
    around = "(.*)".join(["(.*)", *(re.escape(content) for content in contents), "(.*)"])
    pattern = around.replace("(.*)(.*)", "(.*)")
    whole = re.fullmatch(pattern, _render(tokenizer, chat), re.DOTALL)
    alone = _render(tokenizer, chat[1:2]).partition(contents[1])
    if whole is None or not alone[1]:
        raise CutoffError(f"The chat template of {base} changes the messages; no Modelfile fits.")
    system_open, to_user, to_assistant, back_to_user, end = whole.groups()
    closed = re.match(re.escape(tokenizer.eos_token or "\0") + r"\s*", back_to_user)
    if closed is None:
        raise CutoffError(
            f"The chat template of {base} ends a turn with {back_to_user[:30]!r}, its tokenizer "
            f"with {tokenizer.eos_token!r}; servers would not stop there."
        )
    close = closed[0]
    user_open = to_user.removeprefix(close)
    template = (
        f"{{{{ if .System }}}}{system_open}{{{{ .System }}}}{close}"
        f"{{{{ else }}}}{alone[0].removesuffix(user_open)}{{{{ end }}}}"
        '{{ range .Messages }}{{ if eq .Role "user" }}'
        f"{user_open}{{{{ .Content }}}}{close}"
        '{{ else if eq .Role "assistant" }}'
        f"{to_assistant.removeprefix(close)}{{{{ .Content }}}}{close}"
        f"{{{{ end }}}}{{{{ end }}}}{end.removeprefix(close)}"
    )
    if '"""' in template or len(ACTION.findall(template)) != template.count("{{"):
        raise CutoffError(f"The chat template of {base} writes {{{{ or quotes; no Modelfile fits.")
    return template


def render(template: str, messages: Sequence[Message]) -> str:
    """What Ollama makes of ``messages`` with a template of ``go_template``.

    Go's ``text/template`` for the actions that occur there. As in Ollama, ``.System`` is all
    system messages joined by empty lines.
    """
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    parts = ACTION.split(template)
    return _execute(list(zip(parts[::2], [*parts[1::2], "end"], strict=True)), system, messages, {})


def _execute(
    steps: list[tuple[str, str]],
    system: str,
    messages: Sequence[Message],
    current: Mapping[str, str],
) -> str:
    """Text and the action behind it, in order; nested blocks are executed by calls of itself."""
    output = ""
    while steps:
        text, action = steps.pop(0)
        output += text
        if action == ".System":
            output += system
        elif action in (".Role", ".Content"):
            output += current[action[1:].lower()]
        elif action.startswith(("if ", "range ")):
            branches, steps = _block(action, steps)
            if action.startswith("range "):
                for message in messages:
                    output += _execute(list(branches[0][1]), system, messages, message)
                continue
            for condition, inside in branches:
                if _holds(condition, system, current):
                    output += _execute(list(inside), system, messages, current)
                    break
        elif action != "end":
            raise ValueError(f"the action {action!r} is not one of go_template's")
    return output


def _block(
    action: str, steps: list[tuple[str, str]]
) -> tuple[list[tuple[str, list[tuple[str, str]]]], list[tuple[str, str]]]:
    """The branches of a block, each with its condition, and what follows behind its ``end``."""
    branches: list[tuple[str, list[tuple[str, str]]]] = [(action, [])]
    depth = 0
    for index, (text, inner) in enumerate(steps):
        inside = branches[-1][1]
        if depth == 0 and inner == "end":
            inside.append((text, "end"))
            return branches, steps[index + 1 :]
        if depth == 0 and inner.startswith("else"):
            inside.append((text, "end"))
            branches.append((inner.removeprefix("else").strip(), []))
            continue
        depth += inner.startswith(("if ", "range ")) - (inner == "end")
        inside.append((text, inner))
    raise ValueError("a block of the template has no end")


def _holds(condition: str, system: str, current: Mapping[str, str]) -> bool:
    """Whether a branch is taken; the last one, ``else``, has no condition."""
    if condition in ("", "if .System"):
        return condition == "" or system != ""
    match = re.fullmatch(r'if eq \.Role "(\w+)"', condition)
    if match is None:
        raise ValueError(f"the condition {condition!r} is not one of go_template's")
    return current["role"] == match[1]


def _difference(expected: str, found: str) -> str:
    """Both texts around the first place where they differ."""
    at = len(os.path.commonprefix((expected, found)))
    return f"{expected[at : at + 40]!r} where the Go template renders {found[at : at + 40]!r}"


def stop_tokens(base: Path) -> list[str]:
    """Texts at which an answer ends: the end of turn and whatever generation_config.json adds."""
    tokenizer = load_tokenizer(base)
    further = tokenizer.convert_ids_to_tokens(stop_ids(base))
    return list(dict.fromkeys([tokenizer.eos_token, *further]))


def parameters(p: Params, base: Path) -> dict[str, Any]:
    """What Ollama is to answer with unless a request says otherwise; 04 always says it too."""
    return {
        "temperature": p.temperature,
        "top_p": p.top_p,
        "repeat_penalty": p.repeat_penalty,
        "num_ctx": p.num_ctx,
        "num_predict": p.max_new_tokens,
        "stop": stop_tokens(base),
    }


def write_modelfile(
    base: Path,
    weights: Path,
    target: Path,
    parameters: Mapping[str, Any],
    lora: Path | None = None,
) -> str:
    """Write the Modelfile of one exported model and return its text.

    ``base`` holds the tokenizer, ``weights`` is the GGUF file and ``lora`` the adapter over it,
    named relative to ``target`` so that the folder can be moved; ``parameters`` as above.
    """

    def relative(path: Path) -> str:
        return "./" + Path(os.path.relpath(path, target.parent)).as_posix()

    lines = [f"FROM {relative(weights)}"]
    if lora is not None:
        lines.append(f"ADAPTER {relative(lora)}")
    lines.append(f'TEMPLATE """{go_template(base)}"""')
    for name, value in parameters.items():
        values = value if isinstance(value, list) else [value]
        shown = [f'"{v}"' if isinstance(v, str) else f"{v:g}" for v in values]
        lines += [f"PARAMETER {name} {text}" for text in shown]
    text = "\n".join(lines) + "\n"
    files.write_text_atomic(target, text)
    return text
