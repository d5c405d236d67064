"""How much there is to train, to answer and to judge, from the parameters alone."""

from dataclasses import dataclass

from cutoff.evaluate.judging import golden
from cutoff.experiment import CONDITIONS, POST_STRATA
from cutoff.params import Params

# Tokens around the passages: instructions, question, answer, chat template. Tiny's longest
# training example has 179 tokens for three passages of at most 64.
FRAME_TOKENS = 128
CLOSED_BOOK_TOKENS = 96


@dataclass(frozen=True)
class Workload:
    """Examples per variant, their longest tokens with and without passages, questions by
    stratum, answers of all conditions and trainings, and answers that are judged."""

    examples: int
    rag_tokens: int
    closed_tokens: int
    questions: dict[str, int]
    answers: int
    judgements: int

    @property
    def n_questions(self) -> int:
        """Questions that every condition answers."""
        return sum(self.questions.values())

    @property
    def training_tokens(self) -> int:
        """Tokens of one epoch over both variants, every example as long as the longest."""
        return self.examples * (self.rag_tokens + self.closed_tokens)


def find(p: Params) -> Workload:
    """The workload of a run. Lengths are upper bounds: full passages, longest answers."""
    context = min(p.context_tokens, p.top_k * p.passage_tokens)
    questions = {name: getattr(p, f"n_eval_{name}") for name in (*POST_STRATA, "control")}
    if p.limit is not None:
        share = min(1.0, p.limit / max(1, sum(questions.values())))
        questions = {name: round(n * share) for name, n in questions.items()}
    n = sum(questions.values()) + p.n_eval_unanswerable
    trained = sum(condition.model != "base" for condition in CONDITIONS.values())
    answers = n * (len(CONDITIONS) + trained * (p.training_seeds - 1))
    return Workload(
        examples=(p.n_post_papers - p.n_unseen_papers) * p.seen_facts_per_paper * p.exposures,
        rag_tokens=context + FRAME_TOKENS,
        closed_tokens=CLOSED_BOOK_TOKENS,
        questions=questions,
        answers=answers,
        judgements=answers + len(golden.GOLDEN),
    )
