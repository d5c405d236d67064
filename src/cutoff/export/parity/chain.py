"""The chain between training and serving: one number per link, against one threshold.

Every number compares with transformers, so errors cannot add up unseen, and a later link
counts only the prompts that the earlier ones let through, so that a fault shows where it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from cutoff.export.parity import divergence
from cutoff.export.parity.transcript import Transcript

READING = "tokenizer and template"
BOS = "BOS"
CONTEXT = "context"
ENDING = "end of turn"

SAME_IDS = "share of prompts with equal token ids"
BOS_TOKENS = "BOS tokens before a prompt"
LONGEST = "longest prompt and answer (tokens)"
READ_WHOLE = "share of prompts that are read whole"
DIVERGENCE = "mean KL of the next token (nats)"
ORIGIN = "made of the 16-bit file (1: yes)"
AGREEMENT = "share of greedy tokens before the first difference"
STOP_RATE = "share of answers that end by themselves"


class Link(TypedDict):
    """One number of one model; ``rule`` says how ``value`` must lie to ``threshold``."""

    model: str
    link: str
    metric: str
    value: float
    rule: str  # min | max | equal
    threshold: float
    passed: bool


Number = tuple[str, str, float | None, str, float]  # link, metric, value, rule, threshold


@dataclass(frozen=True)
class Limits:
    """What the links are held against.

    ``agreement`` and ``divergence``: name of a file in the chain (``F16``, ``Q4_K_M``) ->
    threshold. ``stop_rate`` is a share of the reference's. ``longest``: tokens of the longest
    prompt of the evaluation with its answer; ``context``: tokens there is room for.
    ``bos_ids``: the BOS tokens that tokenizer and file know.
    """

    agreement: Mapping[str, float]
    divergence: Mapping[str, float]
    stop_rate: float
    max_new_tokens: int
    longest: int
    context: int
    bos_ids: Sequence[int] = ()


def road(name: str) -> str:
    """The link from transformers to the file ``name`` of the chain."""
    return f"transformers -> {name}"


def compare(
    model: str,
    reference: Sequence[Transcript],
    chain: Mapping[str, Sequence[Transcript]],
    limits: Limits,
    origins: Sequence[object] = (),
) -> list[Link]:
    """The links of one model, in the order of the chain.

    ``chain`` maps the files to what llama.cpp made of them; the last one is served. Token ids,
    BOS tokens and lengths admit no tolerance. ``origins``: what each file was made from.
    """
    last = list(chain.values())[-1]
    pairs = list(zip(reference, last, strict=True))
    bos = limits.bos_ids
    same_ids = [without(a.prompt_ids, bos) == without(b.prompt_ids, bos) for a, b in pairs]
    # Training may have had none or one; the number farthest from that stands for all.
    wanted = min(max(leading(a.prompt_ids, bos) for a in reference), 1)
    n_bos = max((leading(b.prompt_ids, bos) for b in last), key=lambda n: abs(n - wanted))
    numbers: list[Number] = [
        (READING, SAME_IDS, mean(same_ids), "min", 1),
        (BOS, BOS_TOKENS, n_bos, "equal", wanted),
        (CONTEXT, LONGEST, limits.longest, "max", limits.context),
        (CONTEXT, READ_WHOLE, mean([b.n_read == len(b.prompt_ids) for b in last]), "min", 1),
    ]
    kept = [i for i, (a, b) in enumerate(pairs) if _arrived(a, b, limits)]
    for name, given in chain.items():
        agreed = mean([agreement(reference[i].answer_ids, given[i].answer_ids) for i in kept])
        kl = mean_divergence(reference, given)
        if name != next(iter(chain)) and origins:
            # Two models that training has hardly moved apart can pass for each other in 4 bits.
            numbers.append((road(name), ORIGIN, len(set(origins)) == 1, "equal", 1))
        numbers.append((road(name), DIVERGENCE, kl, "max", limits.divergence[name]))
        numbers.append((road(name), AGREEMENT, agreed, "min", limits.agreement[name]))
    numbers.append(_ending(ENDING, [pairs[i] for i in kept], limits))
    return _links(model, numbers)


def compare_served(
    model: str,
    server: str,
    reference: Sequence[Transcript],
    served: Sequence[Transcript],
    limits: Limits,
) -> list[Link]:
    """The last link, to a server that shows no token ids of prompts; ids are those of texts."""
    pairs = list(zip(reference, served, strict=True))
    whole = [b.n_read == len(a.prompt_ids) for a, b in pairs]
    kept = [pair for pair, is_whole in zip(pairs, whole, strict=True) if is_whole]
    agreed = mean([agreement(a.answer_ids, b.answer_ids) for a, b in kept])
    return _links(
        model,
        [
            (server, READ_WHOLE, mean(whole), "min", 1),
            (server, AGREEMENT, agreed, "min", min(limits.agreement.values())),
            _ending(server, kept, limits),
        ],
    )


def _links(model: str, numbers: Sequence[Number]) -> list[Link]:
    """The links of what was measured; without a value there is none."""
    made = []
    for link, metric, value, rule, threshold in numbers:
        if value is not None:
            passed = {"min": value >= threshold, "max": value <= threshold}
            made.append(
                Link(
                    model=model,
                    link=link,
                    metric=metric,
                    value=float(f"{value:.4g}"),
                    rule=rule,
                    threshold=float(f"{threshold:.4g}"),
                    passed=passed.get(rule, value == threshold),
                )
            )
    return made


def _ending(name: str, pairs: Sequence[tuple[Transcript, Transcript]], limits: Limits) -> Number:
    """The rate at which answers end by themselves, against that of the reference."""
    trained = mean([a.stopped for a, _ in pairs])
    served = mean([b.stopped for _, b in pairs])
    # A model that goes on in transformers too was trained so: not a fault of the export.
    return name, STOP_RATE, served, "min", limits.stop_rate * (trained or 0.0)


def _arrived(expected: Transcript, served: Transcript, limits: Limits) -> bool:
    """Whether both sides answered the same whole prompt with the same room for the answer."""
    return (
        expected.prompt_ids == served.prompt_ids
        and served.n_read == len(served.prompt_ids)
        and served.n_read + limits.max_new_tokens <= limits.context
    )


def agreement(reference: Sequence[int], other: Sequence[int]) -> float:
    """Share of the reference answer's tokens before the first difference, 0 to 1.

    After a difference two greedy answers are answers to different texts, so tokens
    that happen to be equal later count for nothing. Two empty answers are equal.
    """
    longer = max(len(reference), len(other))
    pairs = enumerate(zip(reference, other, strict=False))
    common = next((n for n, (a, b) in pairs if a != b), min(len(reference), len(other)))
    return common / longer if longer else 1.0


def leading(token_ids: Sequence[int], bos_ids: Sequence[int]) -> int:
    """How many tokens at the beginning of a prompt are BOS tokens."""
    return next((n for n, token in enumerate(token_ids) if token not in bos_ids), len(token_ids))


def without(token_ids: Sequence[int], bos_ids: Sequence[int]) -> Sequence[int]:
    """A prompt without the BOS tokens at its beginning."""
    return token_ids[leading(token_ids, bos_ids) :]


def mean_divergence(reference: Sequence[Transcript], served: Sequence[Transcript]) -> float | None:
    """Mean KL over all places of all answers, in nats; ``None`` where none was measured."""
    return mean(
        [
            divergence.nats(a.next_tokens[place], log_q)
            for a, b in zip(reference, served, strict=True)
            for place, log_q in b.next_tokens.items()
        ]
    )


def mean(values: Sequence[float]) -> float | None:
    """The mean, ``None`` of nothing."""
    return sum(values) / len(values) if values else None
