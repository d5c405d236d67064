"""What the gate counts, and that a closed or missing gate stops what comes after."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutoff import params
from cutoff.errors import CutoffError
from cutoff.export.parity import chain, gate, measurement
from cutoff.export.parity.transcript import Transcript, choose_prompts

token_ids = st.lists(st.integers(0, 5), max_size=8)
LIMITS: dict[str, Any] = {
    "agreement": {"F16": 0.9, "Q4_K_M": 0.5},
    "divergence": {"F16": 0.01, "Q4_K_M": 0.3},
    "stop_rate": 0.5,
    "max_new_tokens": 4,
    "longest": 10,
    "context": 16,
}


def answer(prompt: list[int], reply: list[int], **fields: Any) -> Transcript:
    given: dict[str, Any] = {"text": "", "stopped": True, "n_read": len(prompt)} | fields
    return Transcript([], prompt, reply, **given)


REFERENCE = [answer([1, 2], [7, 8, 9]), answer([3], [4, 5])]


def rows(
    served: list[Transcript],
    f16: list[Transcript] = REFERENCE,
    reference: list[Transcript] = REFERENCE,
    model: str = "base",
    **limits: Any,
) -> dict[tuple[str, str], chain.Link]:
    held_against = chain.Limits(**LIMITS | limits)
    files = {"F16": f16, "Q4_K_M": served}
    found = chain.compare(model, reference, files, held_against)
    return {(row["link"], row["metric"]): row for row in found}


def first(found: dict[Any, chain.Link]) -> str | None:
    return next(iter(gate.first_broken(list(found.values())).values()), None)


@given(token_ids, token_ids)
def test_agreement_is_full_exactly_for_equal_answers(a: list[int], b: list[int]) -> None:
    value = chain.agreement(a, b)
    assert 0 <= value <= 1
    assert value == chain.agreement(b, a)
    assert (value == 1) == (a == b)


def test_agreement_stops_counting_at_the_first_difference() -> None:
    assert chain.agreement([1, 2, 3, 4], [1, 9, 3, 4]) == 0.25
    assert chain.agreement([1, 2], [1, 2, 3, 4]) == 0.5  # one answer went on


def test_bos_tokens_are_counted_at_the_beginning_only() -> None:
    assert chain.split([5, 5, 1, 5], 5) == (2, [1, 5])
    assert chain.split([1, 5], 5) == chain.split([1, 5], None) == (0, [1, 5])


def test_all_links_of_a_faithful_model_hold() -> None:
    found = rows(REFERENCE)
    assert first(found) is None
    assert found["tokenizer and template", chain.SAME_IDS]["value"] == 1
    assert found["context", chain.LONGEST]["value"] == 10
    assert found["end of turn", chain.STOP_RATE]["value"] == 1


def test_a_prompt_that_is_read_differently_breaks_the_first_link_and_no_other() -> None:
    found = rows([REFERENCE[0], answer([3, 3], [9])])
    assert found["tokenizer and template", chain.SAME_IDS]["value"] == 0.5
    assert [row["link"] for row in found.values() if not row["passed"]] == [chain.READING]
    # What is left is compared on the other prompt, where both sides read the same.
    assert found["transformers -> Q4_K_M", chain.AGREEMENT]["value"] == 1


@pytest.mark.parametrize(
    ("trained", "served", "passed"),
    [([], [9], False), ([9], [], False), ([9], [9, 9], False), ([9, 9], [9], True)],
)
def test_any_other_number_of_bos_tokens_than_in_training_breaks_that_link(
    trained: list[int], served: list[int], passed: bool
) -> None:
    reference = [answer([*trained, 1, 2], [7])]
    given = [answer([*served, 1, 2], [7])]
    found = rows(given, f16=given, reference=reference, bos_id=9)
    assert found["tokenizer and template", chain.SAME_IDS]["passed"]
    row = found["BOS", chain.BOS_TOKENS]
    assert row["value"] == len(served) and row["passed"] == passed  # two in training: one too many


def test_a_prompt_that_was_cut_on_its_way_breaks_the_context() -> None:
    cut = [answer([1, 2], [4], n_read=1), REFERENCE[1]]
    found = rows(cut)
    assert first(found) == chain.CONTEXT
    assert found["context", chain.READ_WHOLE]["value"] == 0.5
    assert found["transformers -> Q4_K_M", chain.AGREEMENT]["value"] == 1


def test_a_longest_prompt_without_room_for_its_answer_breaks_the_context() -> None:
    assert first(rows(REFERENCE, longest=16)) is None
    assert first(rows(REFERENCE, longest=17)) == chain.CONTEXT


def test_the_divergence_is_the_mean_over_all_places() -> None:
    log_p = np.log(np.array([0.5, 0.5], dtype=np.float32))
    close, far = {0: np.log(0.5)}, {0: np.log(0.9)}
    reference = [answer([1], [0, 0], next_tokens={0: log_p, 1: log_p})]
    served = [answer([1], [0, 0], next_tokens={0: close, 1: far})]
    found = rows(served, f16=served, reference=reference)
    expected = 0.5 * (0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1))
    row = found["transformers -> Q4_K_M", chain.DIVERGENCE]
    assert row["value"] == pytest.approx(expected, rel=1e-3)
    assert row["passed"] and first(found) == "transformers -> F16"


def test_a_model_that_never_stopped_by_itself_does_not_close_the_gate() -> None:
    rambling = [answer([1], [7, 8, 9], stopped=False)]
    found = rows(rambling, f16=rambling, reference=rambling, stop_rate=1.0)
    assert first(found) is None
    ending = [answer([1], [7, 8, 9])]
    assert first(rows(rambling, f16=ending, reference=ending, stop_rate=1.0)) == chain.ENDING


def test_a_server_is_held_against_texts_counts_and_ends() -> None:
    limits = chain.Limits(**LIMITS)

    def broken(served: list[Transcript]) -> set[str]:
        found = chain.compare_served("base", "Ollama", REFERENCE, served, limits)
        assert {row["link"] for row in found} == {"Ollama"}
        return {row["metric"] for row in found if not row["passed"]}

    assert broken(REFERENCE) == set()
    cut = [answer([1, 2], [], n_read=1), REFERENCE[1]]
    assert broken(cut) == {chain.READ_WHOLE}
    assert broken([answer([1, 2], [9]), answer([3], [9])]) == {chain.AGREEMENT}
    endless = [answer([1, 2], [7, 8, 9], stopped=False), answer([3], [4, 5], stopped=False)]
    assert broken(endless) == {chain.STOP_RATE}


def test_thresholds_come_from_the_parameters_and_room_from_the_model(base_model: Path) -> None:
    questions = [{"question": "Who?", "context": ["One."]}, {"question": "Q?", "context": ["a b"]}]
    p = params.load("tiny", {"num_ctx": 8192, "parity_max_f16_kl": 0.5, "quantization": "Q8_0"})
    found = measurement.limits(base_model, questions, p)
    assert found.context == 2048  # what the phantom was made for
    assert found.divergence == {"F16": 0.5, "Q8_0": p.parity_max_quantised_kl}
    alone = [measurement.limits(base_model, [question], p).longest for question in questions]
    assert found.longest == max(alone) > p.max_new_tokens


def test_both_kinds_of_prompts_are_chosen_from_the_whole_list() -> None:
    questions = [{"question": f"Q{n}?", "context": ["passage"]} for n in range(100)]
    chats = choose_prompts(questions, 10)
    contents = [chat[-1]["content"] for chat in chats]
    assert sum("Passages:" in content for content in contents) == 5
    assert "Q90?" in contents[-1]
    assert len({content for content in contents}) == 10
    assert len(choose_prompts(questions[:3], 10)) == 3


# --- the gate -----------------------------------------------------------------------------


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A model file of 3 MB."""
    path = tmp_path / "models" / "base.F16.gguf"
    path.parent.mkdir()
    path.write_bytes(np.random.default_rng(0).bytes(3_000_000))
    return path


