"""Every response judged blind, by one panel and one rubric.

    judgements = judge.judge(stage, questions, responses)

A judge sees question, reference answer and response, and nothing else. Whether a response passes
is computed in code (``rubric.passes``). Every member marks the golden set first; one that fails
it stops the run. Of several judges more than half of *all* must agree; otherwise the response has
no verdict: ``judge_failed``, by the rule *no majority*, counted like any other failure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from cutoff import files
from cutoff.evaluate.answering import seed_suffix
from cutoff.evaluate.diagnostics import grounding
from cutoff.evaluate.judging import golden, opinions, panel, rubric
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

    What exists for these responses and this scoring is kept. Judgements of a further
    ``training_seed``, and of other answers than those of the six conditions (``label``, say
    ``F16``), have files of their own. Raises ``CutoffError`` when a judge cannot be used or fails
    the golden set.
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
    """The panel's judgement of every response, in order, without diagnostics of citations."""
    asked = {question["question_id"]: question for question in questions}
    items = {r["key"]: shown(asked[r["question_id"]], r["response"]) for r in responses}
    golden.results(p, folder)  # all of them before the first costs anything
    by_member = [opinions.of(judge, p, items, folder, suffix) for judge in panel.members(p)]
    decided = []
    for response, *votes in zip(responses, *by_member, strict=True):
        record: dict[str, Any] = {"key": f"{p.judge_model}|{response['key']}"}
        record |= {"judge": p.judge_model, "condition": response["condition"]}
        record |= {"question_id": response["question_id"]}
        question = asked[response["question_id"]]
        record |= {name: question.get(name) for name in ("paper_id", "stratum")}
        decided.append(record | combine(votes))
    return decided


def shown(question: Mapping[str, Any], response: str) -> opinions.Shown:
    """What a judge sees of ``response``: nothing of the condition that it comes from."""
    return question["question"], question["reference"], rubric.without_citations(response)


def combine(votes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One judgement of the members' records: verdict, passed, rule, scores, verdicts, detail.

    The verdict is the one that most of the deciding side gave (*incorrect* before
    *not_attempted*); ``scores`` are means over the members that gave scores.
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


def reading(p: Params, judgements: Sequence[Mapping[str, Any]]) -> str:
    """Who judged, what was left without a verdict, and what a reader should hold against it."""
    lost = Counter(j["rule"] for j in judgements if j["verdict"] == "judge_failed")
    names = ", ".join(f"`{member.name}`" for member in panel.members(p))
    causes = ", ".join(f"{rule} ({n:,})" for rule, n in lost.most_common())
    low = sum(j["rule"] == opinions.SCORES_TOO_LOW for j in judgements)
    text = (
        f"**{len(judgements):,} answers were judged blind by {names}; {lost.total():,} "
        f"({percent(lost.total() / len(judgements))}) have no verdict"
        f"{': ' + causes if causes else ''}.**"
    )
    if low:
        text += f" {low:,} correct answers fail for their scores."
    return text + "".join(f" **Warning:** {warning}" for warning in panel.flags(p))
