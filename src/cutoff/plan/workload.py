"""How much there is to train, to answer and to judge, from the parameters alone."""

from dataclasses import dataclass

from cutoff.engines import chat
from cutoff.experiment import CONDITIONS
from cutoff.params import Params

# Tokens around the passages: instructions, question, answer, chat template. Tiny's longest
# training example has 179 tokens for three passages of at most 64.
FRAME_TOKENS = 128
CLOSED_BOOK_TOKENS = 96
JUDGE_FRAME_TOKENS = 850  # the rubric, question and reference, without the response
GOLDEN = 24  # questions that every judge answers first


@dataclass(frozen=True)
class Workload:
    """Examples per variant, tokens, questions by stratum, answers and judgements of a run."""

    examples: int
    rag_tokens: int
    closed_tokens: int
    questions: dict[str, int]
    answers: int
    judged_pairs: int

    @property
    def n_questions(self) -> int:
        """Questions that every condition answers."""
        return sum(self.questions.values())

    @property
    def training_tokens(self) -> int:
        """Tokens of one epoch over both variants, every example as long as the longest."""
        return self.examples * (self.rag_tokens + self.closed_tokens)

    @property
    def prompt_tokens(self) -> int:
        """Tokens that are read to give all answers."""
        return self.answers // 2 * (self.rag_tokens + self.closed_tokens)


def find(p: Params) -> Workload:
    """The workload of a run. Lengths are upper bounds: full passages, longest answers."""
    train_papers = p.n_post_papers - p.n_unseen_papers
    context = min(p.context_tokens, p.top_k * p.passage_tokens)
    names = ("seen", "unseen_fact", "unseen_paper", "control")
    questions = {name: getattr(p, f"n_eval_{name}") for name in names}
    if p.limit is not None:
        share = min(1.0, p.limit / max(1, sum(questions.values())))
        questions = {name: round(n * share) for name, n in questions.items()}
    n = sum(questions.values()) + p.n_eval_unanswerable
    trained = sum(condition.model != "base" for condition in CONDITIONS.values())
    answers = n * (len(CONDITIONS) + trained * (p.training_seeds - 1))
    pairs = 0
    if p.pairwise_conditions != "none":
        listed = len(CONDITIONS) if p.pairwise_conditions == "all" else 2
        if p.pairwise_conditions not in ("all", "top"):
            listed = len(p.pairwise_conditions.split(","))
        compared = min(n, p.pairwise_questions or n)
        pairs = compared * listed * (listed - 1) // 2 * 2  # in both orders
    return Workload(
        examples=train_papers * p.seen_facts_per_paper * p.exposures,
        rag_tokens=context + FRAME_TOKENS,
        closed_tokens=CLOSED_BOOK_TOKENS,
        questions=questions,
        answers=answers,
        judged_pairs=pairs,
    )


def judge_tokens(p: Params, work: Workload, thinking: bool) -> tuple[int, int]:
    """(read, written at most) by one judge over verdicts, golden set and pairs."""
    verdicts = work.answers + GOLDEN
    read = verdicts * (JUDGE_FRAME_TOKENS + p.max_new_tokens)
    read += work.judged_pairs * (JUDGE_FRAME_TOKENS + 2 * p.max_new_tokens)
    each = p.judge_max_new_tokens + (chat.THINKING_TOKENS if thinking else 0)
    return read, (verdicts + work.judged_pairs) * each
