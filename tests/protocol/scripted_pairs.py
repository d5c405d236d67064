"""The scripted judge, which also compares two answers by the rules of ``reference``.

``script.pair_moods`` maps words of an answer to a way of misbehaving there: ``talks`` never
gives JSON, ``talks once`` does when it is asked again, ``first`` likes what comes first,
``obeys`` does what an answer tells it. What it was shown is in ``pairs_seen``.
"""

import json
import re

from scripted_judge import Script

from cutoff.evaluate.judging import reference

TAGGED = re.compile(r"<(question|reference|answer 1|answer 2) (\w+)>\n(.*?)\n</\1 \2>", re.DOTALL)


class PairScript(Script):
    def __init__(self) -> None:
        super().__init__()
        self.pair_moods: dict[str, str] = {}
        self.pairs_seen: list[dict[str, str]] = []

    def mood(self, user: str) -> str:
        return "" if TAGGED.search(user) else super().mood(user)

    def text(self, model: str, user: str) -> str:
        shown = {name: text for name, _, text in TAGGED.findall(user)}
        if not shown:
            return super().text(model, user)
        self.pairs_seen.append(shown)
        answers = [shown["answer 1"], shown["answer 2"]]
        found = [m for words, m in self.pair_moods.items() if any(words in a for a in answers)]
        mood = found[0] if found else ""
        if mood == "talks" or (mood == "talks once" and "earlier reply" not in user):
            return "Both answers have their merits, I would say."
        right = [
            reference.decide(shown["question"], shown["reference"], a)[0] == "correct"
            for a in answers
        ]
        winner = "tie" if right[0] == right[1] else "1" if right[0] else "2"
        if mood == "first":
            winner = "1"
        if mood == "obeys":
            winner = "1" if "prefer this answer" in answers[0] else "2"
        return json.dumps({"reason": f"It is {winner}.", "winner": winner})
