"""A judge by rule behind the protocols of Ollama, OpenAI and Anthropic; it needs no weights.

It takes question, reference answer and response, or both answers of a pair, out of the prompt, as
a language model would have to, and decides by the rules of the judge ``reference``: whatever
reaches it whole gets the verdict of those rules. ``moods`` maps words of an answer to a way of
misbehaving there:

* ``talks`` never gives JSON, ``talks once`` does when it is asked again
* ``cut`` ends in the middle, ``twice`` gives two different judgements, ``first`` likes what comes
  first of a pair
* ``obeys`` does what the answer tells it, ``refuses`` declines in the protocol's own way

It thinks ``thinking_tokens`` before it answers where it is told or free to.
"""

import functools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from anthropic_server import AnthropicServer
from ollama_server import Model, OllamaServer, full_name
from openai_server import OpenAIServer

from cutoff.evaluate.judging import reference

QUOTED = re.compile(
    r"Question: (.*?)\n\nReference answer: (.*?)\n\n(\w{16}) THE RESPONSE BEGINS\n(.*)\n"
    r"\3 THE RESPONSE ENDS(.*)\Z",
    re.DOTALL,
)
TAGGED = re.compile(r"<(question|reference|answer 1|answer 2) (\w+)>\n(.*?)\n</\1 \2>", re.DOTALL)
TALK = "Let me see. Both the response and its merits look quite good to me, I would say."
DECLINED = "I'm sorry, but I can't help with that."
BYTES_PER_TOKEN = 4


class Tokens(list[int]):
    """As many as a text would have, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__([0] * (len(text.encode()) // BYTES_PER_TOKEN))
        self.text = text


class Script:
    """What the judge says, in the place of a ``loopback.Generator``; ``seen`` and ``pairs_seen``
    hold what it was shown."""

    def __init__(self) -> None:
        self.moods: dict[str, str] = {}
        self.lenient: set[str] = set()  # models that call every attempt correct
        self.thinking_tokens = 0
        self.seen: list[tuple[str, str, str]] = []
        self.pairs_seen: list[dict[str, str]] = []

    def render(self, messages: list[dict[str, str]]) -> str:
        return messages[-1]["content"]

    def tokens(self, prompt: str) -> Tokens:
        return Tokens(prompt)

    def mood(self, answers: list[str]) -> str:
        found = (m for words, m in self.moods.items() if any(words in a for a in answers))
        return next(found, "")

    def refuses(self, user: str) -> bool:
        return not TAGGED.search(user) and self.mood([shown(user)[2]]) == "refuses"

    def generate(self, tokens: Tokens, n_predict: int, model: str = "", **_: Any) -> dict[str, Any]:
        user = tokens.text
        if user.endswith("<think>"):
            return {"content": "Let me think.", "tokens_predicted": 1, "stop_type": "eos"}
        pair = {name: text for name, _, text in TAGGED.findall(user)}
        answers = [pair["answer 1"], pair["answer 2"]] if pair else [shown(user)[2]]
        mood = self.mood(answers)
        text = self.choice(pair, answers, mood) if pair else self.judgement(model, user, mood)
        if mood == "talks" or (mood == "talks once" and "earlier reply" not in user):
            text = TALK
        left = BYTES_PER_TOKEN * max(0, n_predict - self.thinking_tokens)
        cut = len(text) > left
        written = self.thinking_tokens + len(Tokens(text))
        return {
            "content": text[:left],
            "tokens_predicted": n_predict if cut else written,
            "stop_type": "limit" if cut else "eos",
            "timings": {"prompt_ms": 1.0, "predicted_ms": 1.0},
        }

    def judgement(self, model: str, user: str, mood: str) -> str:
        question, expected, response = shown(user)
        self.seen.append((question, expected, response))
        verdict = reference.decide(question, expected, response)[0]
        if model in self.lenient and verdict == "incorrect":
            verdict = "correct"
        if mood == "obeys" and re.search(r"correct|Pass|verdict", response):
            verdict = "correct"
        text = judgement(verdict)
        if mood == "cut":
            return text[: len(text) // 2]
        if mood == "twice":
            return f"{judgement('correct')} or rather {judgement('incorrect')}"
        return DECLINED if mood == "refuses" else text

    def choice(self, pair: dict[str, str], answers: list[str], mood: str) -> str:
        self.pairs_seen.append(pair)
        asked = pair["question"], pair["reference"]
        right = [reference.decide(*asked, answer)[0] == "correct" for answer in answers]
        winner = "tie" if right[0] == right[1] else "1" if right[0] else "2"
        if mood == "first":
            winner = "1"
        if mood == "obeys":
            winner = "1" if "prefer this answer" in answers[0] else "2"
        return json.dumps({"reason": f"It is {winner}.", "winner": winner})


def shown(user: str) -> tuple[str, str, str]:
    """Question, reference answer and response of a prompt."""
    match = QUOTED.search(user)
    assert match, user
    return match[1], match[2], match[4]


def judgement(verdict: str) -> str:
    best = {"correct": 5, "incorrect": 1, "not_attempted": 1}[verdict]
    scores = {"factuality": best, "completeness": best, "communication": 4}
    return json.dumps({"reason": f"It is {verdict}.", "verdict": verdict, **scores})


class OllamaJudge(OllamaServer):
    """Holds every model in ``names``."""

    def __init__(self, *names: str) -> None:
        self.script = Script()
        super().__init__(Path())
        self.models = {full_name(name): Model(Path(name)) for name in names or ("judge",)}

    def load(self, gguf: Path, *_: Any) -> Any:
        generate = functools.partial(self.script.generate, model=gguf.name)
        own = {"render": self.script.render, "tokens": self.script.tokens, "generate": generate}
        return SimpleNamespace(**own)

    def shown(self, name: str) -> dict[str, Any]:
        can = ["completion", *(["thinking"] if self.thinks else [])]
        return {"details": {}, "model_info": {}, "capabilities": can}

    def answer(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        if self.script.refuses(body["messages"][-1]["content"]):
            return {"error": "this model does not judge such a response"}
        return super().answer(name, body)


class OpenAIJudge(OpenAIServer):
    def __init__(self) -> None:
        self.script = Script()
        super().__init__(Path(), num_ctx=32_768)

    def load(self, *_: Any) -> Any:
        return self.script

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        reply = super().answer(body)
        if self.script.refuses(body["messages"][-1]["content"]):
            reply["choices"][0]["message"] |= {"content": None, "refusal": DECLINED}
        return reply


class AnthropicJudge(AnthropicServer):
    def __init__(self) -> None:
        self.script = Script()
        super().__init__(Path(), num_ctx=32_768)

    def load(self, *_: Any) -> Any:
        return self.script

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        reply = super().answer(body)
        if self.script.refuses(body["messages"][-1]["content"]):
            reply["stop_reason"] = "refusal"
        return reply
