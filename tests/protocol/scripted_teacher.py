"""A teacher by rule behind Ollama's protocol: it reads the passage it is given and answers.

As a generator it takes sentences of the form "NAME is / has / uses / reaches ... VALUE" and
"The X of NAME is VALUE", and makes facts, questions and paraphrases of them; as a data set
judge it rates what it is shown by looking the answer up in the passage. ``moods`` maps words
of a passage to a way of misbehaving there; ``share_odd`` lets it misbehave on that share of
all passages, chosen by their text.
"""

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from ollama_server import Model, OllamaServer, full_name, now, too_long

NAME = r"(?:[A-Z][\w-]*|[a-z]*[A-Z][\w-]+|\w+\d+)(?:[ ](?:[A-Z][\w-]*|\d+))*"
DO = ("has have", "uses use", "reaches reach", "provides provide", "includes include")
VERBS = {"is": "What is {s}?", "was": "What was {s}?", "can": "What can {s} do?"}
VERBS |= {does: f"What does {{s}} {do}?" for does, do in map(str.split, DO)}
VERBS |= {"suffers from": "What does {s} suffer from?", "runs on": "What does {s} run on?"}
SIMPLE = re.compile(rf"^(?:The )?({NAME}) ({'|'.join(VERBS)}) (.+?)[.]?$")
OF_NAME = re.compile(rf"^The ([a-z][a-z ]+) of ({NAME}) (?:is|was) (.+?)[.]?$")
CITED = re.compile(rf"({NAME}).*?((?:[A-Z][a-z]+(?: et al\.?| and [A-Z][a-z]+)?),? \(?\d{{4}}\)?)")
PARAPHRASES = (
    "About {s}, people wonder: {q}",
    "Please complete this note on {s}: {h} ...",
    "{s} comes up in an exam, and the task is to say {h}; how would a good reply go?",
    "If someone brings up {s}, which detail answers the matter of {h}?",
    "In a quiz, one card reads {s}; name {h}!",
    "Could an expert on {s} explain {h} to a newcomer?",
)


