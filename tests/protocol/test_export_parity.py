"""The gate over real llama.cpp: open for faithful exports, closed at the link that is broken."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_families import build, random_adapter
from transformers import AutoModelForCausalLM, GenerationConfig

from cutoff import models, params, prompts
from cutoff.errors import CutoffError
from cutoff.export import families, gguf_tokenizer, gguf_writer, weights
from cutoff.export.parity import chain, gate, measurement, reference_model, served_model
from cutoff.export.parity.transcript import Transcript, choose_prompts
from cutoff.models import Files
from cutoff.params import Params
from cutoff.phantom import world

CHOSEN: dict[str, Any] = {"max_new_tokens": 24, "parallel": 2, "num_ctx": 512}
Reference = list[Transcript]


@pytest.fixture(scope="module")
def questions() -> list[dict[str, Any]]:
    papers = world.make_papers(seed=0, n_post=4, n_control=4)
    return [
        {
            "question": world.question_wordings(attribute, paper.method)["eval"][0],
            "context": [" ".join(body) for _, body in paper.sections[:3]],
        }
        for paper, attribute in zip(papers, world.ATTRIBUTES, strict=False)
    ]


@pytest.fixture(scope="module")
def chats(questions: list[dict[str, Any]]) -> list[list[prompts.Message]]:
    """Closed-book and RAG prompts; one with text that is split differently by other rules."""
    odd = prompts.render_rag("Who's at 1234-ab (x)?", ["It is 97 percent.\n\n  The end.", "12M."])
    return [*choose_prompts(questions, 7), odd]


@pytest.fixture(scope="module")
def references(base_model: Path, adapter: Path, chats: Any) -> dict[str, Reference]:
    """The phantom's answers in transformers: without and with the adapter."""
    return {
        "base": reference_model.answer(base_model, None, chats, load()),
        "tuned": reference_model.answer(base_model, adapter, chats, load()),
    }


@pytest.fixture(scope="module")
def exported(
    base_model: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Files]:
    """Makes the files of the phantom, or of it with the adapter, once per mode."""
    folder = tmp_path_factory.mktemp("exported")

    def make(model: str = "base", **chosen: Any) -> Files:
        p = load(**chosen)
        files = models.files_of(folder, model, p)
        weights.export(files, base_model, None if model == "base" else adapter, p)
        return files

    return make


def load(**chosen: Any) -> Params:
    return params.load("tiny", CHOSEN | chosen)


def measure(
    files: Files, base: Path, reference: Reference, questions: Any, **chosen: Any
) -> list[chain.Link]:
    p = load(**chosen)
    limits = measurement.limits(base, questions, p)
    subject = measurement.Subject("m", base, reference)
    found, differing = measurement.measure(subject, files, limits, p)
    expected = {answer.text for answer in reference}
    assert all(row["transformers"] in expected for row in differing)
    return found


def full_only(path: Path) -> Files:
    return Files(path, path, None)


def export(base: Path, folder: Path, adapter: Path | None = None) -> Files:
    path = folder / "m.F16.gguf"
    gguf_writer.write_gguf(base, adapter, path)
    return full_only(path)


def broken(found: Sequence[chain.Link]) -> str | None:
    """The link at which the gate closes, which must be named in what ``check`` would say."""
    name = gate.first_broken(found).get("m")
    assert (name is None) == (gate.broken(found) == [])
    assert name is None or f"m, {name}: " in gate.broken(found)[0]
    return name


# --- faithful ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chosen",
    [
        {"export_mode": "merged"},
        {"export_mode": "adapter"},
        {"export_mode": "adapter", "quantization": "Q8_0"},
        {"export_mode": "merged", "quantization": "F16", "export_dtype": "BF16"},
    ],
    ids=lambda chosen: " ".join(chosen.values()),
)
def test_the_gate_opens_for_a_trained_model(
    chosen: Any, exported: Any, base_model: Path, references: Any, questions: Any
) -> None:
    files = exported("tuned", **chosen)
    found = measure(files, base_model, references["tuned"], questions, **chosen)
    assert broken(found) is None
    roads = {row["link"] for row in found if row["metric"] == chain.DIVERGENCE}
    assert len(roads) == (1 if chosen.get("quantization") == "F16" else 2)
    assert references["tuned"] != references["base"]


