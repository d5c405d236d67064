"""Questions in words: those for training, and others for evaluation."""

import random
from collections.abc import Callable, Mapping, Sequence

from cutoff.errors import CutoffError
from cutoff.params import Params
from cutoff.phantom import world
from cutoff.records import Fact, Wording

Wordings = Callable[[Fact], Mapping[str, list[str]]]  # fact -> {"train": [...], "eval": [...]}


def wordings_of(p: Params) -> Wordings:
    """Where questions come from: the phantom's own lists, or the generator's paraphrases.

    Of a generated fact's wordings, all of them different (``dedupe.different_wordings``), one
    drawn by the seed is kept for evaluation.
    """
    if p.fact_source == "truth":
        return lambda fact: world.question_wordings(fact["attribute"], fact["subject"])

    def generated(fact: Fact) -> Mapping[str, list[str]]:
        train = [fact["question"], *fact["paraphrases"]]
        rng = random.Random(f"{p.seed} wording {fact['fact_id']}")
        kept_apart = train.pop(rng.randrange(len(train)))
        return {"train": train, "eval": [kept_apart]}

    return generated


def word_questions(facts: Sequence[Fact], wordings: Wordings, p: Params) -> list[Wording]:
    """Records of ``questions.jsonl``: ``exposures`` per trained fact, one per fact asked about.

    Raises ``CutoffError`` if there are too few wordings.
    """
    rng = random.Random(f"{p.seed} wordings")
    result: list[Wording] = []
    for split, use, n_wanted in (("train", "trained", p.exposures), ("eval", "asked", 1)):
        for fact in facts:
            if not fact[use]:  # type: ignore[literal-required]
                continue
            texts = wordings(fact)
            if n_wanted > len(texts[split]):
                raise CutoffError(
                    f"exposures = {p.exposures}, but there are only {len(texts[split])} {split} "
                    f"wordings of a question about {fact['fact_id']}."
                )
            every = [*texts["train"], *texts["eval"]]
            result += [
                {
                    "question_id": f"{fact['fact_id']}?{every.index(text) + 1}",
                    "fact_id": fact["fact_id"],
                    "paper_id": fact["paper_id"],
                    "stratum": fact["stratum"],
                    "split": split,
                    "question": text,
                }
                for text in rng.sample(texts[split], n_wanted)
            ]
    return result
