"""Pretraining conversations of the phantom, with the places where each answer comes from.

Two kinds: *open-book* conversations ask about facts that stand in numbered passages of
papers drawn at random (never seen twice, never a reserved name), *closed-book* ones ask
about the control papers without any passage. Because the world is known, each
conversation also says which earlier token an attention head should look at when a
given token is read or predicted: see ``Link``.
"""

import random
from dataclasses import dataclass, field
from datetime import date

from cutoff import prompts
from cutoff.phantom import world

Span = tuple[int, int]  # first and one-past-last character


@dataclass(frozen=True)
class Link:
    """Attention supervision: at ``query``, a head of ``role`` should look at ``sources``.

    Roles: ``copy`` (predict a token of the value, which stands at the source), ``name``
    (likewise the method's name, from the question), ``cite`` (predict the
    passage number, which a head at the source position has gathered), and the gathering
    roles ``first``, ``second`` (the two words of the method's name), ``cue`` (the attribute)
    and ``marker`` (the number of the passage). With ``predicts`` the query is the
    position *before* each token of the span, else the tokens themselves.
    """

    role: str
    query: Span
    sources: tuple[Span, ...]
    predicts: bool


@dataclass
class Conversation:
    """Text in ChatML, the character spans of the answers, and the attention links."""

    text: str = ""
    answers: list[Span] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    def write(self, text: str) -> Span:
        start = len(self.text)
        self.text += text
        return start, len(self.text)


@dataclass(frozen=True)
class Fact:
    method: str
    attribute: str
    value: str


def part(span: Span, whole: str, fragment: str, last: bool = False) -> Span:
    """The span of ``fragment`` inside ``whole``, where ``whole`` stands at ``span``."""
    start = span[0] + (whole.rindex(fragment) if last else whole.index(fragment))
    return start, start + len(fragment)


def name_parts(span: Span, whole: str, method: str) -> tuple[Span, Span]:
    first, second = method.split()
    begin, _ = part(span, whole, method)
    return (begin, begin + len(first)), (begin + len(first) + 1, begin + len(method))


def write_sentence(
    conversation: Conversation, sentence: str, fact: Fact | None, marker: Span
) -> Span | None:
    """Write one sentence of a passage; returns the span of the value if it states ``fact``."""
    span = conversation.write(sentence)
    if fact is None:
        return None
    value = part(span, sentence, fact.value, last=True)
    first, second = name_parts(span, sentence, fact.method)
    for role, source in (("first", first), ("second", second), ("marker", marker)):
        conversation.links.append(Link(role, value, (source,), predicts=False))
    return value


def write_turn(
    conversation: Conversation,
    question: str,
    fact: Fact,
    values: list[tuple[Span, Span]],
    answer_word: str,
) -> None:
    """Write the assistant's answer; ``values`` are (value span, marker span) in the passages."""
    question_span = conversation.write(f"Question: {question}")
    conversation.write("<|im_end|>\n<|im_start|>assistant\n")
    sentence = world.statement(fact.attribute, fact.method, fact.value)
    span = conversation.write(sentence)
    links = conversation.links
    first, second = name_parts(span, sentence, fact.method)
    asked = name_parts(question_span, f"Question: {question}", fact.method)
    for target, source in zip((first, second), asked, strict=True):
        links.append(Link("name", target, (source,), predicts=True))
    value = part(span, sentence, fact.value, last=True)
    cue = part(span, sentence, fact.attribute.split()[-1])
    for role, source in (("first", first), ("second", second), ("cue", cue)):
        links.append(Link(role, value, (source,), predicts=True))
    end = span[1]
    if values:
        links.append(Link("copy", value, tuple(place for place, _ in values), predicts=True))
        conversation.write(" [")
        digit = conversation.write(answer_word)
        links.append(Link("cite", digit, tuple(place for place, _ in values), predicts=True))
        for role, source in (("first", first), ("second", second), ("cue", cue)):
            links.append(Link(role, digit, (source,), predicts=True))
        conversation.write("]")
    end = conversation.write("<|im_end|>")[1]
    conversation.answers.append((span[0], end))
    conversation.write("\n")


def open_turn(conversation: Conversation) -> None:
    conversation.write("<|im_start|>user\n")