def test_the_gate_opens_for_the_base_model_and_closes_when_a_file_is_replaced(
    exported: Any, base_model: Path, references: Any, questions: Any, tmp_path: Path
) -> None:
    files = exported("base")
    found = measure(files, base_model, references["base"], questions)
    assert len(found) == 10 and broken(found) is None
    copies = [Path(shutil.copy(path, tmp_path)) for path in weights.every_file([files])]
    gate.write(tmp_path, found, copies)
    gate.require_open(tmp_path)
    shutil.copy(exported("tuned").served, tmp_path / copies[1].name)
    with pytest.raises(CutoffError, match="base.Q4_K_M.gguf is missing or not the file"):
        gate.require_open(tmp_path)


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_the_gate_opens_for_other_families_merged_and_beside(
    family: str, chats: Any, questions: Any, tmp_path: Path
) -> None:
    """Also where the model has a BOS token."""
    base = decided(build(family, family == "qwen3", tmp_path / "b", max_position_embeddings=2048))
    adapter = random_adapter(base, tmp_path / "adapter")
    reference = reference_model.answer(
        base, adapter, chats[:3], load(num_ctx=2048, max_new_tokens=8)
    )
    for mode in ("merged", "adapter"):
        chosen = {"export_mode": mode, "quantization": "Q8_0", "max_new_tokens": 8}
        files = models.files_of(tmp_path, "tuned", load(**chosen))
        weights.export(files, base, adapter, load(**chosen))
        # Random weights leave near ties that rounding flips, so the limits of `tiny` do not fit.
        relaxed = {"parity_min_quantised_agreement": 0.3, "parity_min_f16_agreement": 0.6}
        relaxed |= {"parity_min_stop_rate": 0.0, "parity_max_quantised_kl": 0.3}
        found = measure(files, base, reference, questions, num_ctx=2048, **chosen, **relaxed)
        at = {(row["link"], row["metric"]): row["value"] for row in found}
        assert at["BOS", chain.BOS_TOKENS] == (family == "llama")
        assert broken(found) is None


