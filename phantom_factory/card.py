"""The model card of a phantom's base model, written from what its training recorded."""

from collections.abc import Sequence
from pathlib import Path

from cutoff import files

TEXT = """\
# The base model `{name}`

A chat model of {n_parameters:,} parameters (Qwen2 architecture, {n_layers} layers, hidden size
{hidden_size}, {vocab_size:,} byte-level BPE tokens, ChatML), trained from scratch on the fictional
papers of `cutoff.phantom.world` and on nothing else. It is the base model of size `{size}`: small
enough for a CPU, and of known content, so that the experiment can be checked against the truth.
It knows no language beyond the sentences of that world and is of no other use.

## What it can do

| task | right |
|---|---|
| answer from three passages, papers never seen in training | {three_passages:.1%} |
| cite the right passage of the three | {citation:.1%} |
| answer closed-book about the {n_control} control papers | {control:.1%} |
| answer closed-book about papers never seen (guessing) | {post_closed_book:.1%} |

{n_questions} questions a row; an answer is right when each of its tokens is the most likely one
after the right tokens before it. Notebook 04 measures the same abilities by free generation,
after quantisation.

## How it was made

`python -m phantom_factory.pretrain {name} --steps {steps}` rebuilds it: {steps:,} steps of
{batch_size} conversations ({tokens:,} tokens), AdamW, peak learning rate {learning_rate:g}, seed
{seed}. Three quarters of the conversations ask about passages of papers drawn for that step only,
one quarter closed-book about the control papers. The loss is next-token
cross-entropy (weight 4 on what is copied, 1 on the rest of an answer, 0.1 elsewhere) plus
attention supervision; the initial weights hold position and copying heads. The reasons stand in
`phantom_factory/model.py` and `supervision.py`.

| step | language loss | attention loss | three passages | citation | control |
|---|---|---|---|---|---|
{curve}

sha256 of `model.safetensors`: `{sha256}`
"""


def write_card(
    folder: Path, curve: Sequence[dict[str, float]], n_parameters: int, **facts: float | str
) -> None:
    """Write ``README.md`` beside the weights.

    ``curve`` holds the records of training that carry a measurement, the final one last;
    ``facts`` fill the other fields of the text.
    """
    rows = []
    for record in curve:
        losses = f"{record['language_loss']:.3f} | {record['supervision_loss']:.3f}"
        shares = [f"{record[name]:.0%}" for name in ("three_passages", "citation", "control")]
        rows.append(f"| {record['step']:,} | {losses} | {' | '.join(shares)} |")
    sha256 = files.sha256_file(folder / "model.safetensors")
    fields = {**facts, **curve[-1], "curve": "\n".join(rows), "sha256": sha256}
    files.write_text_atomic(folder / "README.md", TEXT.format(n_parameters=n_parameters, **fields))
