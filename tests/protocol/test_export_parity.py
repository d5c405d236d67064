"""The gate over real llama.cpp: open for faithful exports, closed at the link that is broken."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_families import build, random_adapter
from transformers import AutoModelForCausalLM, GenerationConfig

from cutoff import models, params, prompts
from cutoff.errors import CutoffError
from cutoff.export import families, gguf_writer, weights
from cutoff.export.parity import chain, gate, measurement, transcript
from cutoff.export.parity.transcript import Transcript, choose_prompts
from cutoff.models import Files
from cutoff.params import Params
from cutoff.phantom import world

SMALL: dict[str, Any] = {"num_ctx": 2048, "max_new_tokens": 4}  # for models with random weights


def load(**chosen: Any) -> Params:
    return params.load("tiny", {"max_new_tokens": 24, "parallel": 2, "num_ctx": 512, **chosen})


def make_questions() -> list[Any]:
    papers = world.make_papers(seed=0, n_post=4, n_control=4)
    return [
        {
            "question": world.question_wordings(attribute, paper.method)["eval"][0],
            "context": [" ".join(body) for _, body in paper.sections[:3]],
        }
        for paper, attribute in zip(papers, world.ATTRIBUTES, strict=False)
    ]


QUESTIONS = make_questions()
# One with text that is split differently by other rules.
ODD = prompts.render_rag("Who's at 1234-ab (x)?", ["It is 97 percent.\n\n  The end.", "12M."])
CHATS = [*choose_prompts(QUESTIONS, 7), ODD]


@dataclass
class Subject:
    """A base model, its answers in transformers without and with an adapter, and its files."""

    base: Path
    adapter: Path
    folder: Path
    references: dict[str, list[Transcript]] = field(default_factory=dict)

    def exported(self, model: str = "base", **chosen: Any) -> Files:
        """The files of ``base`` or ``tuned``, made once per mode."""
        files = models.files_of(self.folder, model, load(**chosen))
        weights.export(files, self.base, {"tuned": self.adapter}.get(model), load(**chosen))
        return files


@pytest.fixture(scope="module")
def phantom(base_model: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    made = Subject(base_model, adapter, tmp_path_factory.mktemp("exported"))
    for model, trained in (("base", None), ("tuned", adapter)):
        made.references[model] = transcript.by_transformers(base_model, trained, CHATS, load())
    return made


def measure(
    files: Files, base: Path, reference: list[Transcript], **chosen: Any
) -> list[chain.Link]:
    p = load(**chosen)
    limits = measurement.limits(base, QUESTIONS, p)
    subject = measurement.Subject("m", base, reference)
    found, differing = measurement.measure(subject, files, limits, p)
    expected = {answer.text for answer in reference}
    assert all(row["transformers"] in expected for row in differing)
    return found


def full_only(path: Path) -> Files:
    return Files(path, path, None)


def export(base: Path, folder: Path, adapter: Path | None = None) -> Files:
    gguf_writer.write_gguf(base, adapter, folder / "m.F16.gguf")
    return full_only(folder / "m.F16.gguf")


def broken(found: Sequence[chain.Link]) -> str | None:
    """The link at which the gate closes, which must be named in what it would say."""
    name = gate.first_broken(found).get("m")
    assert (name is None) == (gate.broken(found) == [])
    assert name is None or f"m, {name}: " in gate.broken(found)[0]
    return name


def with_template(base: Path, folder: Path, old: str, new: str) -> Path:
    """A copy of the model with another chat template."""
    other = Path(shutil.copytree(base, folder / "other"))
    template = other / "chat_template.jinja"
    changed = template.read_text().replace(old, new)
    assert changed != template.read_text()
    template.write_text(changed)
    return other


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
def test_the_gate_opens_for_a_trained_model(chosen: Any, phantom: Subject) -> None:
    reference = phantom.references["tuned"]
    found = measure(phantom.exported("tuned", **chosen), phantom.base, reference, **chosen)
    assert broken(found) is None
    roads = {row["link"] for row in found if row["metric"] == chain.DIVERGENCE}
    assert len(roads) == (1 if chosen.get("quantization") == "F16" else 2)
    assert reference != phantom.references["base"]


def test_the_gate_opens_for_the_base_model_and_closes_when_a_file_is_replaced(
    phantom: Subject, tmp_path: Path
) -> None:
    files = phantom.exported("base")
    found = measure(files, phantom.base, phantom.references["base"])
    assert len(found) == 10 and broken(found) is None
    copies = [Path(shutil.copy(path, tmp_path)) for path in files.every]
    gate.write(tmp_path, found, copies)
    gate.require_open(tmp_path)
    shutil.copy(phantom.exported("tuned").served, tmp_path / copies[1].name)
    with pytest.raises(CutoffError, match="base.Q4_K_M.gguf is missing or not the file"):
        gate.require_open(tmp_path)


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_the_gate_opens_for_other_families_merged_and_beside(family: str, tmp_path: Path) -> None:
    """Also where the model has a BOS token."""
    base = decided(build(family, family == "qwen3", tmp_path / "b", max_position_embeddings=2048))
    adapter = random_adapter(base, tmp_path / "adapter")
    length = {"num_ctx": 2048, "max_new_tokens": 8}
    reference = transcript.by_transformers(base, adapter, CHATS[:3], load(**length))
    for mode in ("merged", "adapter"):
        chosen = {"export_mode": mode, "quantization": "Q8_0", **length}
        files = models.files_of(tmp_path, "tuned", load(**chosen))
        weights.export(files, base, adapter, load(**chosen))
        # Random weights leave near ties that rounding flips, so the limits of `tiny` do not fit.
        relaxed = {"parity_min_quantised_agreement": 0.3, "parity_min_f16_agreement": 0.6}
        relaxed |= {"parity_min_stop_rate": 0.0, "parity_max_quantised_kl": 0.3}
        found = measure(files, base, reference, **chosen, **relaxed)
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
    phantom: Subject, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(phantom.base, tmp_path / "other"))
    config = GenerationConfig.from_pretrained(other)
    config.update(repetition_penalty=3.0, do_sample=True, temperature=5.0)
    config.save_pretrained(other)
    for model, trained in (("base", None), ("tuned", phantom.adapter)):
        found = transcript.by_transformers(other, trained, CHATS[:2], load())
        assert found == phantom.references[model][:2]


# --- broken, one link at a time --------------------------------------------------------------


def test_another_chat_template_closes_the_gate(phantom: Subject, tmp_path: Path) -> None:
    content = "message['content']"
    other = with_template(phantom.base, tmp_path, content, f"{content} + ' '")
    found = measure(export(other, tmp_path), phantom.base, phantom.references["base"])
    assert broken(found) == chain.READING


@pytest.mark.parametrize("n_bos", [0, 2])
def test_another_number_of_bos_tokens_closes_the_gate(n_bos: int, tmp_path: Path) -> None:
    base = build("llama", False, tmp_path / "base", max_position_embeddings=2048)
    token = "{{- bos_token }}"
    other = with_template(base, tmp_path, token, token * n_bos)
    reference = transcript.by_transformers(base, None, CHATS[:2], load(**SMALL))
    found = measure(export(other, tmp_path), base, reference, **SMALL)
    assert broken(found) == chain.BOS
    at = {row["link"]: row for row in found}
    assert at[chain.READING]["passed"] and at[chain.BOS]["value"] == n_bos


def test_a_context_that_is_too_short_closes_the_gate(phantom: Subject) -> None:
    """What does not fit is not asked: the longer half of the prompts."""
    files = full_only(phantom.exported().full)
    found = measure(files, phantom.base, phantom.references["base"], num_ctx=128)
    assert broken(found) == chain.CONTEXT
    # Prompts that fit are answered as before, so nothing else is in doubt.
    assert {row["link"] for row in found if not row["passed"]} == {chain.CONTEXT}
    assert {row["metric"] for row in found} >= {chain.AGREEMENT, chain.DIVERGENCE}


def test_an_adapter_that_was_not_merged_closes_the_gate(phantom: Subject) -> None:
    found = measure(phantom.exported("base"), phantom.base, phantom.references["tuned"])
    assert broken(found) == "transformers -> F16"


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_query_and_key_rows_in_the_order_of_another_family_close_the_gate(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Swapped where they must stay (Qwen2), left where they must be swapped (Llama)."""
    base = build(family, False, tmp_path / "base", max_position_embeddings=2048)
    reference = transcript.by_transformers(base, None, CHATS[:3], load(**SMALL))
    name = {"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}[family]
    right = families.FAMILIES[name]
    monkeypatch.setitem(families.FAMILIES, name, replace(right, interleaved=not right.interleaved))
    found = measure(export(base, tmp_path), base, reference, **SMALL)
    assert broken(found) == "transformers -> F16"
    assert max(row["value"] for row in found if row["metric"] == chain.DIVERGENCE) > 0.1


def test_the_quantised_file_of_another_model_closes_the_gate(phantom: Subject) -> None:
    files = replace(phantom.exported("tuned"), served=phantom.exported("base").served)
    found = measure(files, phantom.base, phantom.references["tuned"])
    assert broken(found) == "transformers -> Q4_K_M"
    values = {row["metric"]: row["value"] for row in found if row["link"] == broken(found)}
    assert values[chain.ORIGIN] == 0
