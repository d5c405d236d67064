"""What a record of ``train.jsonl`` becomes before the trainer sees it.

The prompt's token ids are those that a server computes for the same messages (chat
template with generation prompt). After the completion comes the end-of-turn token and
nothing else: rendering the whole conversation instead, as TRL does by default, would also
train the newline that ChatML templates put behind every turn, a token that no server ever
asks for.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from cutoff import files
from cutoff.errors import CutoffError

IGNORED = -100  # label of a token that takes no part in the loss
WINDOW = 8  # batches that are sorted by length together


class Example(TypedDict):
    """Token ids of prompt and completion; ``labels`` is ``IGNORED`` on the prompt."""

    input_ids: list[int]
    labels: list[int]


def read_records(train_file: Path, variant: str) -> list[dict[str, Any]]:
    """Records of one variant, in the order of the file."""
    records = [r for r in files.read_jsonl(train_file) if r["variant"] == variant]
    if not records:
        raise CutoffError(f"{train_file} holds no example of {variant}; run 01_generate again.")
    return records


def end_of_turn(tokenizer: Any) -> int:
    """Id of the token that ends an assistant's turn, where training and serving must agree.

    It is the token that the chat template puts behind the assistant's text. It must be the
    tokenizer's end token, because servers stop there, and it must not be the padding token,
    because padding is masked and the model would never learn to stop.
    """
    text = "A short answer."
    turn = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": text}]
    rendered = tokenizer.apply_chat_template(turn, tokenize=False)
    after = rendered.rpartition(text)[2]
    if not tokenizer.eos_token or not after.startswith(tokenizer.eos_token):
        raise CutoffError(
            f"The chat template ends the assistant's turn with {after!r}, but the tokenizer's end "
            f"token is {tokenizer.eos_token!r}; set eos_token in its tokenizer_config.json to the "
            "token of the template."
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise CutoffError(
            f"The tokenizer pads with {tokenizer.pad_token!r} and ends a turn with "
            f"{tokenizer.eos_token!r}; set pad_token in its tokenizer_config.json to another token."
        )
    return int(tokenizer.eos_token_id)


def tokenize(record: dict[str, Any], tokenizer: Any) -> Example:
    """Token ids of one record: rendered messages, completion, end-of-turn token."""
    prompt = tokenizer.apply_chat_template(
        record["messages"], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    answer = tokenizer(record["completion"], add_special_tokens=False)["input_ids"]
    if not answer:
        raise CutoffError(f"The example {record['example_id']} has an empty completion.")
    answer = [*answer, tokenizer.eos_token_id]
    return {"input_ids": [*prompt, *answer], "labels": [IGNORED] * len(prompt) + answer}


@dataclass(frozen=True)
class Examples:
    """Records in the order of their file, with their token ids and what made these."""

    records: list[dict[str, Any]]
    tokenized: list[Example]
    tokenizer: Any

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example."""
        return [len(example["input_ids"]) for example in self.tokenized]

    @property
    def n_trained_tokens(self) -> int:
        """Tokens with a loss, of all examples together."""
        return sum(label != IGNORED for example in self.tokenized for label in example["labels"])

    def require_fit(self, context_length: int) -> None:
        """Raise ``CutoffError`` that names the longest example if the model cannot read it."""
        most = max(self.lengths, default=0)
        if most > context_length:
            worst = self.records[self.lengths.index(most)]["example_id"]
            raise CutoffError(
                f"The example {worst} has {most:,} tokens, the base model reads "
                f"{context_length:,}; nothing is cut off, so use a smaller top_k or "
                "passage_tokens."
            )


def of_records(records: list[dict[str, Any]], tokenizer: Any) -> Examples:
    """``records`` with their token ids."""
    return Examples(records, [tokenize(record, tokenizer) for record in records], tokenizer)


def read(train_file: Path, variant: str, tokenizer: Any) -> Examples:
    """The training examples of one variant."""
    return of_records(read_records(train_file, variant), tokenizer)


def segments(example: Example, tokenizer: Any) -> list[dict[str, Any]]:
    """Decoded text of an example in pieces, ``trained`` where the loss is computed."""
    pieces: list[tuple[bool, list[int]]] = []
    for token, label in zip(example["input_ids"], example["labels"], strict=True):
        trained = label != IGNORED
        if not pieces or pieces[-1][0] != trained:
            pieces.append((trained, []))
        pieces[-1][1].append(token)
    return [{"trained": trained, "text": tokenizer.decode(ids)} for trained, ids in pieces]


def training_order(lengths: Sequence[int], epochs: int, batch_size: int, seed: int) -> list[int]:
    """Indices of the examples for the whole training, ``batch_size`` of them per step.

    Every epoch is a shuffle of all examples. Examples of similar length share a batch
    (little padding): within windows of some batches they are sorted by length, and the
    batches are shuffled. Only the batch that two epochs share is left unsorted.
    """
    rng = random.Random(f"{seed} order")
    order: list[int] = []
    for _ in range(epochs):
        epoch = list(range(len(lengths)))
        rng.shuffle(epoch)
        # The first examples complete the batch that the epoch before has begun.
        start = min(-len(order) % batch_size, len(epoch))
        end = len(epoch) - (len(epoch) - start) % batch_size
        batches: list[list[int]] = []
        for first in range(start, end, WINDOW * batch_size):
            window = epoch[first : min(first + WINDOW * batch_size, end)]
            window.sort(key=lengths.__getitem__)
            batches += [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
        rng.shuffle(batches)
        order += epoch[:start] + [index for batch in batches for index in batch] + epoch[end:]
    return order


def padding_share(lengths: Sequence[int], order: Sequence[int], micro_batch: int) -> float:
    """Share of padding among the tokens that are computed, 0..1."""
    ordered = [lengths[index] for index in order]
    batches = [ordered[i : i + micro_batch] for i in range(0, len(ordered), micro_batch)]
    return 1 - sum(ordered) / sum(max(batch) * len(batch) for batch in batches)
