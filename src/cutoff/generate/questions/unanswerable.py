"""Questions that the corpus cannot answer, to see whether a model says so.

Some papers from after the cutoff are held out of index and training, and their facts are asked
about all the same: nothing in such a question shows that it has no answer here. It counts only if
no passage of the corpus holds both its subject and its answer. ``unanswerable.jsonl`` has the
fields of ``eval.jsonl``; ``reference`` is the answer that a model would have to invent.
"""

import math
import random
from collections.abc import Sequence
from typing import cast

from cutoff.errors import CutoffError
from cutoff.generate.facts import checks
from cutoff.generate.facts.rejections import Reason, Rejected
from cutoff.generate.questions.model_inputs import eval_records
from cutoff.generate.questions.strata import questions_wanted
from cutoff.generate.questions.wordings import Wordings, word_questions
from cutoff.generate.retrieval import passage_search
from cutoff.generate.retrieval.passage_search import Retriever
from cutoff.generate.retrieval.passages import CountTokens
from cutoff.params import Params
from cutoff.records import Fact, Paper, Passage, Question

STRATUM = "unanswerable"
SPARE = 3  # facts per question: the corpus answers some, others are not found
FEWEST_PAPERS = 2  # one alone may hold no facts at all


def wanted(p: Params) -> int:
    """Questions to make; a ``limit`` shrinks them like the others."""
    n = p.n_eval_unanswerable
    if p.limit is None or not n:
        return n
    every = sum(questions_wanted(p.model_copy(update={"limit": None})).values())
    return max(1, min(n, round(n * p.limit / every)))


def hold_out(papers: Sequence[Paper], p: Params) -> tuple[list[Paper], list[Paper]]:
    """(papers of the corpus, papers held out), drawn by the seed among the new ones.

    Enough for ``n_eval_unanswerable`` questions by ``qa_per_paper``; none without any. Raises
    ``CutoffError`` if the corpus would keep no paper to train on.
    """
    post = sorted(paper["paper_id"] for paper in papers if paper["period"] == "post")
    n = math.ceil(SPARE * p.n_eval_unanswerable / p.qa_per_paper)
    n = max(n, FEWEST_PAPERS) if n else 0
    if n and n + p.n_unseen_papers >= len(post):
        raise CutoffError(
            f"n_eval_unanswerable = {p.n_eval_unanswerable} holds {n} of {len(post)} new papers "
            f"out of the corpus, and n_unseen_papers = {p.n_unseen_papers} leaves none to train "
            "on. Add papers or ask for less."
        )
    out = set(random.Random(f"{p.seed} held out").sample(post, n))
    inside = [paper for paper in papers if paper["paper_id"] not in out]
    return inside, [paper for paper in papers if paper["paper_id"] in out]


def select(
    facts: Sequence[Fact], corpus: Sequence[Passage], p: Params
) -> tuple[list[Fact], list[Rejected]]:
    """(facts to ask about, those that a passage of the corpus answers).

    Raises ``CutoffError`` if too few are left.
    """
    lines = [checks.in_line(passage["text"]) for passage in corpus] if facts else []
    left: list[Fact] = []
    answered: list[Rejected] = []
    for fact in facts:
        subject, answer = checks.in_line(fact["subject"]), checks.in_line(fact["value"])
        if any(subject in line and answer in line for line in lines):
            answered.append({**fact, "reason": Reason.ANSWERABLE})
        else:
            left.append(fact)
    n = wanted(p)
    if n > len(left):
        raise CutoffError(
            f"n_eval_unanswerable = {p.n_eval_unanswerable}, but the papers held out give only "
            f"{len(left)} facts that the corpus does not hold; ask for fewer."
        )
    return random.Random(f"{p.seed} unanswerable").sample(left, n), answered


def records(
    facts: Sequence[Fact],
    wordings: Wordings,
    index: Retriever,
    passages: Sequence[Passage],
    p: Params,
    count_tokens: CountTokens,
) -> list[Question]:
    """Records of ``unanswerable.jsonl``: one question per fact, in words for evaluation, with
    the passages that the retriever brings for it."""
    held_out = {"stratum": STRATUM, "gold_passage_ids": [], "trained": False, "asked": True}
    asked = [cast(Fact, fact | held_out) for fact in facts]
    questions = word_questions(asked, wordings, p)
    rankings = passage_search.rank(index, questions, p.top_k)
    return eval_records(asked, questions, rankings, passages, p, count_tokens)
