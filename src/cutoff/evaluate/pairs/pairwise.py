"""Answers to one question side by side: which is better?

    records = pairwise.run(stage, questions, responses, verdicts)

A language model is asked twice, blind, with the answers in either order (``comparison``). A
preference that changes with the order is a tie, and is counted; a reply that cannot be read is
asked for again, then recorded ``judge_failed``: counted, never a tie. Answers with the same text
are a tie that nobody is asked about. The judge ``reference`` prefers the answer that it passes.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from cutoff.errors import CutoffError
from cutoff.evaluate.judging import opinions, panel, reference
from cutoff.evaluate.pairs import comparison
from cutoff.evaluate.pairs.comparison import ORDERS, Pair
from cutoff.experiment import POST_STRATA
from cutoff.files import to_json
from cutoff.params import Params, nearest
from cutoff.records import Question, Response
from cutoff.run.folders import Run
from cutoff.store import Store

# Raise this when the same two answers could get another outcome by rule, or records change.
RULES_VERSION = 2
SAME_TEXT = "the same text"
OF_PAIR = ("question_id", "paper_id", "stratum", "a", "b")
Choice = dict[str, Any]  # a line of ``pairwise.jsonl``, see ``compare``


def run(
    stage: Run,
    questions: Sequence[Question],
    responses: Sequence[Response],
    verdicts: pd.DataFrame,
) -> list[Choice]:
    """Compare every pair of ``pairwise_conditions`` on ``pairwise_questions`` questions.

    ``verdicts`` decide who is at the ``top``. Records as in ``compare``, of ``pairwise.jsonl``.
    """
    p = stage.params
    texts = {(r["condition"], r["question_id"]): r["response"] for r in responses}
    pairs = [
        Pair(a, b, q, texts[a, q["question_id"]], texts[b, q["question_id"]])
        for a, b in chosen(p, verdicts)
        for q in sample(questions, p.pairwise_questions, p.seed)
    ]
    return compare(p, stage.folder / "pairwise.jsonl", pairs, responses)


def chosen(p: Params, verdicts: pd.DataFrame) -> list[tuple[str, str]]:
    """The pairs of conditions that ``pairwise_conditions`` asks for, in the order of verdicts.

    ``top``: the two that pass most on new papers; of equals the one that comes first.
    """
    known = list(dict.fromkeys(verdicts["condition"]))
    names = [name.strip() for name in p.pairwise_conditions.split(",") if name.strip()]
    if names == ["none"]:
        return []
    if names == ["all"]:
        return list(combinations(known, 2))
    if names == ["top"]:
        new = verdicts[verdicts["stratum"].isin(POST_STRATA)]
        rates = new.astype({"passed": "Float64"}).groupby("condition")["passed"].mean()
        best = sorted(known, key=lambda name: -rates.get(name, 0.0))[:2]
        return list(combinations(sorted(best, key=known.index), 2))
    given = f"pairwise_conditions = {p.pairwise_conditions!r}"
    for name in names:
        if name not in known:
            raise CutoffError(f"{given} names {name!r}; {nearest(name, known)}")
    if len(set(names)) < 2:
        raise CutoffError(
            f"{given} must be top, all, none, or at least two different conditions with commas "
            "between them."
        )
    return list(combinations(dict.fromkeys(names), 2))


def sample(questions: Sequence[Question], n: int | None, seed: int) -> list[Question]:
    """``n`` of the questions (null or too many: all), the same share of every stratum.

    They come back in their own order; a larger ``n`` contains a smaller one but for rounding.
    """
    if n is None or n >= len(questions):
        return list(questions)
    strata: dict[str, list[int]] = defaultdict(list)
    for index in random.Random(seed).sample(range(len(questions)), len(questions)):
        strata[questions[index]["stratum"]].append(index)
    exact = {name: n * len(own) / len(questions) for name, own in strata.items()}
    take = {name: int(share) for name, share in exact.items()}
    by_rest = sorted(exact, key=lambda name: (take[name] - exact[name], name))
    for name in by_rest[: n - sum(take.values())]:
        take[name] += 1
    return [questions[i] for i in sorted(i for name in strata for i in strata[name][: take[name]])]


def compare(
    p: Params, path: Path, pairs: Sequence[Pair], responses: Sequence[Response]
) -> list[Choice]:
    """What every judge says to every pair; the records of ``path`` that belong to ``pairs``.

    A record per judge, pair and order: key, judge, a, b, question_id, paper_id, stratum, order
    (``ab``, ``ba``, or ``rule`` where nobody was asked), choice (``a``, ``b``, ``tie``,
    ``judge_failed``), rule (what decided) and detail (the judge's reason). They depend on judges,
    prompt and ``responses``, all that the answers are drawn from.
    """
    if not pairs:
        return []
    judges = panel.members(p)
    with Store(path, made_from=made_from(p, judges, responses)) as store:
        wanted = [key for member in judges for key in _ask(member, p, pairs, store)]
        by_key = {record["key"]: record for record in store.records()}
    return [by_key[key] for key in wanted]


def _ask(member: panel.Judge, p: Params, pairs: Sequence[Pair], store: Store) -> list[str]:
    """Have one judge compare what is still open; the keys of all its records."""
    wanted: list[str] = []
    to_ask: dict[str, Choice] = {}
    tasks = {}
    for pair in pairs:
        ruled = _by_rule(member, pair)
        for order in ("rule",) if ruled else ORDERS:
            record = _record(member, pair, order)
            wanted.append(record["key"])
            if record["key"] in store:
                continue
            if ruled:
                store.append(record | ruled)
            else:
                to_ask[record["key"]] = record
                tasks[record["key"]] = comparison.messages(pair, order)
    for answer in panel.ask(member, p, tasks, comparison.FORM, f"comparing, {member.name}"):
        record = to_ask[answer.key]
        winner, reason = answer.value or ("", answer.detail)
        choice = ORDERS[record["order"]].get(winner, "judge_failed")
        rule = answer.rule or "the judge's choice"
        store.append(record | {"choice": choice, "rule": rule, "detail": reason})
    return wanted


def _record(member: panel.Judge, pair: Pair, order: str) -> Choice:
    """What a record says beside the choice and its reasons."""
    key = f"{member.name}|{pair.a}|{pair.b}|{pair.question['question_id']}|{order}"
    of_question = {name: pair.question[name] for name in ("question_id", "paper_id", "stratum")}
    sides = {"a": pair.a, "b": pair.b, **of_question}
    return {"key": key, "judge": member.name, **sides, "order": order}


def _by_rule(member: panel.Judge, pair: Pair) -> Choice | None:
    """choice, rule and detail where nobody has to be asked."""
    texts = pair.shown()
    if texts[0] == texts[1]:
        return {"choice": "tie", "rule": SAME_TEXT, "detail": ""}
    if member.provider != panel.REFERENCE:
        return None
    asked = (pair.question["question"], pair.question["reference"])
    verdicts = [reference.decide(*asked, text)[0] for text in texts]
    passing = [side for side, verdict in zip("ab", verdicts, strict=True) if verdict == "correct"]
    choice = passing[0] if len(passing) == 1 else "tie"
    rule = ("neither passes", "only one passes", "both pass")[len(passing)]
    return {"choice": choice, "rule": rule, "detail": " / ".join(verdicts)}


def made_from(p: Params, judges: Sequence[panel.Judge], responses: Sequence[Response]) -> str:
    """Hash of the judges, how they are asked, and every response they may be shown."""
    rules = (RULES_VERSION, comparison.SYSTEM, comparison.SCHEMA)
    asked = [opinions.identity(member, p) for member in judges]
    texts = [(response["key"], response["response"]) for response in responses]
    return hashlib.sha256(to_json([rules, asked, texts])).hexdigest()


def outcomes(records: Sequence[Choice]) -> pd.DataFrame:
    """One row per pair of conditions and question: what the orders and judges come to.

    Columns: question_id, paper_id, stratum, a, b, winner (see ``majority``), flipped (a judge
    chose the first, or the second, in both orders), half_flipped (a choice and a tie).
    """
    choices: dict[tuple[str, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        pair = tuple(record[name] for name in OF_PAIR)
        choices[pair][record["judge"]].append(record["choice"])
    rows = []
    for pair, by_judge in choices.items():
        winners, hows = zip(*map(both_orders, by_judge.values()), strict=True)
        rows.append((*pair, majority(winners), "flip" in hows, "half flip" in hows))
    return pd.DataFrame(rows, columns=[*OF_PAIR, "winner", "flipped", "half_flipped"])


def both_orders(choices: Sequence[str]) -> tuple[str, str]:
    """(winner, how) of one judge's choices in both orders: agreed, flip, half flip or failed."""
    if "judge_failed" in choices:
        return "judge_failed", "failed"
    if len(set(choices)) == 1:
        return choices[0], "agreed"
    return "tie", "half flip" if "tie" in choices else "flip"


def majority(votes: Sequence[str]) -> str:
    """What more than half of the judges say; otherwise no verdict if one failed, else a tie."""
    for vote in dict.fromkeys(votes):
        if 2 * votes.count(vote) > len(votes):
            return vote
    return "judge_failed" if "judge_failed" in votes else "tie"
