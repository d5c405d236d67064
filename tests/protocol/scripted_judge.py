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

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from anthropic_server import AnthropicServer
from ollama_server import Model, OllamaServer, full_name, now
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
WORDS_PER_TOKEN = 4  # bytes, in truth


class Said(NamedTuple):
    """A reply within its limit; ``tokens`` are those of thinking and text."""

    text: str
    cut: bool
    refused: bool
    tokens: int


class Script:
    """What the judge says, whatever the protocol; ``seen`` and ``pairs_seen`` hold what it was
    shown."""

    def __init__(self) -> None:
        self.moods: dict[str, str] = {}
        self.lenient: set[str] = set()  # models that call every attempt correct
        self.thinking_tokens = 0
        self.seen: list[tuple[str, str, str]] = []
        self.pairs_seen: list[dict[str, str]] = []

    def reply(self, model: str, user: str, limit: int, thinks: bool = True) -> Said:
        pair = {name: text for name, _, text in TAGGED.findall(user)}
        answers = [pair["answer 1"], pair["answer 2"]] if pair else [shown(user)[2]]
        moods = (m for words, m in self.moods.items() if any(words in a for a in answers))
        mood = next(moods, "")
        text = self.choice(pair, answers, mood) if pair else self.judgement(model, user, mood)
        if mood == "talks" or (mood == "talks once" and "earlier reply" not in user):
            text = TALK
        used = self.thinking_tokens if thinks else 0
        left = WORDS_PER_TOKEN * max(0, limit - used)
        tokens = limit if len(text) > left else used + n_tokens(text)
        return Said(text[:left], len(text) > left, mood == "refuses", tokens)

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


def n_tokens(text: str) -> int:
    return len(text.encode()) // WORDS_PER_TOKEN


class OllamaJudge(OllamaServer):
    """Holds every model in ``names``."""

    def __init__(self, *names: str) -> None:
        self.script = Script()
        super().__init__(Path())
        self.models = {full_name(name): Model(Path("none")) for name in names or ("judge",)}

    def shown(self, name: str) -> dict[str, Any]:
        can = ["completion", *(["thinking"] if self.thinks else [])]
        return {"details": {}, "model_info": {}, "capabilities": can}

    def answer(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        user, limit = body["messages"][-1]["content"], body["options"]["num_predict"]
        thinks = self.thinks and body.get("think", True)  # who is not told otherwise, if it can
        said = self.script.reply(name.removesuffix(":latest"), user, limit, thinks)
        if said.refused:
            return {"error": "this model does not judge such a response"}
        message = {"role": "assistant", "content": said.text}
        if thinks and self.script.thinking_tokens:
            message["thinking"] = "Let me think about this response. "
        return {
            "model": body["model"],
            "created_at": now(),
            "message": message,
            "done": True,
            "done_reason": "length" if said.cut else "stop",
            "prompt_eval_count": n_tokens(body["messages"][0]["content"] + user),
            "eval_count": said.tokens,
        }


class OpenAIJudge(OpenAIServer):
    def __init__(self) -> None:
        self.script = Script()
        super().__init__(Path(), num_ctx=32_768)

    def load(self, *_: Any) -> Any:
        return None

    def prompt(self, body: dict[str, Any]) -> list[int]:
        return [0] * n_tokens(json.dumps(body["messages"]))

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = len(self.prompt(body))
        said = self.script.reply(self.model, body["messages"][-1]["content"], self.limit(body))
        refusal = DECLINED if said.refused else None
        message = {"role": "assistant", "content": None if refusal else said.text}
        message["refusal"] = refusal
        choice = {"index": 0, "message": message, "logprobs": None}
        usage = {"prompt_tokens": prompt, "completion_tokens": said.tokens}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": self.model,
            "choices": [choice | {"finish_reason": "length" if said.cut else "stop"}],
            "usage": usage | {"total_tokens": prompt + said.tokens},
        }


class AnthropicJudge(AnthropicServer):
    def __init__(self) -> None:
        self.script = Script()
        super().__init__(Path(), num_ctx=32_768)

    def load(self, *_: Any) -> Any:
        return None

    def prompt(self, body: dict[str, Any]) -> list[int]:
        return [0] * n_tokens(json.dumps([body["messages"], body.get("system")]))

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        user, limit = body["messages"][-1]["content"], body["max_tokens"]
        said = self.script.reply(self.model, user, limit, thinks=False)
        reason = "refusal" if said.refused else "max_tokens" if said.cut else "end_turn"
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [{"type": "text", "text": said.text, "citations": None}],
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": {
                "input_tokens": len(self.prompt(body)),
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": said.tokens,
            },
        }