def start(conversation: Conversation, system: str) -> None:
    conversation.write(f"<|im_start|>system\n{system}<|im_end|>\n")


def related_method(rng: random.Random, method: str) -> str:
    """Another open name: often one that shares a word with ``method``, as a distractor should."""
    first, second = method.split()
    kind = rng.random()
    while True:
        if kind < 0.25:
            candidate = f"{first} {rng.choice(world.SECOND_WORDS)}"
        elif kind < 0.5:
            candidate = f"{rng.choice(world.FIRST_WORDS)} {second}"
        else:
            candidate = world.draw_method(rng, reserved=False)
        if candidate != method and not world.is_reserved(candidate):
            return candidate


def draw_passages(
    rng: random.Random, papers: list[world.Paper], n_passages: int
) -> list[tuple[world.Paper, list[str]]]:
    """``n_passages`` sections out of ``papers``, at least one of them of the first paper."""
    own = [(papers[0], list(body)) for _, body in papers[0].sections]
    others = [(paper, list(body)) for paper in papers[1:] for _, body in paper.sections]
    chosen = [own.pop(rng.randrange(1, len(own)))]
    rng.shuffle(own)
    rng.shuffle(others)
    while len(chosen) < n_passages and (own or others):
        pool = own if own and (not others or rng.random() < 0.5) else others
        chosen.append(pool.pop())
    rng.shuffle(chosen)
    return chosen


def facts_by_sentence(paper: world.Paper) -> dict[str, Fact]:
    return {
        sentence: Fact(paper.method, attribute, value)
        for attribute, value in paper.facts.items()
        for sentence in world.evidence(paper, attribute)
    }


def open_book(
    rng: random.Random, papers: list[world.Paper], n_passages: int, n_turns: int
) -> Conversation:
    """A conversation over ``n_passages`` sections of ``papers`` (the first is always present)."""
    conversation = Conversation()
    start(conversation, prompts.SYSTEM_RAG)
    open_turn(conversation)
    conversation.write("Passages:\n")
    places: dict[Fact, list[tuple[Span, Span]]] = {}
    number_of: dict[Span, str] = {}
    for number, (paper, sentences) in enumerate(draw_passages(rng, papers, n_passages), start=1):
        conversation.write("[")
        marker = conversation.write(str(number))
        number_of[marker] = str(number)
        conversation.write("]")
        facts = facts_by_sentence(paper)
        for sentence in sentences:
            conversation.write(" ")
            fact = facts.get(sentence)
            value = write_sentence(conversation, sentence, fact, marker)
            if fact is not None and value is not None:
                places.setdefault(fact, []).append((value, marker))
        conversation.write("\n")
    asked = rng.sample(sorted(places, key=repr), min(n_turns, len(places)))
    for turn, fact in enumerate(asked):
        if turn:
            open_turn(conversation)
        wordings = world.question_wordings(fact.attribute, fact.method)
        question = rng.choice(wordings["train"] + wordings["eval"])
        write_turn(conversation, question, fact, places[fact], number_of[places[fact][0][1]])
    return conversation


def closed_book(rng: random.Random, facts: list[Fact]) -> Conversation:
    """A conversation that asks about each of ``facts`` without passages."""
    conversation = Conversation()
    start(conversation, prompts.SYSTEM_CLOSED_BOOK)
    for fact in facts:
        open_turn(conversation)
        wordings = world.question_wordings(fact.attribute, fact.method)
        question = rng.choice(wordings["train"] + wordings["eval"])
        write_turn(conversation, question, fact, [], "")
    return conversation


def draw_open_book(
    rng: random.Random, n_passages: int, n_turns: int, reserved: bool = False
) -> Conversation:
    """An open-book conversation about papers drawn for this occasion only."""
    methods = [world.draw_method(rng, reserved)]
    while len(methods) < 3:
        methods.append(
            world.draw_method(rng, True) if reserved else related_method(rng, methods[0])
        )
    papers = [world.draw_paper(rng, "draft", method, "draft", date.min) for method in methods]
    return open_book(rng, papers, n_passages, n_turns)


def control_facts() -> list[Fact]:
    """Every fact of the control papers."""
    return [
        Fact(paper.method, attribute, value)
        for paper in world.control_papers()
        for attribute, value in paper.facts.items()
    ]
