"""The parity gate over real llama.cpp: open for a faithful export, closed for each broken link."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from transformers import AutoTokenizer

from cutoff import params, prompts
from cutoff.errors import CutoffError
from cutoff.export import answers, gguf_writer, merge, parity, quantise
from cutoff.phantom import world

MAX_NEW_TOKENS = 24
NUM_CTX = 512
THRESHOLDS = {"f16_agreement": 0.98, "quantised_agreement": 0.8, "stop_rate": 0.9}


@pytest.fixture(scope="module")
def chats() -> list[list[prompts.Message]]:
    """Closed-book and RAG prompts; one with text that is split differently by other rules."""
    papers = world.make_papers(seed=0, n_post=4, n_control=4)
    questions = [
        {
            "question": world.question_wordings(attribute, paper.method)["eval"][0],
            "context": [" ".join(body) for _, body in paper.sections[:3]],
        }
        for paper, attribute in zip(papers, world.ATTRIBUTES, strict=False)
    ]
    odd = prompts.render_rag("Who's at 1234-ab (x)?", ["It is 97 percent.\n\n  The end.", "12M."])
    return [*answers.choose_prompts(questions, 8), odd]


@pytest.fixture(scope="module")
def references(
    base_model: Path, adapter: Path, chats: list[list[prompts.Message]]
) -> dict[str, list[answers.Answer]]:
    """The replies of transformers: without and with the adapter."""

    def replies(folder: Path | None) -> list[answers.Answer]:
        return answers.answer_with_transformers(base_model, folder, chats, MAX_NEW_TOKENS)

    return {"base": replies(None), "tuned": replies(adapter)}


def served(weights: Path, chats: Sequence[list[prompts.Message]]) -> list[answers.Answer]:
    return answers.answer_with_llama_cpp(weights, chats, MAX_NEW_TOKENS, NUM_CTX, parallel=2)


def export(base: Path, adapter: Path | None, folder: Path) -> Path:
    path = folder / "m.F16.gguf"
    path.unlink(missing_ok=True)
    gguf_writer.write_gguf(base, adapter, path)
    return path


def broken(
    reference: Sequence[answers.Answer], f16: Sequence[answers.Answer], bos_id: int = 0
) -> set[str]:
    links = parity.compare("m", reference, f16, f16, bos_id, THRESHOLDS)
    return {link["link"] for link in links if not link["passed"]}


def test_the_gate_opens_for_the_base_model(
    base_model: Path, chats: Any, references: Any, tmp_path: Path
) -> None:
    f16, quantised = export(base_model, None, tmp_path), tmp_path / "q.gguf"
    quantise.quantise(f16, quantised, "Q4_K_M")
    p = params.load("tiny", {"max_new_tokens": MAX_NEW_TOKENS, "parallel": 2})
    links, differing = parity.measure("base", base_model, None, f16, quantised, chats, p)
    parity.write(tmp_path, links, {"q.gguf": quantised.stat().st_size})
    parity.check(tmp_path)
    assert len(links) == 5 and all(link["passed"] for link in links)
    expected = {answer.text for answer in references["base"]}
    for row in differing:
        assert row["transformers"] in expected
        assert row["transformers"] != row["F16"] or row["transformers"] != row["Q4_K_M"]


def test_a_merged_adapter_answers_as_the_adapter_beside_the_base_model(
    base_model: Path, adapter: Path, chats: Any, references: Any, tmp_path: Path
) -> None:
    replies = served(export(base_model, adapter, tmp_path), chats)
    assert broken(references["tuned"], replies) == set()
    assert references["tuned"] != references["base"]


def test_an_adapter_that_was_not_merged_closes_the_gate(
    base_model: Path, chats: Any, references: Any, tmp_path: Path
) -> None:
    replies = served(export(base_model, None, tmp_path), chats)
    assert "transformers -> F16" in broken(references["tuned"], replies)


def test_swapped_rows_close_the_gate(
    base_model: Path, chats: Any, references: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    read_tensor = merge.read_tensor

    def as_for_llama(name: str, *rest: Any) -> torch.Tensor:
        """The order of query and key rows that llama.cpp wants for Llama, not for Qwen2."""
        weight = read_tensor(name, *rest)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            n_rows, n_columns = weight.shape
            weight = weight.view(-1, 2, 32, n_columns).transpose(1, 2).reshape(n_rows, n_columns)
        return weight

    monkeypatch.setattr(merge, "read_tensor", as_for_llama)
    replies = served(export(base_model, None, tmp_path), chats)
    assert "transformers -> F16" in broken(references["base"], replies)


def test_another_rule_of_splitting_text_closes_the_gate(
    base_model: Path, chats: Any, references: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(gguf_writer, "pre_tokenizer_name", lambda spec: "gpt-2")
    replies = served(export(base_model, None, tmp_path), chats)
    assert "tokenizer and template" in broken(references["base"], replies)


def test_another_chat_template_closes_the_gate(
    base_model: Path, chats: Any, references: Any, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(base_model, tmp_path / "other"))
    template = other / "chat_template.jinja"
    changed = template.read_text().replace("message['content']", "message['content'] + ' '")
    assert changed != template.read_text()
    template.write_text(changed)
    replies = served(export(other, None, tmp_path), chats)
    assert "tokenizer and template" in broken(references["base"], replies)


def test_a_bos_token_that_the_model_does_not_have_closes_the_gate(
    base_model: Path, chats: Any, references: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(
        gguf.GGUFWriter,
        "add_add_bos_token",
        lambda self, value: self.add_bool(gguf.Keys.Tokenizer.ADD_BOS, True),
    )
    replies = served(export(base_model, None, tmp_path), chats)
    pad_id = AutoTokenizer.from_pretrained(base_model).pad_token_id
    assert {"BOS", "tokenizer and template"} <= broken(references["base"], replies, pad_id)


def test_an_end_of_turn_that_is_not_recognised_closes_the_gate(
    base_model: Path, chats: Any, references: Any, tmp_path: Path
) -> None:
    replies = served(export(base_model, None, tmp_path), chats)
    rambling = [
        replace(answer, answer_ids=answer.answer_ids[:-1], stopped=False) for answer in replies
    ]
    assert "end of turn" in broken(references["base"], rambling)


def test_two_servings_of_one_file_give_the_same_answers(
    base_model: Path, chats: Any, tmp_path: Path
) -> None:
    f16 = export(base_model, None, tmp_path)
    assert served(f16, chats) == served(f16, list(chats))


def test_a_prompt_that_the_server_refuses_is_an_error(base_model: Path, tmp_path: Path) -> None:
    too_long = [prompts.render_closed_book("word " * 2 * NUM_CTX)]
    with pytest.raises(CutoffError, match="refused"):
        served(export(base_model, None, tmp_path), too_long)