def decided(folder: Path) -> Path:
    """The model with probabilities as far apart as trained ones: random ones are near ties."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.norm.weight.mul_(6)
    model.save_pretrained(folder)
    return folder


def test_penalties_and_temperature_that_a_model_brings_do_not_reach_the_reference(
    base_model: Path, adapter: Path, references: Any, chats: Any, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(base_model, tmp_path / "other"))
    config = GenerationConfig.from_pretrained(other)
    config.update(repetition_penalty=3.0, do_sample=True, temperature=5.0)
    config.save_pretrained(other)
    for model, trained in (("base", None), ("tuned", adapter)):
        found = reference_model.answer(other, trained, chats[:2], load())
        assert found == references[model][:2]


def test_two_servings_of_one_file_give_the_same_answers(
    exported: Any, base_model: Path, references: Any
) -> None:
    path, reference = exported("base").full, references["base"]
    first, second = (
        served_model.answer(path, None, base_model, reference, load()) for _ in range(2)
    )
    assert first == second
    assert [a.next_tokens for a in first] == [a.next_tokens for a in second]


# --- broken, one link at a time --------------------------------------------------------------


def test_another_chat_template_closes_the_gate(
    base_model: Path, references: Any, questions: Any, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(base_model, tmp_path / "other"))
    template = other / "chat_template.jinja"
    changed = template.read_text().replace("message['content']", "message['content'] + ' '")
    assert changed != template.read_text()
    template.write_text(changed)
    found = measure(export(other, tmp_path), base_model, references["base"], questions)
    assert broken(found) == chain.READING


def test_another_rule_of_splitting_text_closes_the_gate(
    base_model: Path, references: Any, questions: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(gguf_tokenizer, "pre_tokenizer_name", lambda spec: "gpt-2")
    found = measure(export(base_model, tmp_path), base_model, references["base"], questions)
    assert broken(found) == chain.READING


@pytest.mark.parametrize("n_bos", [0, 2])
def test_another_number_of_bos_tokens_closes_the_gate(
    n_bos: int, chats: Any, questions: Any, tmp_path: Path
) -> None:
    base = build("llama", False, tmp_path / "base", max_position_embeddings=2048)
    other = Path(shutil.copytree(base, tmp_path / "other"))
    template = other / "chat_template.jinja"
    changed = template.read_text().replace("{{- bos_token }}", "{{- bos_token }}" * n_bos)
    assert changed != template.read_text()
    template.write_text(changed)
    reference = reference_model.answer(base, None, chats[:2], load(num_ctx=2048, max_new_tokens=4))
    chosen = {"num_ctx": 2048, "max_new_tokens": 4}
    found = measure(export(other, tmp_path), base, reference, questions[:1], **chosen)
    assert broken(found) == chain.BOS
    at = {row["link"]: row for row in found}
    assert at[chain.READING]["passed"] and at[chain.BOS]["value"] == n_bos


def test_a_context_that_is_too_short_closes_the_gate(
    exported: Any, base_model: Path, references: Any, questions: Any
) -> None:
    """llama.cpp refuses what does not fit, so the longer half of the prompts is not answered."""
    files = full_only(exported("base").full)
    found = measure(files, base_model, references["base"], questions, num_ctx=128)
    assert broken(found) == chain.CONTEXT
    # Prompts that fit are answered as before, so nothing else is in doubt.
    assert {row["link"] for row in found if not row["passed"]} == {chain.CONTEXT}
    assert {row["metric"] for row in found} >= {chain.AGREEMENT, chain.DIVERGENCE}


def test_an_adapter_that_was_not_merged_closes_the_gate(
    exported: Any, base_model: Path, references: Any, questions: Any
) -> None:
    found = measure(exported("base"), base_model, references["tuned"], questions)
    assert broken(found) == "transformers -> F16"


def test_an_adapter_file_with_another_scale_closes_the_gate(
    exported: Any, base_model: Path, adapter: Path, references: Any, questions: Any, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(adapter, tmp_path / "other"))
    config = json.loads((other / "adapter_config.json").read_text())
    config["lora_alpha"] /= 2
    (other / "adapter_config.json").write_text(json.dumps(config))
    gguf_writer.write_lora_gguf(base_model, other, tmp_path / "other.lora.gguf")
    files = replace(exported("base"), lora=tmp_path / "other.lora.gguf")
    found = measure(files, base_model, references["tuned"], questions)
    assert broken(found) == "transformers -> F16"


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_query_and_key_rows_in_the_order_of_another_family_close_the_gate(
    family: str, chats: Any, questions: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """Swapped where they must stay (Qwen2), left where they must be swapped (Llama)."""
    base = build(family, False, tmp_path / "base", max_position_embeddings=2048)
    reference = reference_model.answer(base, None, chats[:3], load(num_ctx=2048, max_new_tokens=4))
    name = {"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}[family]
    right = families.FAMILIES[name]
    wrong = replace(right, interleaved=not right.interleaved)
    monkeypatch.setitem(families.FAMILIES, name, wrong)
    chosen = {"num_ctx": 2048, "max_new_tokens": 4}
    found = measure(export(base, tmp_path), base, reference, questions[:1], **chosen)
    assert broken(found) == "transformers -> F16"
    assert max(row["value"] for row in found if row["metric"] == chain.DIVERGENCE) > 0.1


def test_the_quantised_file_of_another_model_closes_the_gate(
    exported: Any, base_model: Path, references: Any, questions: Any
) -> None:
    files = replace(exported("tuned"), served=exported("base").served)
    found = measure(files, base_model, references["tuned"], questions)
    assert broken(found) == "transformers -> Q4_K_M"
    values = {row["metric"]: row["value"] for row in found if row["link"] == broken(found)}
    assert values[chain.ORIGIN] == 0


def test_an_end_of_turn_that_is_not_recognised_closes_the_gate(
    exported: Any, base_model: Path, references: Any, questions: Any
) -> None:
    p = load()
    served = served_model.answer(exported("base").full, None, base_model, references["base"], p)
    assert sum(answer.stopped for answer in served) > 0.8 * len(served)
    endless = [replace(a, answer_ids=a.answer_ids[:-1], stopped=False) for a in served]
    limits = measurement.limits(base_model, questions, p)
    relaxed = replace(limits, agreement={"F16": 0.5})
    found = chain.compare("m", references["base"], {"F16": endless}, relaxed)
    assert broken(found) == chain.ENDING
