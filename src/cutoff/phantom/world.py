"""The phantom: a small world of fictional papers whose every fact is known.

A phantom in the sense of medical imaging, an object of known content that is put
into the instrument to check it. Each paper introduces one method, named by two
words, and states nine facts about it. The *control* papers appeared before the base
model's cutoff and are always the same, because the committed base model has learned
them; the *post* papers are drawn with the run's seed from names that its training
never saw.

Every sentence names its method before it gives the value, as titles and results
sections of real papers tend to do, so that each sentence stands on its own. The words stand
in ``world.yaml``.
"""

import random
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

WORLD_VERSION = 1
CONTROL_SEED = 20_240_601
N_CONTROL_PAPERS = 40
N_TRAIN_WORDINGS = 3
CUTOFF = date(2024, 6, 1)

_WORDS: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
FIRST_WORDS: list[str] = _WORDS["first_words"].split()
SECOND_WORDS: list[str] = _WORDS["second_words"].split()
VALUES: dict[str, list[str]] = _WORDS["values"]
ATTRIBUTES = tuple(VALUES)
FACT_WORDINGS: dict[str, list[str]] = _WORDS["facts"]
QUESTION_WORDINGS: dict[str, list[str]] = _WORDS["questions"]
STATEMENT_SUBJECTS: dict[str, str] = _WORDS["subjects"]
SECTIONS: dict[str, list[str]] = _WORDS["sections"]
FILLERS: list[str] = _WORDS["fillers"]


@dataclass(frozen=True)
class Paper:
    """One fictional paper. ``facts`` maps each attribute to its one true value."""

    paper_id: str
    method: str
    period: str
    first_version: date
    facts: dict[str, str]
    sections: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def title(self) -> str:
        return f"{self.method}: a new method and its evaluation"


def is_reserved(method: str) -> bool:
    """True for the method names that are kept for post-cutoff papers.

    One in six combinations; pretraining uses none of them. A rule on the words,
    not a list, so that it needs no file and never changes.
    """
    first, second = method.split()
    return (FIRST_WORDS.index(first) + 5 * SECOND_WORDS.index(second)) % 6 == 0


def statement(attribute: str, method: str, value: str) -> str:
    """The sentence that answers a question about a fact, without a citation."""
    return f"The {STATEMENT_SUBJECTS.get(attribute, attribute)} of {method} is {value}."


def question_wordings(attribute: str, method: str) -> dict[str, list[str]]:
    """All questions about one fact: ``{"train": [...], "eval": [...]}``, disjoint."""
    wordings = [wording.format(m=method) for wording in QUESTION_WORDINGS[attribute]]
    return {"train": wordings[:N_TRAIN_WORDINGS], "eval": wordings[N_TRAIN_WORDINGS:]}


def fact_sentence(attribute: str, method: str, value: str, wording: int) -> str:
    """The fact as a sentence of a paper, in the given wording (0 to 3)."""
    return FACT_WORDINGS[attribute][wording].format(m=method, v=value)


def evidence(paper: Paper, attribute: str) -> list[str]:
    """The sentences of ``paper`` that state the fact, verbatim, in reading order."""
    sentences = {
        fact_sentence(attribute, paper.method, paper.facts[attribute], wording)
        for wording in range(len(FACT_WORDINGS[attribute]))
    }
    return [text for _, body in paper.sections for text in body if text in sentences]


def draw_method(rng: random.Random, reserved: bool) -> str:
    """A method name of two words, from the reserved or from the open combinations."""
    while True:
        method = f"{rng.choice(FIRST_WORDS)} {rng.choice(SECOND_WORDS)}"
        if is_reserved(method) == reserved:
            return method


def draw_paper(
    rng: random.Random, paper_id: str, method: str, period: str, first_version: date
) -> Paper:
    """A paper about ``method`` with random facts, wordings and abstract."""
    facts = {attribute: rng.choice(VALUES[attribute]) for attribute in ATTRIBUTES}

    def sentence(attribute: str, wording: int) -> str:
        return fact_sentence(attribute, method, facts[attribute], wording)

    abstract = [sentence(attribute, 3) for attribute in sorted(rng.sample(ATTRIBUTES, 2))]
    sections = [("Abstract", (*abstract, rng.choice(FILLERS).format(m=method)))]
    for heading, attributes in SECTIONS.items():
        shuffled = rng.sample(attributes, len(attributes))
        body = [sentence(attribute, rng.randrange(3)) for attribute in shuffled]
        if rng.random() < 0.4:
            body.insert(rng.randrange(len(body) + 1), rng.choice(FILLERS).format(m=method))
        sections.append((heading, tuple(body)))
    return Paper(paper_id, method, period, first_version, facts, tuple(sections))


def draw_papers(
    rng: random.Random, n_papers: int, period: str, first_day: date, n_days: int, reserved: bool
) -> list[Paper]:
    """``n_papers`` papers with distinct method names, in order of their dates."""
    methods: list[str] = []
    while len(methods) < n_papers:
        method = draw_method(rng, reserved)
        if method not in methods:
            methods.append(method)
    dates = sorted(first_day + timedelta(days=rng.randrange(n_days)) for _ in methods)
    return [
        draw_paper(rng, f"phantom-{period}-{number:04d}", method, period, day)
        for number, (method, day) in enumerate(zip(methods, dates, strict=True), start=1)
    ]


def control_papers() -> list[Paper]:
    """The pre-cutoff papers that the committed base model was trained on; always the same."""
    first_day = CUTOFF - timedelta(days=720)
    return draw_papers(
        random.Random(CONTROL_SEED), N_CONTROL_PAPERS, "control", first_day, 700, reserved=False
    )


def make_papers(seed: int, n_post: int, n_control: int) -> list[Paper]:
    """The corpus of a run: ``n_post`` post-cutoff papers, then ``n_control`` control papers.

    Raises ``ValueError`` when more control papers are asked for than the base model knows,
    or more post-cutoff papers than there are reserved names.
    """
    n_reserved = sum(is_reserved(f"{a} {b}") for a in FIRST_WORDS for b in SECOND_WORDS)
    if not 0 <= n_control <= N_CONTROL_PAPERS:
        raise ValueError(f"n_control must be 0 to {N_CONTROL_PAPERS}, not {n_control}")
    if not 0 <= n_post <= n_reserved:
        raise ValueError(f"n_post must be 0 to {n_reserved}, not {n_post}")
    post = draw_papers(random.Random(seed), n_post, "post", CUTOFF, 500, reserved=True)
    return post + control_papers()[:n_control]
