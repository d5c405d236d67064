"""The links between training and serving: one number each, against one threshold.

Every number compares with transformers, so errors cannot add up unseen, and a later link
counts only the prompts that the earlier ones let through, so that a fault shows where it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cutoff.export import divergence
from cutoff.export.answers import Answer

Link = dict[str, Any]  # model, link, metric, value, rule, threshold, passed

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


@dataclass(frozen=True)
class Limits:
    """What the links are held against.

    ``agreement`` and ``divergence``: name of a file in the chain (``F16``, ``Q4_K_M``) ->
    threshold. ``stop_rate`` is a share of the reference's. ``longest``: tokens of the longest
    prompt of the evaluation with its answer; ``context``: tokens there is room for.
    """

    agreement: Mapping[str, float]
    divergence: Mapping[str, float]
    stop_rate: float
    max_new_tokens: int
    longest: int
    context: int


def road(name: str) -> str:
    """The link from transformers to the file ``name`` of the chain."""
    return f"transformers -> {name}"


def compare(
    model: str,
    reference: Sequence[Answer],
    chain: Mapping[str, Sequence[Answer]],
    bos_ids: Sequence[int],
    limits: Limits,
    origins: Sequence[object] = (),
) -> list[Link]:
    """The links of one model, in the order of the chain.

    ``chain`` maps the files to the answers of llama.cpp with them; the last one is served.
    ``bos_ids`` are the BOS tokens that either side knows. Token ids, BOS tokens and
    lengths admit no tolerance. ``origins``: what each file records that it was made from.
    """
    last = list(chain.values())[-1]
    pairs = list(zip(reference, last, strict=True))
    same_ids = [
        float(without(a.prompt_ids, bos_ids) == without(b.prompt_ids, bos_ids)) for a, b in pairs
    ]
    expected = max(leading(a.prompt_ids, bos_ids) for a in reference)
    # The number that is farthest from what it should be, and never more than one.
    wanted = min(expected, 1)
    n_bos = max((leading(b.prompt_ids, bos_ids) for b in last), key=lambda n: abs(n - wanted))
    whole = [float(b.n_read == len(b.prompt_ids)) for b in last]
    links = [
        *link(model, READING, SAME_IDS, mean(same_ids), "min", 1),
        *link(model, BOS, BOS_TOKENS, n_bos, "equal", wanted),
        *link(model, CONTEXT, LONGEST, limits.longest, "max", limits.context),
        *link(model, CONTEXT, READ_WHOLE, mean(whole), "min", 1),
    ]
    kept = [i for i, (a, b) in enumerate(pairs) if _arrived(a, b, limits)]
    for name, given in chain.items():
        agreed = mean([agreement(reference[i].answer_ids, given[i].answer_ids) for i in kept])
        kl = mean_divergence(reference, given)
        if name != next(iter(chain)) and origins:
            # Two models that training has hardly moved apart can pass for each other in 4 bits.
            links += link(model, road(name), ORIGIN, len(set(origins)) == 1, "equal", 1)
        links += link(model, road(name), DIVERGENCE, kl, "max", limits.divergence[name])
        links += link(model, road(name), AGREEMENT, agreed, "min", limits.agreement[name])
    return links + _ending(model, ENDING, [pairs[i] for i in kept], limits)


def compare_served(
    model: str,
    server: str,
    reference: Sequence[Answer],
    served: Sequence[Answer],
    limits: Limits,
) -> list[Link]:
    """The last link, to a server that shows no token ids of prompts; ids are those of texts."""
    pairs = list(zip(reference, served, strict=True))
    whole = [float(b.n_read == len(a.prompt_ids)) for a, b in pairs]
    kept = [(a, b) for a, b in pairs if b.n_read == len(a.prompt_ids)]
    agreed = mean([agreement(a.answer_ids, b.answer_ids) for a, b in kept])
    return [
        *link(model, server, READ_WHOLE, mean(whole), "min", 1),
        *link(model, server, AGREEMENT, agreed, "min", min(limits.agreement.values())),
        *_ending(model, server, kept, limits),
    ]


def link(
    model: str, name: str, metric: str, value: float | None, rule: str, threshold: float
) -> list[Link]:
    """One link in a list, empty where nothing was measured. ``rule``: min | max | equal."""
    if value is None:
        return []
    passed = {"min": value >= threshold, "max": value <= threshold, "equal": value == threshold}
    return [
        {
            "model": model,
            "link": name,
            "metric": metric,
            "value": float(f"{value:.4g}"),
            "rule": rule,
            "threshold": float(f"{threshold:.4g}"),
            "passed": passed[rule],
        }
    ]


def _ending(
    model: str, name: str, pairs: Sequence[tuple[Answer, Answer]], limits: Limits
) -> list[Link]:
    """The rate at which answers end by themselves, against that of the reference."""
    trained = mean([float(a.stopped) for a, _ in pairs])
    served = mean([float(b.stopped) for _, b in pairs])
    # A model that goes on in transformers too was trained so: not a fault of the export.
    return link(model, name, STOP_RATE, served, "min", limits.stop_rate * (trained or 0.0))


def _arrived(expected: Answer, served: Answer, limits: Limits) -> bool:
    """Whether both sides answered the same whole prompt with the same room for the answer."""
    return (
        expected.prompt_ids == served.prompt_ids
        and served.n_read == len(served.prompt_ids)
        and served.n_read + limits.max_new_tokens <= limits.context
    )


# --- numbers -------------------------------------------------------------------------------


def agreement(reference: Sequence[int], other: Sequence[int]) -> float:
    """Share of the reference answer's tokens before the first difference, 0 to 1.

    After a difference two greedy answers are answers to different texts, so tokens
    that happen to be equal later count for nothing. Two empty answers are equal.
    """
    common = 0
    for expected, got in zip(reference, other, strict=False):
        if expected != got:
            break
        common += 1
    longer = max(len(reference), len(other))
    return common / longer if longer else 1.0


def leading(token_ids: Sequence[int], bos_ids: Sequence[int]) -> int:
    """How many tokens at the beginning of a prompt are BOS tokens."""
    count = 0
    while count < len(token_ids) and token_ids[count] in bos_ids:
        count += 1
    return count


def without(token_ids: Sequence[int], bos_ids: Sequence[int]) -> Sequence[int]:
    """A prompt without the BOS tokens at its beginning."""
    return token_ids[leading(token_ids, bos_ids) :]


def mean_divergence(reference: Sequence[Answer], served: Sequence[Answer]) -> float | None:
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
