"""What the trainer is given: the server's token ids, the answer's mask, a fair order."""

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.finetune import examples, training_figures


@pytest.fixture(scope="module")
def tokenizer(small_base: Path) -> Any:
    return AutoTokenizer.from_pretrained(small_base)


@pytest.fixture(scope="module")
def records(train_file: Path) -> list[dict[str, Any]]:
    return files.read_jsonl(train_file)


def test_ids_are_the_servers_prompt_then_the_completion_then_the_end_of_turn(
    tokenizer: Any, records: list[dict[str, Any]]
) -> None:
    for record in records:
        prompt = tokenizer.apply_chat_template(
            record["messages"], add_generation_prompt=True, tokenize=False
        )
        whole = prompt + record["completion"] + "<|im_end|>"
        example = examples.tokenize(record, tokenizer)
        assert example["input_ids"] == tokenizer(whole)["input_ids"]
        trained = [label for label in example["labels"] if label != examples.IGNORED]
        assert tokenizer.decode(trained) == record["completion"] + "<|im_end|>"
        assert trained[-1] == examples.end_of_turn(tokenizer) == tokenizer.eos_token_id


def test_trl_keeps_our_ids_and_would_itself_train_a_newline_behind_the_end_of_turn(
    tokenizer: Any, records: list[dict[str, Any]], small_base: Path, tmp_path: Path
) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    def prepared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        arguments = SFTConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", max_length=400,
            completion_only_loss=True,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(small_base)
        trainer = SFTTrainer(
            model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
        )
        return list(trainer.train_dataset)

    ours = [dict(examples.tokenize(record, tokenizer)) for record in records]
    assert [{k: row[k] for k in ("input_ids", "labels")} for row in prepared(ours)] == ours

    answer = [{"role": "assistant", "content": records[0]["completion"]}]
    of_trl = prepared([{"prompt": records[0]["messages"], "completion": answer}])[0]
    newline = tokenizer("\n")["input_ids"]
    assert of_trl["input_ids"] == ours[0]["input_ids"] + newline
    assert of_trl["labels"] == ours[0]["labels"] + newline


def test_decoded_pieces_show_the_completion_alone_as_trained(
    tokenizer: Any, records: list[dict[str, Any]]
) -> None:
    pieces = examples.segments(examples.tokenize(records[1], tokenizer), tokenizer)
    assert [piece["trained"] for piece in pieces] == [False, True]
    assert pieces[0]["text"].endswith("<|im_start|>assistant\n")
    assert pieces[1]["text"] == records[1]["completion"] + "<|im_end|>"


@pytest.mark.parametrize(
    "change",
    [{"pad_token": "<|im_end|>"}, {"eos_token": "<|endoftext|>"}],
    ids=["pad ends a turn", "end token differs from the template's"],
)
def test_a_tokenizer_that_cannot_teach_stopping_is_refused(
    tokenizer: Any, change: dict[str, str]
) -> None:
    changed = copy.deepcopy(tokenizer)
    for name, value in change.items():
        setattr(changed, name, value)
    with pytest.raises(CutoffError, match="tokenizer_config.json"):
        examples.end_of_turn(changed)


def test_an_example_beyond_the_models_context_is_named_not_cut(
    tokenizer: Any, records: list[dict[str, Any]]
) -> None:
    data = examples.of_records(records, tokenizer)
    most = max(data.lengths)
    data.require_fit(most)
    with pytest.raises(CutoffError, match=r"rag_ft\|paper-\d/\w+\?\d has"):
        data.require_fit(most - 1)


def test_an_empty_completion_and_a_missing_variant_are_errors(
    tokenizer: Any, records: list[dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(CutoffError, match="empty completion"):
        examples.tokenize({**records[0], "completion": ""}, tokenizer)
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({**records[0], "variant": "instruct_ft"}) + "\n")
    with pytest.raises(CutoffError, match="no example of rag_ft"):
        examples.read_records(path, "rag_ft")


@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=90),
    epochs=st.integers(1, 4),
    batch_size=st.integers(1, 16),
    seed=st.integers(0, 3),
)
def test_every_epoch_holds_every_example_once_and_the_order_depends_on_the_seed_alone(
    lengths: list[int], epochs: int, batch_size: int, seed: int
) -> None:
    order = examples.training_order(lengths, epochs, batch_size, seed)
    n = len(lengths)
    for epoch in range(epochs):
        assert sorted(order[epoch * n : (epoch + 1) * n]) == list(range(n))
    assert order == examples.training_order(lengths, epochs, batch_size, seed)


def test_grouping_by_length_leaves_little_padding_and_still_mixes_the_examples() -> None:
    lengths = [20 + 7 * (i % 50) for i in range(400)]
    order = examples.training_order(lengths, epochs=3, batch_size=16, seed=1)
    assert examples.padding_share(lengths, order, 16) < 0.15
    assert examples.padding_share(lengths, list(range(400)), 16) > 0.2
    batches = [tuple(sorted(order[i : i + 16])) for i in range(0, 1200, 16)]
    assert max(Counter(batches).values()) == 1
    assert order != examples.training_order(lengths, epochs=3, batch_size=16, seed=2)


def test_text_of_a_paper_is_escaped_in_the_shown_example() -> None:
    segments = [
        {"trained": False, "text": "<script>alert(1)</script><|im_start|>"},
        {"trained": True, "text": "An <b>answer</b>.<|im_end|>"},
    ]
    example = {"example_id": "rag_ft|<i>", "segments": segments}
    shown = training_figures.example_html(
        {"variant": "rag_ft", "adapter": "rag_ft", "example": example}
    )
    assert "<script>" not in shown and "<b>" not in shown and "<i>" not in shown
    assert "<mark>An &lt;b&gt;answer&lt;/b&gt;.&lt;|im_end|&gt;</mark>" in shown