def test_a_closed_gate_names_the_first_broken_link_of_each_model(
    tmp_path: Path, measured: Path
) -> None:
    found = rows([answer([1, 5], [1]), answer([3, 3], [9])], longest=20)
    gate.write(tmp_path, list(found.values()), [measured])
    content = json.loads((tmp_path / "parity.json").read_text())
    assert content["passed"] is False and content["sizes_bytes"] == {"base.F16.gguf": 3_000_000}
    with pytest.raises(CutoffError, match="base, tokenizer and template.* 0, must be") as error:
        gate.require_open(tmp_path)
    assert "context" not in str(error.value)


def test_a_broken_adapter_beside_a_base_that_holds_is_said_to_be_the_adapter() -> None:
    wrong = [answer([1, 2], [1]), answer([3], [1])]
    of_base, of_adapter = rows(REFERENCE), rows(wrong, f16=wrong, model="rag_ft")
    (phrase,) = gate.broken([*of_base.values(), *of_adapter.values()])
    assert "rag_ft, transformers -> F16" in phrase and "it is the adapter" in phrase
    both = gate.broken([*rows(wrong, f16=wrong).values(), *of_adapter.values()])
    assert len(both) == 2 and not any("adapter" in phrase for phrase in both)


@pytest.mark.parametrize("place", [0, 100, 2_999_999])
def test_a_file_that_was_not_measured_closes_the_gate(
    tmp_path: Path, measured: Path, place: int
) -> None:
    gate.write(tmp_path, list(rows(REFERENCE).values()), [measured])
    content = bytearray(measured.read_bytes())
    content[place] ^= 1
    measured.write_bytes(content)
    with pytest.raises(CutoffError, match="base.F16.gguf is missing or not the file"):
        gate.require_open(tmp_path)
    measured.unlink()
    with pytest.raises(CutoffError, match="03_export_gguf again"):
        gate.require_open(tmp_path)


def test_a_gate_that_measured_nothing_is_closed(tmp_path: Path) -> None:
    with pytest.raises(CutoffError, match="03_export_gguf"):
        gate.require_open(tmp_path)
    gate.write(tmp_path, [], [])
    with pytest.raises(CutoffError, match="nothing was compared"):
        gate.require_open(tmp_path)


def test_asking_whether_the_gate_is_open_waits_for_no_heavy_import() -> None:
    code = "import sys, cutoff.export.parity.gate; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
