"""As much of Go's ``text/template`` as chat templates of Ollama need: range, if, else, eq."""

import json
import re
from collections.abc import Iterator
from typing import Any

ACTION = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.S)


def render(template: str, messages: list[dict[str, str]]) -> str:
    """The text that ``template`` makes of a chat; an action that is not known is an error."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    root = {
        "Messages": [{"Role": m["role"], "Content": m["content"]} for m in messages],
        "System": system,
    }
    tree, _ = _parse(_tokens(template))
    return _run(tree, root, root)


def _tokens(template: str) -> Iterator[tuple[str, str]]:
    """Texts and actions, with the blanks that ``{{-`` and ``-}}`` swallow taken away."""
    position, strip_next = 0, False
    for match in ACTION.finditer(template):
        text = template[position : match.start()]
        text = text.lstrip() if strip_next else text
        yield "text", text.rstrip() if match[1] else text
        if not match[2].startswith("/*"):
            yield "action", match[2]
        position, strip_next = match.end(), bool(match[3])
    rest = template[position:]
    yield "text", rest.lstrip() if strip_next else rest


def _parse(tokens: Iterator[tuple[str, str]]) -> tuple[list[Any], str]:
    nodes: list[Any] = []
    for kind, value in tokens:
        word = value.split(" ", 1)[0]
        if kind == "text":
            nodes.append(value)
        elif word in ("end", "else"):
            return nodes, value
        elif word in ("range", "if"):
            nodes.append(_block(word, value.partition(" ")[2], tokens))
        else:
            nodes.append(("print", value))
    return nodes, ""


def _block(word: str, condition: str, tokens: Iterator[tuple[str, str]]) -> tuple[Any, ...]:
    body, closing = _parse(tokens)
    otherwise: list[Any] = []
    if closing.startswith("else if"):
        otherwise = [_block("if", closing.removeprefix("else if").strip(), tokens)]
    elif closing == "else":
        otherwise, _ = _parse(tokens)
    return (word, condition, body, otherwise)


def _run(nodes: list[Any], dot: Any, root: Any) -> str:
    text = ""
    for node in nodes:
        if isinstance(node, str):
            text += node
        elif node[0] == "print":
            text += str(_value(node[1], dot, root))
        elif node[0] == "range":
            text += "".join(_run(node[2], item, root) for item in _value(node[1], dot, root))
        else:
            text += _run(node[2] if _value(node[1], dot, root) else node[3], dot, root)
    return text


def _value(expression: str, dot: Any, root: Any) -> Any:
    if expression.startswith('"'):
        return json.loads(expression)
    if expression.startswith("eq "):
        first, second = expression.removeprefix("eq ").split(" ", 1)
        return _value(first, dot, root) == _value(second, dot, root)
    if expression.startswith("$."):
        return root[expression.removeprefix("$.")]
    if re.fullmatch(r"\.\w+", expression):
        return dot[expression[1:]]
    raise ValueError(f"the template has an action that the test does not know: {expression!r}")
