"""What each member of the panel thinks of each response, kept as it comes.

One record per judge and response: key, judge, verdict, passed, rule (what decided), scores,
detail, attempts, completion_tokens, seconds. The same response to the same question is judged
once, whichever conditions gave it. A killed run goes on where it stood.
"""

import hashlib
from collections.abc import Mapping, Sequence
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
SCORES_TOO_LOW = "correct, scores too low"

# Question, reference answer and response without citation markers: all that a judge sees.
Shown = tuple[str, str, str]


def of(
    judge: panel.Judge,
    p: Params,
    items: Mapping[str, Shown],
    folder: Path,
    suffix: str,
    strict: bool = False,
) -> list[dict[str, Any]]:
    """The record of ``judge`` for every item (key -> what is shown), in order.

    They are kept in a file of ``folder / "judges"`` that bears the judge's name and ``suffix``;
    those of another setup, or of other texts, are set aside, and failures are not kept. Where
    nothing is missing no server is needed. ``strict``: a refusal of the server ends the run.
    """
    name = "".join(c if c.isalnum() or c in ".-" else "-" for c in judge.name).strip(".")
    path = folder / "judges" / f"{name}{suffix}.jsonl"
    alike: dict[Shown, list[str]] = {}
    for key, shown in items.items():
        alike.setdefault(shown, []).append(key)
    with Store(path, made_from=made_from(judge, p, items)) as store:
        known = {record["key"]: record for record in store.records()}

        def keep(keys: Sequence[str], opinion: dict[str, Any]) -> None:
            for key in keys:
                if key in known:
                    continue
                known[key] = {**opinion, "key": key, "judge": judge.name}
                if opinion["verdict"] != "judge_failed":  # the next run asks again
                    store.append(known[key])

        tasks = {}
        for shown, keys in alike.items():
            earlier = next((known[key] for key in keys if key in known), None)
            opinion = earlier or _by_rule(judge, shown)
            if opinion:
                keep(keys, opinion)
            else:
                tasks[keys[0]] = rubric.render(*shown)
        progress = f"{'golden set' if strict else 'judging'}, {judge.name}"
        for answer in panel.ask(judge, p, tasks, rubric.FORM, progress, strict):
            keep(alike[items[answer.key]], _read(answer))
    return [known[key] for key in items]


def made_from(judge: panel.Judge, p: Params, items: Mapping[str, Shown]) -> str:
    """Hash of all that the records depend on: judge, provider, rubric, thinking, and texts."""
    texts = [(key, *shown) for key, shown in items.items()]
    return hashlib.sha256(files.to_json([identity(judge, p), texts])).hexdigest()


def identity(judge: panel.Judge, p: Params) -> list[Any]:
    """All of a judge that its opinions depend on."""
    if judge.provider == panel.REFERENCE:
        return [REFERENCE_RULES]
    return [setup(judge, p), judge.provider, p.judge_max_new_tokens, p.seed]


def setup(judge: panel.Judge, p: Params) -> str:
    """How this member judges, in words: runs that differ here are not comparable."""
    if judge.provider == panel.REFERENCE:
        return REFERENCE_RULES
    thinking = "may think" if p.judge_think else "without thinking"
    return f"{judge.name}, rubric {rubric.sha256()[:12]}, {thinking}"


def _by_rule(judge: panel.Judge, shown: Shown) -> dict[str, Any] | None:
    """The opinion where nobody has to be asked."""
    if judge.provider == panel.REFERENCE:
        return _opinion(*reference.decide(*shown))
    said = reference.words(reference.plain(shown[2]))
    return None if said else _opinion("not_attempted", "empty")


def _read(answer: asking.Answer) -> dict[str, Any]:
    """The opinion that an answer of a language model holds."""
    costs = {name: getattr(answer, name) for name in ("attempts", "completion_tokens", "seconds")}
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
