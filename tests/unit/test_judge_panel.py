"""Several judges: who they are, how their votes become one verdict, and who may not judge."""

from pathlib import Path
from typing import Any

import pytest

from cutoff import params
from cutoff.errors import CutoffError
from cutoff.evaluate.judging import golden, judge, opinions, panel, rubric
from cutoff.run import folders

TOP = {"factuality": 5, "completeness": 5, "communication": 5}


def load(**values: Any) -> params.Params:
    return params.load("tiny", values)


def vote(name: str, verdict: str, **changed: Any) -> dict[str, Any]:
    scores = None if verdict == "judge_failed" else TOP
    record = {"judge": name, "verdict": verdict, "passed": rubric.passes(verdict, scores)}
    return {**record, "rule": "the judge", "scores": scores, "detail": "", **changed}


def test_providers_follow_from_the_names() -> None:
    expected = {
        "qwen3:8b": "ollama",
        "gpt-4o": "openai",
        "claude-sonnet-5": "anthropic",
        "o3-mini": "openai",
        "gpt-oss:20b": "ollama",
        "reference": "reference",
    }
    assert dict(panel.members(load(judge_model=" ,".join(expected)))) == expected
    [own, rules] = panel.members(load(judge_model="gpt-4o,reference", judge_provider="ollama"))
    assert (own.provider, rules.provider) == ("ollama", "reference")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"judge_model": "qwen3:8b,,gpt-4o"}, "one name or several different ones"),
        ({"judge_model": "qwen3:8b,qwen3:8b"}, "one name or several different ones"),
        (
            {"judge_model": "qwen3:8b,gpt-4o", "judge_base_url": "http://gpu:1"},
            "judge_base_url belongs to one provider.*ollama and openai",
        ),
    ],
)
def test_an_impossible_panel_is_an_error(values: dict[str, str], words: str) -> None:
    with pytest.raises(CutoffError, match=words):
        panel.members(load(**values))


def test_a_missing_key_of_a_hosted_judge_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    p = load(judge_model="claude-sonnet-5")
    task = {"q": [{"role": "user", "content": "Q?"}]}
    with pytest.raises(CutoffError, match="ANTHROPIC_API_KEY"):
        next(panel.ask(panel.members(p)[0], p, task, rubric.FORM, "judging"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"base_model": "Qwen/Qwen2.5-7B-Instruct"}, "same family (qwen) as the candidate"),
        (
            {"fact_source": "generator", "generator_model": "qwen2.5:7b"},
            "the generator of the questions, `qwen2.5:7b`",
        ),
        ({"judge_model": "gpt-4o,reference"}, "Name an odd number"),
        ({"judge_model": "gpt-4o", "generator_model": "qwen2.5:7b"}, ""),
        ({"judge_model": "gpt-4o,claude-x,reference"}, ""),
    ],
)
def test_kinship_with_candidate_or_generator_and_an_even_panel_are_flagged(
    values: dict[str, str], words: str
) -> None:
    flags = " ".join(panel.flags(load(**{"judge_model": "qwen3:8b", **values})))
    assert words in flags and bool(words) == bool(flags)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("correct correct incorrect", "correct"),
        ("incorrect correct not_attempted", "incorrect"),
        ("not_attempted correct incorrect", "incorrect"),
        ("not_attempted not_attempted incorrect", "not_attempted"),
        ("correct incorrect", "judge_failed"),
        ("correct correct judge_failed", "correct"),
        ("correct incorrect judge_failed", "judge_failed"),
        ("correct judge_failed", "judge_failed"),
        ("correct correct incorrect incorrect", "judge_failed"),
    ],
)
def test_more_than_half_of_all_judges_decide(verdicts: str, expected: str) -> None:
    names = verdicts.split()
    for given in (names, names[::-1]):  # no judge's vote weighs more than another's
        record = judge.combine([vote(f"j{n}", verdict) for n, verdict in enumerate(given)])
        assert (record["verdict"], record["passed"]) == (expected, rubric.passes(expected))


def test_the_votes_behind_a_verdict_are_kept_and_failures_counted_by_cause() -> None:
    tie = judge.combine([vote("a", "correct"), vote("b", "incorrect")])
    assert tie["verdicts"] == {"a": "correct", "b": "incorrect"}
    unread = judge.combine([vote("a", "judge_failed", rule="not readable")])
    records = [tie, unread, tie, judge.combine([vote("a", "correct")])]
    assert "no majority (2), not readable (1)" in judge.reading(load(), records)


def test_scoring_names_the_rubric_of_language_models_and_not_of_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_rule, by_model = load(), load(judge_model="gpt-4o")
    rules, known = judge.scoring(by_rule), {judge.scoring(by_model)}
    assert all(rubric.sha256()[:12] in text and "gpt-4o" in text for text in known)
    known.add(judge.scoring(load(judge_model="gpt-4o", judge_think=False)))
    monkeypatch.setattr(rubric, "SYSTEM", rubric.SYSTEM + "Be kind.")
    known.add(judge.scoring(by_model))
    monkeypatch.setitem(rubric.SCHEMA, "required", ["verdict"])
    known.add(judge.scoring(by_model))
    assert judge.scoring(by_rule) == rules and len(known) == 4


def test_records_depend_on_judge_provider_rubric_thinking_and_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def made(*shown: str, **values: Any) -> str:
        p = load(**{"judge_model": "m", **values})
        texts = {"base|q": shown or ("Q?", "A", "B")}
        return opinions.made_from(panel.members(p)[0], p, texts)

    hashes = [
        made(),
        made(judge_model="n"),
        made(judge_provider="openai"),
        made(judge_think=False),
        made(judge_max_new_tokens=300),
        made("Q?", "A", "C"),
        made("Q?", "A2", "B"),
    ]
    monkeypatch.setitem(rubric.LEAST, "factuality", 5)
    hashes.append(made())
    assert len(set(hashes)) == len(hashes)


def test_the_reference_rules_pass_their_own_golden_set(tmp_path: Path) -> None:
    p = load()
    frame = golden.results(p, tmp_path)
    assert frame["right"].mean() >= p.judge_min_golden
    # What rules cannot do stays visible, and nothing else is marked wrongly.
    wrong = set(frame.loc[~frame["right"], "kind"])
    assert wrong == {"number in words", "other words", "turned round"}
    row = golden.table(frame).iloc[0]
    assert row["right_low"] < row["right"] < row["right_high"]


def test_a_judge_that_fails_the_golden_set_judges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = folders.open_stage("04_evaluate", load(output_dir=str(tmp_path)))
    question = {"question_id": "q", "question": "Q?", "reference": "A"}
    response = {"key": "base|q", "condition": "base", "question_id": "q", "response": "A"}
    for verdict in rubric.VERDICTS[:3]:
        monkeypatch.setattr(opinions.reference, "decide", lambda *_, v=verdict: (v, "always"))
        with pytest.raises(CutoffError, match=f"of 35 golden answers right.*was marked {verdict}"):
            judge.judge(stage, [question], [response])
        assert not (stage.folder / "judgements.jsonl").exists()
        assert not (stage.folder / "judges/reference.jsonl").exists()
        (stage.folder / "judges/reference.golden.jsonl").unlink()
