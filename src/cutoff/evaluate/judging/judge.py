"""Every response judged blind, by one panel and one rubric.

    judgements = judge.judge(stage, questions, responses)

A judge sees question, reference answer and response, and nothing else: no condition, no
passages, no citation markers. Whether a response passes is computed in code from the verdict and
the scores (``rubric.passes``). Every member of the panel marks the golden set first; one that
fails it stops the run. Citations and retrieval are diagnostics beside the verdict.

With several judges, a response passes or fails when more than half of *all* judges say so; its
verdict is the one that most of these gave (*incorrect* before *not attempted* when level). Where
neither side has more than half, because the votes are level or judgements failed, the response
has no verdict: ``judge_failed``, by the rule *no majority*, counted like any other failure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from cutoff import files
from cutoff.evaluate.answering import seed_suffix
from cutoff.evaluate.diagnostics import grounding
from cutoff.evaluate.judging import golden, opinions, panel, rubric
from cutoff.evaluate.judging.opinions import Item
from cutoff.evaluate.judging.rubric import VERDICTS
from cutoff.params import Params
from cutoff.records import Judgement, Question, Response
from cutoff.report.wording import percent
from cutoff.run import folders

NO_MAJORITY, MAJORITY = "no majority", "majority"


def judge(
    stage: folders.Run,
    questions: Sequence[Question],
    responses: Sequence[Response],
    training_seed: int | None = None,
    label: str = "",
) -> list[Judgement]:
    """Judge every response; returns the records of ``judgements.jsonl``, in order.

    Judgements that exist for exactly these responses and this scoring are kept. Those of a
    further ``training_seed``, and of other answers than those of the six conditions (``label``,
    say ``F16``), have files of their own. What each judge said is in the folder ``judges``.
    Raises ``CutoffError`` when a judge cannot be used or fails the golden set.
    """
    suffix = seed_suffix(stage.params, training_seed) + (f".{label}" if label else "")
    decided = decide(stage.params, stage.folder, questions, responses, suffix)
    asked = {question["question_id"]: question for question in questions}
    judgements = [
        record | grounding.citations(asked[response["question_id"]], response)
        for record, response in zip(decided, responses, strict=True)
    ]
    files.write_jsonl_atomic(stage.folder / f"judgements{suffix}.jsonl", judgements)
    return cast(list[Judgement], judgements)


def decide(
    p: Params,
    folder: Path,
    questions: Sequence[Mapping[str, Any]],
    responses: Sequence[Mapping[str, Any]],
    suffix: str = "",
) -> list[dict[str, Any]]:
    """The panel's judgement of every response, in order, without diagnostics of citations.

    The members' own records go to files of ``folder / "judges"`` as they come.
    """
    asked = {question["question_id"]: question for question in questions}
    items = [item(asked[response["question_id"]], response) for response in responses]
    judges, own = panel.members(p), folder / opinions.FOLDER
    for member in judges:  # all of them before the first costs anything
        golden.check(member, p, own)
    by_member = [
        opinions.of(
            member, p, items, own / opinions.file_name(member, suffix), f"judging, {member.name}"
        )
        for member in judges
    ]
    return [
        {
            "key": f"{p.judge_model}|{response['key']}",
            "judge": p.judge_model,
            "condition": response["condition"],
            "question_id": response["question_id"],
            "paper_id": asked[response["question_id"]].get("paper_id"),
            "stratum": asked[response["question_id"]].get("stratum"),
            **combine(list(votes)),
        }
        for response, *votes in zip(responses, *by_member, strict=True)
    ]


def item(question: Mapping[str, Any], response: Mapping[str, Any]) -> Item:
    """What a judge sees of ``response``: nothing of the condition that it comes from."""
    text = rubric.without_citations(response["response"])
    return Item(response["key"], question["question"], question["reference"], text)


def combine(votes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One judgement of the members' records: verdict, passed, rule, scores, verdicts, detail.

    ``scores`` are means over the members that gave scores, as they came with one judge.
    """
    verdicts = {vote["judge"]: vote["verdict"] for vote in votes}
    if len(votes) == 1:
        names = ("verdict", "passed", "rule", "scores", "detail")
        return {**{name: votes[0][name] for name in names}, "verdicts": verdicts}
    scored = [vote["scores"] for vote in votes if vote["scores"]]
    scores = {n: sum(s[n] for s in scored) / len(scored) for n in rubric.SCORES} if scored else None
    detail = "; ".join(f"{v['judge']}: {v['verdict']} ({v['detail'] or v['rule']})" for v in votes)
    rest = {"scores": scores, "detail": detail, "verdicts": verdicts}
    for passed in (True, False):
        side = [vote["verdict"] for vote in votes if vote["passed"] is passed]
        if 2 * len(side) > len(votes):
            counts = Counter(side)
            verdict = max(VERDICTS, key=lambda v: (counts[v], v == "incorrect"))
            return {"verdict": verdict, "passed": passed, "rule": MAJORITY, **rest}
    return {"verdict": "judge_failed", "passed": None, "rule": NO_MAJORITY, **rest}


def scoring(p: Params) -> str:
    """How verdicts come about: runs with different texts are not put side by side by 05.

    Names each judge's rules or the hash of its rubric, and the rule of the majority.
    """
    parts = [opinions.setup(member, p) for member in panel.members(p)]
    return "; ".join([*parts, *(["majority of all judges"] if len(parts) > 1 else [])])


def failures(judgements: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """How many judgements are without a verdict, by cause (their rule)."""
    return Counter(j["rule"] for j in judgements if j["verdict"] == "judge_failed")


def reading(p: Params, judgements: Sequence[Mapping[str, Any]]) -> str:
    """Who judged, what was left without a verdict, and what a reader should hold against it."""
    judges = panel.members(p)
    names = ", ".join(f"`{member.name}`" for member in judges)
    lost = failures(judgements)
    missing = lost.total()
    causes = ", ".join(f"{rule} ({n:,})" for rule, n in lost.most_common())
    text = (
        f"**{len(judgements):,} answers were judged blind by {names}; "
        f"{missing:,} ({percent(missing / len(judgements))}) have no verdict"
        f"{': ' + causes if missing else ''}.**"
    )
    if any(member.provider != panel.REFERENCE for member in judges):
        low = sum(j["rule"] == opinions.SCORES_TOO_LOW for j in judgements)
        least = " and ".join(f"{name} {n}" for name, n in rubric.LEAST.items())
        text += f" {low:,} correct answers fail for their scores (at least {least} of 5)."
    if len(judges) > 1:
        split = sum(len(set(j["verdicts"].values())) > 1 for j in judgements)
        text += f" The {len(judges)} judges give different verdicts on {split:,} answers."
    return text + "".join(f" **Warning:** {warning}" for warning in panel.flags(p))
