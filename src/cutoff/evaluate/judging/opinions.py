"""What each member of the panel thinks of each response, kept as it comes.

    records = opinions.of(judge, p, items, path, "judging")

One record per judge and response: key, judge, verdict, passed, rule (what decided), scores,
detail, attempts, completion_tokens, seconds. The same response to the same question is judged
once and gets one verdict, whichever conditions gave it. A killed run goes on where it stood; a
judgement that failed is written after all others.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutoff import files
from cutoff.engines import asking
from cutoff.evaluate.judging import panel, reference, rubric
from cutoff.params import Params
from cutoff.store import Store

# Raise the version when the rules could give the same response another verdict: 05 refuses to put
# runs with different scoring side by side, and earlier judgements are made again.
REFERENCE_RULES = "reference rules, version 1"
FOLDER = "judges"  # of the members' own records, below the run's folder
SCORES_TOO_LOW = "correct, scores too low"


@dataclass(frozen=True)
class Item:
    """What a judge gets to see of a response: no condition, no passages, no citations."""

    key: str
    question: str
    reference: str
    response: str

    @property
    def shown(self) -> tuple[str, str, str]:
        return self.question, self.reference, self.response


def of(
    judge: panel.Judge,
    p: Params,
    items: Sequence[Item],
    path: Path,
    progress: str,
    strict: bool = False,
) -> list[dict[str, Any]]:
    """The record of ``judge`` for every item, in order, from ``path`` where it is known.

    Records of another setup, or of other texts, are set aside. No server is needed when
    nothing is missing. ``strict``: a refusal of the server ends the run.
    """
    with Store(path, made_from=made_from(judge, p, items)) as store:
        known = {record["key"]: record for record in store.records()} if len(store) else {}
        alike: dict[tuple[str, str, str], list[Item]] = {}
        for item in items:
            alike.setdefault(item.shown, []).append(item)
        to_ask: dict[str, list[Item]] = {}

        def keep(twins: Sequence[Item], opinion: dict[str, Any]) -> None:
            for twin in twins:
                if twin.key not in known:
                    record = {**opinion, "key": twin.key, "judge": judge.name}
                    known[twin.key] = record
                    store.append(record)

        for shown, twins in alike.items():
            earlier = next((known[twin.key] for twin in twins if twin.key in known), None)
            if earlier is not None:
                keep(twins, earlier)
            elif judge.provider == panel.REFERENCE:
                keep(twins, _opinion(*reference.decide(*shown)))
            elif not reference.words(reference.plain(shown[2])):
                keep(twins, _opinion("not_attempted", "empty"))
            else:
                to_ask[twins[0].key] = twins
        tasks = {key: rubric.render(*twins[0].shown) for key, twins in to_ask.items()}
        for answer in panel.ask(judge, p, tasks, rubric.FORM, progress, strict):
            keep(to_ask[answer.key], _read(answer))
    return [known[item.key] for item in items]


def file_name(judge: panel.Judge, suffix: str = "") -> str:
    """Name of the file that holds this judge's records: ``qwen3-8b.jsonl``."""
    short = "".join(c if c.isalnum() or c in ".-" else "-" for c in judge.name)
    return f"{short.strip('.')}{suffix}.jsonl"


def made_from(judge: panel.Judge, p: Params, items: Sequence[Item]) -> str:
    """Hash of all that the records depend on: judge, provider, rubric, thinking, and texts."""
    parts = [setup(judge, p), judge.provider, p.judge_max_new_tokens, p.seed]
    if judge.provider == panel.REFERENCE:
        parts = [setup(judge, p)]
    texts = [(item.key, *item.shown) for item in items]
    return hashlib.sha256(files.to_json([parts, texts])).hexdigest()


def setup(judge: panel.Judge, p: Params) -> str:
    """How this member judges, in words: runs that differ here are not comparable."""
    if judge.provider == panel.REFERENCE:
        return REFERENCE_RULES
    thinking = "may think" if p.judge_think else "without thinking"
    return f"{judge.name}, rubric {rubric.sha256()[:12]}, {thinking}"


def _read(answer: asking.Answer) -> dict[str, Any]:
    """The opinion that an answer of a language model holds."""
    costs = {
        "attempts": answer.attempts,
        "completion_tokens": answer.completion_tokens,
        "seconds": answer.seconds,
    }
    if answer.value is None:
        return {**_opinion("judge_failed", answer.rule), **costs, "detail": answer.detail}
    verdict, scores = answer.value["verdict"], answer.value["scores"]
    opinion = _opinion(verdict, "the judge", scores)
    if verdict == "correct" and not opinion["passed"]:
        opinion["rule"] = SCORES_TOO_LOW
    return {**opinion, **costs, "detail": answer.value["reason"]}


def _opinion(verdict: str, rule: str, scores: dict[str, Any] | None = None) -> dict[str, Any]:
    passed = rubric.passes(verdict, scores)
    return {"verdict": verdict, "passed": passed, "rule": rule, "scores": scores, "detail": ""}
