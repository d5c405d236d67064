"""A judge by rule behind the protocols of Ollama, OpenAI and Anthropic; it needs no weights.

    python tests/protocol/scripted_judge.py     # prints the address of an Ollama and serves

It takes question, reference answer and response out of the prompt, as a language model would
have to, and decides by the rules of the judge ``reference``: whatever reaches it whole gets the
verdict of those rules. ``moods`` maps words of a response to a way of misbehaving there:

* ``talks`` never gives JSON, ``talks once`` does when it is asked again
* ``cut`` ends in the middle, ``twice`` gives two different judgements
* ``obeys`` does what the response tells it, ``refuses`` declines in the protocol's own way

It thinks ``thinking_tokens`` before it answers where it is told or free to.
"""

import json
import re
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from anthropic_server import AnthropicHandler, AnthropicServer
from loopback import Handler
from ollama_server import Model, OllamaServer, full_name, now
from openai_server import OpenAIServer

from cutoff.evaluate.judging import reference

QUOTED = re.compile(
    r"Question: (.*?)\n\nReference answer: (.*?)\n\n(\w{16}) THE RESPONSE BEGINS\n(.*)\n"
    r"\3 THE RESPONSE ENDS(.*)\Z",
    re.DOTALL,
)
DECLINED = "I'm sorry, but I can't help with that."
WORDS_PER_TOKEN = 4  # bytes, in truth


class Script:
    """What the judge says, whatever the protocol; ``seen`` holds what it was shown."""

    def __init__(self) -> None:
        self.moods: dict[str, str] = {}
        self.lenient: set[str] = set()  # models that call every attempt correct
        self.thinking_tokens = 0
        self.seen: list[tuple[str, str, str]] = []

    def mood(self, user: str) -> str:
        response = shown(user)[2]
        return next((mood for words, mood in self.moods.items() if words in response), "")

    def text(self, model: str, user: str) -> str:
        """The reply to a prompt, before any limit cuts it."""
        question, expected, response = shown(user)
        self.seen.append((question, expected, response))
        verdict = reference.decide(question, expected, response)[0]
        if model in self.lenient and verdict == "incorrect":
            verdict = "correct"
        mood = self.mood(user)
        if mood == "talks" or (mood == "talks once" and "earlier reply" not in user):
            return "Let me see. The response looks quite good to me, I would say."
        if mood == "obeys":
            orders = re.search(r"correct|Pass|verdict", response)
            verdict = "correct" if orders else verdict
        text = judgement(verdict)
        if mood == "cut":
            return text[: len(text) // 2]
        if mood == "twice":
            return f"{judgement('correct')} or rather {judgement('incorrect')}"
        return DECLINED if mood == "refuses" else text


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
        user = body["messages"][-1]["content"]
        if self.script.mood(user) == "refuses":
            return {"error": "this model does not judge such a response"}
        text = self.script.text(name.removesuffix(":latest"), user)
        # Whoever is not told otherwise thinks, if it can.
        used = self.script.thinking_tokens if self.thinks and body.get("think", True) else 0
        left = WORDS_PER_TOKEN * max(0, body["options"]["num_predict"] - used)
        cut = len(text) > left
        message = {"role": "assistant", "content": text[:left]}
        if used:
            message["thinking"] = "Let me think about this response. "
        return {
            "model": body["model"],
            "created_at": now(),
            "message": message,
            "done": True,
            "done_reason": "length" if cut else "stop",
            "prompt_eval_count": n_tokens(body["messages"][0]["content"] + user),
            "eval_count": body["options"]["num_predict"] if cut else used + n_tokens(text),
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
        user = body["messages"][-1]["content"]
        text: str | None = self.script.text(self.model, user)
        left = WORDS_PER_TOKEN * max(0, self.limit(body) - self.script.thinking_tokens)
        cut = len(text or "") > left
        refusal = DECLINED if self.script.mood(user) == "refuses" else None
        message = {"role": "assistant", "content": (text or "")[:left], "refusal": refusal}
        if refusal:
            message["content"] = None
        reason = "length" if cut else "stop"
        written = self.limit(body) if cut else self.script.thinking_tokens + n_tokens(text or "")
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": self.model,
            "choices": [
                {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
            ],
            "usage": {
                "prompt_tokens": len(self.prompt(body)),
                "completion_tokens": written,
                "total_tokens": len(self.prompt(body)) + written,
            },
        }


class AnthropicJudge(AnthropicServer):
    handler: type[Handler] = AnthropicHandler

    def __init__(self) -> None:
        self.script = Script()
        super().__init__(Path(), num_ctx=32_768)

    def load(self, *_: Any) -> Any:
        return None

    def prompt(self, body: dict[str, Any]) -> list[int]:
        return [0] * n_tokens(json.dumps([body["messages"], body.get("system")]))

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        user = body["messages"][-1]["content"]
        text = self.script.text(self.model, user)
        left = WORDS_PER_TOKEN * body["max_tokens"]
        refused = self.script.mood(user) == "refuses"
        reason = "max_tokens" if len(text) > left else "end_turn"
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [{"type": "text", "text": text[:left], "citations": None}],
            "stop_reason": "refusal" if refused else reason,
            "stop_sequence": None,
            "usage": {
                "input_tokens": len(self.prompt(body)),
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": n_tokens(text),
            },
        }


if __name__ == "__main__":
    judge = OllamaJudge("judge", "judge-2", "judge-3")
    print(judge.host, flush=True)
    threading.Event().wait()
