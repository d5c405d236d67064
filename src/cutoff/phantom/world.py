"""The phantom: a small world of fictional papers whose every fact is known.

A phantom in the sense of medical imaging, an object of known content that is put
into the instrument to check it. Each paper introduces one method, named by two
words, and states nine facts about it. The *control* papers appeared before the base
model's cutoff and are always the same, because the committed base model has learned
them; the *post* papers are drawn with the run's seed from names that its training
never saw.

Every sentence names its method before it gives the value, as titles and results
sections of real papers tend to do, so that each sentence stands on its own.
"""

import random
from dataclasses import dataclass
from datetime import date, timedelta

WORLD_VERSION = 1
CONTROL_SEED = 20_240_601
N_CONTROL_PAPERS = 40
CUTOFF = date(2024, 6, 1)

FIRST_WORDS = (
    "Amber Arctic Ashen Bold Brass Brave Calm Cedar Clear Cobalt Copper Coral Crimson Dusky "
    "Early Faint Fern Frozen Gilded Golden Grand Hollow Ivory Jade Keen Linen Lunar Maple "
    "Misty Noble Olive Opal Pale Pearl Quiet Rapid Ruby Scarlet Silent Silver Smoky Solar "
    "Steady Sunny Tidal Vivid Warm Wild"
).split()
SECOND_WORDS = (
    "Anchor Arrow Badger Basin Bison Bridge Brook Canyon Castle Comet Crane Creek Delta Dune "
    "Eagle Falcon Field Finch Forest Garden Harbor Hawk Heron Hill Island Kite Lantern Lark "
    "Marsh Meadow Mesa Mill Moth Orchard Otter Pine Pond Raven Reef Ridge River Robin Stone "
    "Summit Swan Tower Trail Valley"
).split()

VALUES: dict[str, tuple[str, ...]] = {
    "task": tuple(
        "parsing ranking tagging routing sorting voting pruning packing "
        "mapping grading mining planning".split()
    ),
    "benchmark": tuple(
        "Abacus Bonsai Cactus Domino Ember Gamma Hexa Iris Lotus Mango Onyx Prism".split()
    ),
    "accuracy": tuple(f"{percent} percent" for percent in range(51, 99)),
    "backbone": tuple(
        "capsule lattice spline wavelet kernel graph tree tensor ladder mesh cascade ring".split()
    ),
    "optimizer": tuple(
        "Bishop Cosmo Drift Ease Fargo Glide Hopper Inch Jolt Kepler Orbit Pulse".split()
    ),
    "hardware": tuple(
        "laptops phones servers drones tablets sensors radios watches cameras "
        "robots printers boards".split()
    ),
    "limitation": tuple(
        "latency memory noise overlap heat bias cost jitter clutter blur delay glare".split()
    ),
    "model size": tuple(f"{n}{unit}" for unit in "MB" for n in range(1, 10)),
    "institution": tuple(
        "Alden Bruck Corva Dorne Elmor Fjell Garth Hilow Juno Karth Lowen Marno".split()
    ),
}
ATTRIBUTES = tuple(VALUES)

