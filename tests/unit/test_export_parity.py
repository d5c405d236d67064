"""What the gate counts, and that a closed or missing gate stops what comes after."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutoff.errors import CutoffError
from cutoff.export import answers, parity

token_ids = st.lists(st.integers(0, 5), max_size=8)


def answer(prompt: list[int], reply: list[int], stopped: bool = True) -> answers.Answer:
    return answers.Answer([], prompt, reply, "", stopped)


def links_of(**thresholds: float) -> dict[str, parity.Link]:
    reference = [answer([1, 2], [7, 8, 9]), answer([3], [4, 5])]
    quantised = [answer([1, 2], [7, 8, 9]), answer([3, 3], [4, 6], stopped=False)]
    defaults = {"f16_agreement": 0.9, "quantised_agreement": 0.5, "stop_rate": 0.5}
    links = parity.compare("base", reference, reference, quantised, None, defaults | thresholds)
    return {link["link"]: link for link in links}


@given(token_ids, token_ids)
def test_agreement_is_full_exactly_for_equal_answers(a: list[int], b: list[int]) -> None:
    value = parity.agreement(a, b)
    assert 0 <= value <= 1
    assert value == parity.agreement(b, a)
    if a or b:
        assert (value == 1) == (a == b)


def test_agreement_stops_counting_at_the_first_difference() -> None:
    assert parity.agreement([1, 2, 3, 4], [1, 9, 3, 4]) == 0.25
    assert parity.agreement([1, 2], [1, 2, 3, 4]) == 0.5  # one answer went on


def test_bos_tokens_are_counted_at_the_beginning_only() -> None:
    assert parity.leading(5, [5, 5, 1, 5]) == 2
    assert parity.leading(5, [1, 5]) == 0
    assert parity.leading(None, [1, 5]) == 0


def test_every_link_is_measured_on_its_own() -> None:
    links = links_of()
    assert links["tokenizer and template"]["value"] == 0.5
    assert not links["tokenizer and template"]["passed"]
    assert links["transformers -> F16"]["value"] == 1.0
    assert links["transformers -> quantised"]["value"] == 0.75
    assert links["end of turn"]["value"] == 0.5
    assert links["end of turn"]["passed"] and links["transformers -> quantised"]["passed"]
    assert not links_of(stop_rate=0.6)["end of turn"]["passed"]
    assert not links_of(quantised_agreement=0.8)["transformers -> quantised"]["passed"]


def test_a_model_that_never_stopped_by_itself_does_not_close_the_gate() -> None:
    rambling = [answer([1], [7, 8, 9], stopped=False)]
    thresholds = {"f16_agreement": 1.0, "quantised_agreement": 1.0, "stop_rate": 1.0}
    links = parity.compare("base", rambling, rambling, rambling, None, thresholds)
    assert all(link["passed"] for link in links)


def test_both_kinds_of_prompts_are_chosen_from_the_whole_list() -> None:
    questions = [{"question": f"Q{n}?", "context": ["passage"]} for n in range(100)]
    chats = answers.choose_prompts(questions, 10)
    contents = [chat[-1]["content"] for chat in chats]
    assert sum("Passages:" in content for content in contents) == 5
    assert "Q90?" in contents[-1]
    assert len({content for content in contents}) == 10
    assert len(answers.choose_prompts(questions[:3], 10)) == 3


def test_a_closed_gate_names_the_broken_link(tmp_path: Path) -> None:
    parity.write(tmp_path, list(links_of().values()), {"base.F16.gguf": 10})
    content = json.loads((tmp_path / "parity.json").read_text())
    assert content["passed"] is False and content["sizes_bytes"] == {"base.F16.gguf": 10}
    with pytest.raises(CutoffError, match="base, tokenizer and template.* 0.5, must be 1"):
        parity.check(tmp_path)


def test_an_open_gate_lets_pass(tmp_path: Path) -> None:
    links = [link for link in links_of().values() if link["passed"]]
    parity.write(tmp_path, links, {})
    parity.check(tmp_path)


def test_a_gate_that_measured_nothing_is_closed(tmp_path: Path) -> None:
    with pytest.raises(CutoffError, match="03_export_gguf"):
        parity.check(tmp_path)
    parity.write(tmp_path, [], {})
    with pytest.raises(CutoffError, match="nothing was compared"):
        parity.check(tmp_path)


def test_asking_whether_the_gate_is_open_waits_for_no_heavy_import() -> None:
    code = "import sys, cutoff.export.parity; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
