"""Which facts are trained, which are asked about, and what a question about them can show.

Papers are split first, then facts, and only then is any question worded. A stratum says what
training can have taught:

* ``seen``: the fact was trained, in other words than those asked here;
* ``unseen_fact``: the paper was trained, this fact of it was not;
* ``unseen_paper``: the paper stands in the index only;
* ``control``: the paper is older than the base model's cutoff.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from cutoff import experiment
from cutoff.errors import CutoffError
from cutoff.params import Params
from cutoff.records import Fact, Paper, Wording

STRATA = (*experiment.POST_STRATA, "control")
MORE_THAN_WANTED = "more facts than wanted of this paper"
MORE_OF = {
    "seen": ", or raise seen_facts_per_paper",
    "unseen_fact": ", or lower seen_facts_per_paper",
}
FEWEST_PER_STRATUM = 3  # of a limited run, where the limit has room for them


def choose(facts: Sequence[Fact], p: Params) -> tuple[list[Fact], list[dict[str, Any]]]:
    """(facts to use, surplus with its ``reason``): of a paper at most ``qa_per_paper``, ....

    The first fact of every passage goes before the second of any. Known facts are all used.
    """
    place: dict[tuple[str, str], int] = defaultdict(int)
    order: list[tuple[int, int]] = []
    for position, fact in enumerate(facts):
        passage = (fact.get("passage_id", ""), fact.get("task", ""))
        order.append((place[passage], position))
        place[passage] += 1
    used: dict[tuple[str, str], int] = defaultdict(int)
    kept = set()
    for _, position in sorted(order):
        fact = facts[position]
        task = fact.get("task")
        used[fact["paper_id"], task or ""] += 1
        if task is None or used[fact["paper_id"], task] <= getattr(p, f"{task}_per_paper"):
            kept.add(position)
    surplus = [
        {**fact, "level": "fact", "reason": MORE_THAN_WANTED}
        for position, fact in enumerate(facts)
        if position not in kept
    ]
    return [fact for position, fact in enumerate(facts) if position in kept], surplus


def split(facts: Sequence[Fact], papers: Iterable[Paper], p: Params) -> list[Fact]:
    """Records of ``facts.jsonl``: each fact with its ``stratum``, ``trained`` and ``asked``.

    A ``limit`` leaves facts and whole papers untrained; they are labelled as what they are.
    """
    stratified = assign_strata(facts, papers, p)
    trained, asked = select(stratified, p)
    trained_papers = {fact["paper_id"] for fact in trained}
    trained_ids = {fact["fact_id"] for fact in trained}
    asked_ids = {fact["fact_id"] for fact in asked}
    result: list[Fact] = []
    for fact in stratified:
        is_trained = fact["fact_id"] in trained_ids
        stratum = fact["stratum"]
        if stratum != "control" and not is_trained:
            stratum = "unseen_fact" if fact["paper_id"] in trained_papers else "unseen_paper"
        is_asked = fact["fact_id"] in asked_ids
        result.append({**fact, "stratum": stratum, "trained": is_trained, "asked": is_asked})
    return result


def assign_strata(facts: Sequence[Fact], papers: Iterable[Paper], p: Params) -> list[Fact]:
    """Facts with ``stratum``: whole papers are split first, then their facts.

    ``n_unseen_papers`` post-cutoff papers are kept out of training; of each other one,
    ``seen_facts_per_paper`` facts may be trained.
    """
    rng = random.Random(f"{p.seed} strata")
    period = {paper["paper_id"]: paper["period"] for paper in papers}
    by_paper = _group(facts, "paper_id")
    post = sorted(paper_id for paper_id in by_paper if period[paper_id] == "post")
    if p.n_unseen_papers >= len(post):
        raise CutoffError(
            f"n_unseen_papers = {p.n_unseen_papers} leaves no paper to train on: facts were found "
            f"in {len(post)} papers from after the cutoff. Add papers or lower n_unseen_papers."
        )
    unseen = set(rng.sample(post, p.n_unseen_papers))
    trained: set[str] = set()
    for paper_id in post:
        own = [fact["fact_id"] for fact in by_paper.get(paper_id, [])]
        if paper_id not in unseen:
            trained |= set(rng.sample(own, min(p.seen_facts_per_paper, len(own))))

    def stratum(fact: Fact) -> str:
        if period[fact["paper_id"]] == "control":
            return "control"
        if fact["paper_id"] in unseen:
            return "unseen_paper"
        return "seen" if fact["fact_id"] in trained else "unseen_fact"

    return [{**fact, "stratum": stratum(fact)} for fact in facts]


def questions_wanted(p: Params) -> dict[str, int]:
    """Evaluation questions per stratum; a ``limit`` is shared out in the same proportions.

    Each stratum keeps at least three questions, as far as the limit allows.
    Raises ``CutoffError`` if the limit is smaller than the number of strata in use.
    """
    wanted = _per_stratum(p)
    total = sum(wanted.values())
    if total == 0:
        raise CutoffError("All of n_eval_seen, n_eval_unseen_fact, ... are 0: nothing to evaluate.")
    if p.limit is None or p.limit >= total:
        return wanted
    used = [stratum for stratum in STRATA if wanted[stratum]]
    if p.limit < len(used):
        raise CutoffError(
            f"limit = {p.limit} leaves no question for some of the {len(used)} strata; "
            f"it must be at least {len(used)}."
        )
    limit = p.limit
    fewest = min(FEWEST_PER_STRATUM, limit // len(used))
    given = {stratum: min(fewest, wanted[stratum]) for stratum in STRATA}
    while sum(given.values()) < limit:  # the next question goes where most is missing
        open_strata = [stratum for stratum in used if given[stratum] < wanted[stratum]]
        neediest = max(open_strata, key=lambda s: wanted[s] * limit / total - given[s])
        given[neediest] += 1
    return given


def _per_stratum(p: Params) -> dict[str, int]:
    return {stratum: getattr(p, f"n_eval_{stratum}") for stratum in STRATA}


def select(facts: Sequence[Fact], p: Params) -> tuple[list[Fact], list[Fact]]:
    """Facts to train and facts to ask about, spread evenly over the papers of each stratum.

    Every ``seen`` fact that is asked about is trained, and every paper of an ``unseen_fact``
    has a trained fact. A ``limit`` shrinks both lists in the same proportion.
    Raises ``CutoffError`` if a stratum has too few facts.
    """
    rng = random.Random(f"{p.seed} questions")
    paper_ids = sorted({fact["paper_id"] for fact in facts})
    # One order of papers for all strata: seen and unseen_fact then ask about the same papers.
    order = {paper_id: n for n, paper_id in enumerate(rng.sample(paper_ids, len(paper_ids)))}
    by_stratum = _group(facts, "stratum")
    wanted = questions_wanted(p)
    asked: list[Fact] = []
    for stratum, n_wanted in wanted.items():
        available = by_stratum.get(stratum, [])
        if n_wanted > len(available):
            raise CutoffError(
                f"n_eval_{stratum} = {n_wanted}, but these papers hold only {len(available)} facts "
                f"of the stratum {stratum}; ask for fewer questions or for more papers"
                f"{MORE_OF.get(stratum, '')}."
            )
        asked += _spread(available, order, rng)[:n_wanted]

    trained = _spread(by_stratum.get("seen", []), order, rng)
    kept = {fact["fact_id"] for fact in asked if fact["stratum"] == "seen"}
    covered = {fact["paper_id"] for fact in asked if fact["stratum"] == "seen"}
    asked_papers = {fact["paper_id"] for fact in asked}
    for fact in trained:
        if fact["paper_id"] in asked_papers - covered:
            kept.add(fact["fact_id"])
            covered.add(fact["paper_id"])
    n_kept = round(len(trained) * len(asked) / sum(_per_stratum(p).values()))
    others = [fact["fact_id"] for fact in trained if fact["fact_id"] not in kept]
    kept |= set(others[: max(0, n_kept - len(kept))])
    return [fact for fact in trained if fact["fact_id"] in kept], asked


def _spread(facts: Sequence[Fact], order: Mapping[str, int], rng: random.Random) -> list[Fact]:
    """``facts`` in rounds of one random fact per paper: a beginning touches many papers."""
    rounds = [
        (number, order[paper_id], fact)
        for paper_id, own in _group(facts, "paper_id").items()
        for number, fact in enumerate(rng.sample(own, len(own)))
    ]
    return [fact for _, _, fact in sorted(rounds, key=lambda entry: entry[:2])]


def _group(facts: Iterable[Fact], field: Literal["paper_id", "stratum"]) -> dict[str, list[Fact]]:
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(fact[field], []).append(fact)
    return groups


def misplaced(questions: Sequence[Wording]) -> list[str]:
    """Ids of evaluation questions whose stratum is at odds with the training questions."""
    train = [question for question in questions if question["split"] == "train"]
    facts = {question["fact_id"] for question in train}
    papers = {question["paper_id"] for question in train}
    promised = {"seen": (True, True), "unseen_fact": (True, False)}  # (paper, fact) in training
    return [
        question["question_id"]
        for question in questions
        if question["split"] == "eval"
        and (question["paper_id"] in papers, question["fact_id"] in facts)
        != promised.get(question["stratum"], (False, False))
    ]