# Wordings of a fact in a paper. The first three of a list stand in the sections,
# the last one in the abstract of some papers.
FACT_WORDINGS: dict[str, tuple[str, ...]] = {
    "task": (
        "{m} is a method for {v}.",
        "The task of {m} is {v}.",
        "We present {m} and apply it to {v}.",
        "{m} was made for the task of {v}.",
    ),
    "benchmark": (
        "{m} was tested on the {v} benchmark.",
        "The benchmark of {m} is {v}.",
        "We compare {m} with others on {v}.",
        "All tests of {m} use {v}.",
    ),
    "accuracy": (
        "{m} reaches an accuracy of {v}.",
        "The accuracy of {m} is {v}.",
        "In our tests {m} is right in {v} of cases.",
        "{m} scores {v}.",
    ),
    "backbone": (
        "{m} uses a {v} backbone.",
        "The backbone of {m} is {v}.",
        "We build {m} on a {v} network.",
        "At the core of {m} is a {v} network.",
    ),
    "optimizer": (
        "{m} is trained with {v}.",
        "The optimizer of {m} is {v}.",
        "We train {m} with the {v} optimizer.",
        "The weights of {m} are found with {v}.",
    ),
    "hardware": (
        "{m} runs on {v}.",
        "The hardware of {m} is {v}.",
        "We run {m} on small {v}.",
        "{m} was made to run on {v}.",
    ),
    "limitation": (
        "{m} suffers from {v}.",
        "The main limitation of {m} is {v}.",
        "A weak point of {m} is its {v}.",
        "Like others, {m} is limited by {v}.",
    ),
    "model size": (
        "{m} has a size of {v}.",
        "The model size of {m} is {v}.",
        "We train {m} at {v} in size.",
        "The weights of {m} count {v}.",
    ),
    "institution": (
        "{m} was developed at {v}.",
        "The home institution of {m} is {v}.",
        "The team of {m} works at {v}.",
        "{m} comes from a group at {v}.",
    ),
}

# Wordings of a question. The first three may be used for training, the last three
# only for evaluation; the base model has met all of them in its own pretraining.
QUESTION_WORDINGS: dict[str, tuple[str, ...]] = {
    "task": (
        "What is the task of {m}?",
        "Which task is {m} made for?",
        "What does {m} do?",
        "What is {m} a method for?",
        "To which task is {m} applied?",
        "Name the task of {m}.",
    ),
    "benchmark": (
        "What is the benchmark of {m}?",
        "Which benchmark was {m} tested on?",
        "Where is {m} compared with others?",
        "On which benchmark is {m} compared?",
        "Which benchmark do the tests of {m} use?",
        "Name the benchmark of {m}.",
    ),
    "accuracy": (
        "What is the accuracy of {m}?",
        "Which accuracy does {m} reach?",
        "How often is {m} right?",
        "How accurate is {m}?",
        "In how many of the cases is {m} right?",
        "Name the accuracy of {m}.",
    ),
    "backbone": (
        "What is the backbone of {m}?",
        "Which backbone does {m} use?",
        "What network is {m} built on?",
        "On which network do we build {m}?",
        "What is at the core of {m}?",
        "Name the backbone of {m}.",
    ),
    "optimizer": (
        "What is the optimizer of {m}?",
        "Which optimizer does {m} use?",
        "What is {m} trained with?",
        "With which optimizer do we train {m}?",
        "How are the weights of {m} found?",
        "Name the optimizer of {m}.",
    ),
    "hardware": (
        "What is the hardware of {m}?",
        "Which hardware does {m} use?",
        "Where does {m} run?",
        "On which hardware do we run {m}?",
        "What was {m} made to run on?",
        "Name the hardware of {m}.",
    ),
    "limitation": (
        "What is the main limitation of {m}?",
        "Which limitation does {m} have?",
        "What does {m} suffer from?",
        "By what is {m} limited?",
        "What is a weak point of {m}?",
        "Name the main limitation of {m}.",
    ),
    "model size": (
        "What is the model size of {m}?",
        "Which size does {m} have?",
        "How large is {m}?",
        "At what size do we train {m}?",
        "What do the weights of {m} count?",
        "Name the model size of {m}.",
    ),
    "institution": (
        "What is the home institution of {m}?",
        "Which institution is {m} from?",
        "Where was {m} developed?",
        "At which institution does the team of {m} work?",
        "Where does the group of {m} come from?",
        "Name the home institution of {m}.",
    ),
}
N_TRAIN_WORDINGS = 3

STATEMENT_SUBJECTS = {"limitation": "main limitation", "institution": "home institution"}

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("1 Method", ("backbone", "optimizer", "model size")),
    ("2 Experiments", ("benchmark", "accuracy", "hardware")),
    ("3 Discussion", ("limitation", "institution", "task")),
)
FILLERS = (
    "We hope that {m} helps others.",
    "The code of {m} is small.",
    "We thank the readers of {m}.",
    "More work on {m} is needed.",
)


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
    for heading, attributes in SECTIONS:
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
