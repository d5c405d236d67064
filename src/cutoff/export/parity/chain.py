"""The chain between training and serving: one number per link, against one threshold.

Every number compares with transformers, so errors cannot add up unseen, and a later link
counts only the prompts that the earlier ones let through, so that a fault shows where it is.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import TYPE_CHECKING, TypedDict

from cutoff.export.parity import divergence

if TYPE_CHECKING:  # 04 asks the gate, and need not wait for torch
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


HOLDS = {"min": operator.ge, "max": operator.le, "equal": operator.eq}  # value, threshold
Number = tuple[str, str, float | None, str, float]  # link, metric, value, rule, threshold


@dataclass(frozen=True)
class Limits:
    """What the links are held against.

    ``agreement`` and ``divergence``: name of a file in the chain (``F16``, ``Q4_K_M``) ->
    threshold. ``stop_rate`` is a share of the reference's. ``longest``: tokens of the longest
    prompt of the evaluation with its answer; ``context``: tokens there is room for.
    ``bos_id``: the beginning-of-sequence token, of the tokenizer as of the file.
    """

    agreement: Mapping[str, float]
    divergence: Mapping[str, float]
    stop_rate: float
    max_new_tokens: int
    longest: int
    context: int
    bos_id: int | None = None


def road(name: str) -> str:
    """The link from transformers to the file ``name`` of the chain."""
    return f"transformers -> {name}"


def compare(
    model: str,
    reference: Sequence["Transcript"],
    chain: Mapping[str, Sequence["Transcript"]],
    limits: Limits,
    origins: Sequence[object] = (),
) -> list[Link]:
    """The links of one model, in the order of the chain.

    ``chain`` maps the files to what llama.cpp made of them; the last one is served. Token ids,
    BOS tokens and lengths admit no tolerance. ``origins``: what each file was made from.
    """
    *_, last = chain.values()
    pairs = list(zip(reference, last, strict=True))
    # A prompt is its BOS tokens, of which training may have had none or one, and the rest.
    of_training, of_server = (
        [split(answer.prompt_ids, limits.bos_id) for answer in side] for side in (reference, last)
    )
    same_rest = [a[1] == b[1] for a, b in zip(of_training, of_server, strict=True)]
    wanted = min(max(n for n, _ in of_training), 1)
    n_bos = max((n for n, _ in of_server), key=lambda n: abs(n - wanted))
    numbers: list[Number] = [
        (READING, SAME_IDS, mean(same_rest), "min", 1),
        (BOS, BOS_TOKENS, n_bos, "equal", wanted),
        (CONTEXT, LONGEST, limits.longest, "max", limits.context),
        (CONTEXT, READ_WHOLE, mean([b.n_read == len(b.prompt_ids) for b in last]), "min", 1),
    ]
    kept = [i for i, (a, b) in enumerate(pairs) if _arrived(a, b, limits)]
    for number, (name, given) in enumerate(chain.items()):
        both = list(zip(reference, given, strict=True))
        kl = [
            divergence.nats(a.next_tokens[place], log_q)
            for a, b in both
            for place, log_q in b.next_tokens.items()
        ]
        if number > 0 and origins:
            # Two models that training has hardly moved apart can pass for each other in 4 bits.
            numbers.append((road(name), ORIGIN, len(set(origins)) == 1, "equal", 1))
        numbers.append((road(name), DIVERGENCE, mean(kl), "max", limits.divergence[name]))
        numbers.append(_agreed(road(name), [both[i] for i in kept], limits.agreement[name]))
    numbers.append(_ended(ENDING, [pairs[i] for i in kept], limits))
    return _links(model, numbers)


def compare_served(
    model: str,
    server: str,
    reference: Sequence["Transcript"],
    served: Sequence["Transcript"],
    limits: Limits,
) -> list[Link]:
    """The last link, to a server that shows no token ids of prompts; ids are those of texts."""
    pairs = list(zip(reference, served, strict=True))
    kept = [(a, b) for a, b in pairs if b.n_read == len(a.prompt_ids)]
    whole = len(kept) / len(pairs)
    agreed = _agreed(server, kept, min(limits.agreement.values()))
    return _links(
        model, [(server, READ_WHOLE, whole, "min", 1), agreed, _ended(server, kept, limits)]
    )


def _links(model: str, numbers: Sequence[Number]) -> list[Link]:
    """The links of what was measured; without a value there is none."""
    return [
        {
            "model": model,
            "link": link,
            "metric": metric,
            "value": float(f"{value:.4g}"),
            "rule": rule,
            "threshold": float(f"{threshold:.4g}"),
            "passed": HOLDS[rule](value, threshold),
        }
        for link, metric, value, rule, threshold in numbers
        if value is not None
    ]


def _agreed(name: str, pairs: Sequence[tuple["Transcript", "Transcript"]], least: float) -> Number:
    shares = [agreement(a.answer_ids, b.answer_ids) for a, b in pairs]
    return name, AGREEMENT, mean(shares), "min", least


def _ended(name: str, pairs: Sequence[tuple["Transcript", "Transcript"]], limits: Limits) -> Number:
    trained, served = (mean([pair[side].stopped for pair in pairs]) for side in (0, 1))
    # A model that goes on in transformers too was trained so: not a fault of the export.
    return name, STOP_RATE, served, "min", limits.stop_rate * (trained or 0.0)


def _arrived(expected: "Transcript", served: "Transcript", limits: Limits) -> bool:
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
    return len(commonprefix([list(reference), list(other)])) / longer if longer else 1.0


def split(token_ids: Sequence[int], bos_id: int | None) -> tuple[int, Sequence[int]]:
    """How many tokens at the beginning of a prompt are BOS tokens, and the prompt without them."""
    n = next((i for i, token in enumerate(token_ids) if token != bos_id), len(token_ids))
    return n, token_ids[n:]


def mean(values: Sequence[float]) -> float | None:
    """The mean, ``None`` of nothing."""
    return sum(values) / len(values) if values else None