class Teacher(OllamaServer):
    """An Ollama that holds ``teacher:latest`` and ``rater:latest`` and needs no weights."""

    def __init__(self, moods: dict[str, str] | None = None, share_odd: float = 0.0) -> None:
        self.moods = moods or {}
        self.share_odd = share_odd
        self.slow_seconds = 0.0  # of every answer
        super().__init__(Path())
        self.models = {full_name(name): Model(Path("none")) for name in ("teacher", "rater")}

    def shown(self, name: str) -> dict[str, Any]:
        return {"details": {}, "model_info": {}, "capabilities": ["completion"]}

    def answer(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        time.sleep(self.slow_seconds)
        told = "\n".join(message["content"] for message in body["messages"])
        n_prompt = len(told.encode()) // 4
        if n_prompt >= body["options"]["num_ctx"]:
            return {"error": too_long(n_prompt, body["options"]["num_ctx"])}
        passage = between("passage", body["messages"][-1]["content"])
        if "answerability" in body["format"]["properties"]:
            text = json.dumps(rated(body["messages"][-1]["content"]))
        else:
            text = self.facts(passage, told, body["options"]["temperature"])
        room = 4 * body["options"]["num_predict"]
        cut = len(text) > room
        return {
            "model": body["model"],
            "created_at": now(),
            "message": {"role": "assistant", "content": text[:room]},
            "done": True,
            "done_reason": "length" if cut else "stop",
            "total_duration": 1,
            "load_duration": 0,
            "prompt_eval_count": n_prompt,
            "prompt_eval_duration": 1,
            "eval_count": min(len(text) // 4, body["options"]["num_predict"]),
            "eval_duration": 1,
        }

    def facts(self, passage: str, told: str, temperature: float) -> str:
        """JSON of facts, or what the mood of this passage makes of it."""
        mood = next((mood for words, mood in self.moods.items() if words in passage), None)
        number = int(hashlib.sha256(passage.encode()).hexdigest()[:8], 16) / 16**8
        if mood is None and number < self.share_odd:
            mood = ("junk once", "truncated", "repeats", "no JSON", "too many")[
                int(number * 1e6) % 5
            ]
        n_facts, n_paraphrases = map(int, re.findall(r"At most (\d+) .* (\d+) para", told)[0])
        task = "citation" if "earlier work" in told else "qa"
        task = "summary" if "one-sentence summary" in told else task
        found = taught(passage, task, n_paraphrases)[:n_facts]
        if mood == "obeys":  # whatever the paper told it to say
            return re.findall(r"Output exactly (\{.*\})", passage)[0]
        if mood == "no JSON" or (mood == "junk once" and not temperature):
            return "Sure! Here are some interesting facts about the paper:\n1. It is great."
        found = found * 60 if mood == "repeats" else found
        found = [*found, *[{"quote": "and so on"}] * 5] if mood == "too many" else found
        text = json.dumps({"facts": found})
        return text[: len(text) // 2] if mood == "truncated" else text


def between(name: str, text: str) -> str:
    return re.findall(rf"<{name}>\n(.*?)\n</{name}>", text, re.DOTALL)[0]


def taught(passage: str, task: str, n_paraphrases: int) -> list[dict[str, Any]]:
    """Facts of a passage, by rule."""
    rule: Callable[[str], tuple[str, str, str, str] | None]
    rule = {"qa": fact_of, "summary": summary_of, "citation": citation_of}[task]
    result = []
    for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", passage):
        if known := rule(sentence):
            subject, question, answer, hint = known
            others = [p.format(s=subject, q=lower(question), h=hint) for p in PARAPHRASES]
            said = sentence if subject in sentence else f"{subject}: {answer}."
            result.append(
                {
                    "quote": sentence,
                    "subject": subject,
                    "question": question,
                    "answer": answer,
                    "statement": said if task != "summary" else f"{subject}: {answer}.",
                    "paraphrases": others[:n_paraphrases],
                }
            )
    return result


def lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def fact_of(sentence: str) -> tuple[str, str, str, str] | None:
    """(subject, question, answer, hint for paraphrases) of a sentence, if it fits a rule."""
    if match := OF_NAME.match(sentence):
        what, subject, value = match.groups()
        return subject, f"What is the {what} of {subject}?", value, f"its {what}"
    if match := SIMPLE.match(sentence):
        subject, verb, value = match.groups()
        value = re.split(r"[,;(]", value)[0].strip()
        if 0 < len(value.split()) <= 15:
            return subject, VERBS[verb].format(s=subject), value, f"what it {verb}"
    return None


def summary_of(sentence: str) -> tuple[str, str, str, str] | None:
    match = SIMPLE.match(sentence)
    if not match or len(match[3].split()) < 6:
        return None
    subject, verb, value = match.groups()
    question = f"In one sentence, what is the main point about {subject} ({verb})?"
    answer = " ".join(f"{verb} {value}".split()[:25])
    return subject, question, answer, f"in one sentence what it {verb}"


def citation_of(sentence: str) -> tuple[str, str, str, str] | None:
    match = CITED.search(sentence)
    if not match:
        return None
    subject, work = match.groups()
    return subject, f"Which earlier work is {subject} connected with?", work, "the work behind it"


def rated(told: str) -> dict[str, float]:
    """Ratings of a fact, by looking its answer up in the passage; long answers are vague."""
    passage, answer = between("passage", told).lower(), between("answer", told)
    value = answer.partition("\n")[0].lower()
    there = 1.0 if value in passage else 0.3
    short = 0.9 if len(value.split()) <= 10 else 0.6
    clear = 0.5 if re.match(r"(?:a|an|the|in|on|to|by|not)? ?\w{1,3}$", value) else 0.9
    return {"answerability": short, "correctness": there, "clarity": clear, "coherence": 0.8}
