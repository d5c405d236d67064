"""Is the model that is served the model that was trained?

Real evaluation prompts go through every link of the chain: transformers with the
adapter as trained -> merged F16 GGUF -> quantised GGUF -> llama.cpp's server. Each link
is one number against one threshold in ``parity.json``; 04 calls ``check`` and does not
start when a link is broken. The reference is never merged, so an error in merging
shows as well as one in the file, the tokenizer or the chat template.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf

from cutoff import run
from cutoff.errors import CutoffError
from cutoff.export import answers
from cutoff.export.answers import Answer
from cutoff.params import Params
from cutoff.prompts import Message

Link = dict[str, Any]  # model, link, metric, value, threshold, passed


def measure(
    model: str,
    base: Path,
    adapter: Path | None,
    f16: Path,
    quantised: Path,
    chats: Sequence[list[Message]],
    p: Params,
) -> tuple[list[Link], list[dict[str, str]]]:
    """All links of one exported model on ``chats``, and the answers that are not all the same.

    Thresholds and lengths come from ``p``. A row of the second list holds the question and
    the text of the three answers.
    """
    reference = answers.answer_with_transformers(base, adapter, chats, p.max_new_tokens)
    in_f16, in_quantised = (
        answers.answer_with_llama_cpp(path, chats, p.max_new_tokens, p.num_ctx, p.parallel)
        for path in (f16, quantised)
    )
    thresholds = {
        "f16_agreement": p.parity_min_f16_agreement,
        "quantised_agreement": p.parity_min_quantised_agreement,
        "stop_rate": p.parity_min_stop_rate,
    }
    bos = gguf.GGUFReader(quantised).get_field(gguf.Keys.Tokenizer.BOS_ID)
    bos_id = None if bos is None else bos.contents()
    links = compare(model, reference, in_f16, in_quantised, bos_id, thresholds)
    differing = [
        {
            "model": model,
            "question": expected.messages[-1]["content"].rpartition("Question: ")[2],
            "transformers": expected.text,
            "F16": large.text,
            p.quantization: small.text,
        }
        for expected, large, small in zip(reference, in_f16, in_quantised, strict=True)
        if not expected.answer_ids == large.answer_ids == small.answer_ids
    ]
    return links, differing


def agreement(reference: Sequence[int], other: Sequence[int]) -> float:
    """Share of the reference answer's tokens before the first difference, 0 to 1.

    After a difference two greedy answers are answers to different texts, so tokens
    that happen to be equal later count for nothing.
    """
    common = 0
    for expected, got in zip(reference, other, strict=False):
        if expected != got:
            break
        common += 1
    return common / max(len(reference), len(other), 1)


def leading(token_id: int | None, token_ids: Sequence[int]) -> int:
    """How often ``token_id`` stands at the beginning of ``token_ids``."""
    count = 0
    while token_id is not None and count < len(token_ids) and token_ids[count] == token_id:
        count += 1
    return count


def compare(
    model: str,
    reference: Sequence[Answer],
    f16: Sequence[Answer],
    quantised: Sequence[Answer],
    bos_id: int | None,
    thresholds: dict[str, float],
) -> list[Link]:
    """The links of one model, in the order of the chain.

    ``thresholds`` holds ``f16_agreement``, ``quantised_agreement`` and ``stop_rate`` (a share of
    the reference's stop rate); the token ids and the number of BOS tokens admit no tolerance.
    """

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    def stop_rate(given: Sequence[Answer]) -> float:
        return mean([float(answer.stopped) for answer in given])

    def link(name: str, metric: str, value: float, threshold: float, passed: bool) -> Link:
        return {
            "model": model,
            "link": name,
            "metric": metric,
            "value": round(value, 4),
            "threshold": threshold,
            "passed": passed,
        }

    def at_least(name: str, metric: str, value: float, threshold: float) -> Link:
        return link(name, metric, value, threshold, value >= threshold)

    expected_bos = leading(bos_id, reference[0].prompt_ids)
    served_bos = max(leading(bos_id, answer.prompt_ids) for answer in quantised)
    pairs = list(zip(reference, quantised, strict=True))
    same_ids = mean([float(a.prompt_ids == b.prompt_ids) for a, b in pairs])
    greedy_f16 = [
        agreement(a.answer_ids, b.answer_ids) for a, b in zip(reference, f16, strict=True)
    ]
    greedy_quantised = [agreement(a.answer_ids, b.answer_ids) for a, b in pairs]
    return [
        at_least("tokenizer and template", "share of prompts with equal token ids", same_ids, 1.0),
        link(
            "BOS",
            "BOS tokens before a prompt",
            served_bos,
            expected_bos,
            served_bos == expected_bos,
        ),
        at_least(
            "transformers -> F16",
            "share of greedy tokens before the first difference",
            mean(greedy_f16),
            thresholds["f16_agreement"],
        ),
        at_least(
            "transformers -> quantised",
            "share of greedy tokens before the first difference",
            mean(greedy_quantised),
            thresholds["quantised_agreement"],
        ),
        at_least(
            "end of turn",
            "share of answers that end by themselves",
            stop_rate(quantised),
            # A model that goes on in transformers too was trained so: not a fault of the export.
            round(thresholds["stop_rate"] * stop_rate(reference), 4),
        ),
    ]


def write(folder: Path, links: list[Link], sizes_bytes: dict[str, int]) -> None:
    """Write ``parity.json`` into the folder of a size."""
    content = {"passed": not broken(links), "links": links, "sizes_bytes": sizes_bytes}
    run.write_json_atomic(folder / "parity.json", content)


def broken(links: Sequence[Link]) -> list[str]:
    """One phrase for every broken link; a gate that measured nothing is broken as well."""
    if not links:
        return ["nothing was compared"]
    return [
        f"{link['model']}, {link['link']}: {link['metric']} is {link['value']:g}, "
        f"must be {link['threshold']:g}"
        for link in links
        if not link["passed"]
    ]


def check(folder: Path) -> None:
    """Raise ``CutoffError`` naming every broken link; called before anything is evaluated."""
    path = folder / "parity.json"
    if not path.is_file():
        raise CutoffError(f"{path} is missing: run 03_export_gguf first.")
    if phrases := broken(run.read_json(path)["links"]):
        raise CutoffError(
            "The parity gate is closed: what would be evaluated is not the model that was "
            f"trained ({'; '.join(phrases)}). See the report 03_export_gguf."
        )
