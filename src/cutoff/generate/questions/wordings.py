"""Questions in words: those for training, and others for evaluation."""

import random
from collections.abc import Callable, Mapping, Sequence

from cutoff.errors import CutoffError
from cutoff.generate.questions.evidence import normalise
from cutoff.params import Params
from cutoff.phantom import world
from cutoff.records import Fact, Wording

Wordings = Callable[[Fact], Mapping[str, list[str]]]  # fact -> {"train": [...], "eval": [...]}


def phantom_wordings(fact: Fact) -> Mapping[str, list[str]]:
    """Questions about a fact of the phantom, for training and for evaluation."""
    return world.question_wordings(fact["attribute"], fact["subject"])


def wordings_of(p: Params) -> Wordings:
    """Where questions come from: the phantom's own lists, or the generator's paraphrases.

    Of a generated fact's wordings, all of them different (``dedupe.different_wordings``), one
    drawn by the seed is kept for evaluation.
    """
    if p.fact_source == "truth":
        return phantom_wordings

    def generated(fact: Fact) -> Mapping[str, list[str]]:
        texts = [fact["question"], *fact["paraphrases"]]
        kept_apart = random.Random(f"{p.seed} wording {fact['fact_id']}").randrange(len(texts))
        train = [text for n, text in enumerate(texts) if n != kept_apart]
        return {"train": train, "eval": [texts[kept_apart]]}

    return generated


def word_questions(facts: Sequence[Fact], wordings: Wordings, p: Params) -> list[Wording]:
    """Records of ``questions.jsonl``: ``exposures`` per trained fact, one per fact asked about.

    Raises ``CutoffError`` if there are too few wordings, if a wording serves both training
    and evaluation, or if a question does not name its subject.
    """
    rng = random.Random(f"{p.seed} wordings")
    result: list[Wording] = []
    for split_name in ("train", "eval"):
        for fact in facts:
            if not fact["trained" if split_name == "train" else "asked"]:
                continue
            texts = wordings(fact)
            numbers = {text: n for n, text in enumerate([*texts["train"], *texts["eval"]], start=1)}
            available = texts[split_name]
            n_wanted = p.exposures if split_name == "train" else 1
            if n_wanted > len(available):
                raise CutoffError(
                    f"exposures = {p.exposures}, but there are only {len(available)} {split_name} "
                    f"wordings of a question about {fact['fact_id']}."
                )
            for text in rng.sample(available, n_wanted):
                result.append(
                    {
                        "question_id": f"{fact['fact_id']}?{numbers[text]}",
                        "fact_id": fact["fact_id"],
                        "paper_id": fact["paper_id"],
                        "stratum": fact["stratum"],
                        "split": split_name,
                        "question": text,
                    }
                )
    check_questions(result, {fact["fact_id"]: fact["subject"] for fact in facts})
    return result


def check_questions(questions: Sequence[Wording], subjects: Mapping[str, str]) -> None:
    """Raise ``CutoffError`` for a doubled question or one that does not name its subject."""
    seen: dict[str, str] = {}
    for question in questions:
        text = normalise(question["question"])
        if text in seen:
            raise CutoffError(
                f"{seen[text]} and {question['question_id']} ask the same: "
                f"{question['question']!r}."
            )
        seen[text] = question["question_id"]
        if normalise(subjects[question["fact_id"]]) not in text:
            raise CutoffError(
                f"{question['question_id']} does not name what it is about: "
                f"{question['question']!r}."
            )
