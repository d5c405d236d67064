"""Many tasks for a language model: each costs itself only, and nothing is lost in silence."""

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from cutoff.engines import asking, chat, failures
from cutoff.errors import CutoffError
from cutoff.store import Store

OPTIONS = chat.Options(num_ctx=512, seed=7)


class Engine:
    """Says ``replies[key]`` one after the other; the last one again and again."""

    where = "a test"

    def __init__(self, **replies: list[str]) -> None:
        self.replies = replies
        self.asked: Counter[str] = Counter()
        self.seen: list[tuple[str, str, int]] = []
        self.lock = threading.Lock()

    def count_prompt_tokens(self, request: chat.Request) -> int | None:
        return None

    def ask(self, request: chat.Request, options: chat.Options) -> chat.Reply:
        with self.lock:
            replies = self.replies[request.key]
            text = replies[min(self.asked[request.key], len(replies) - 1)]
            self.asked[request.key] += 1
            self.seen.append((request.key, request.messages[-1]["content"], options.seed))
        if text == "REFUSES":
            raise failures.Refused("not such a text", "no")
        return chat.Reply(text, 5, 2, "stop")


def ask(
    engine: Engine, tolerant: bool = True, store: Store | None = None
) -> dict[str, asking.Answer]:
    requests = [
        chat.Request(key, [{"role": "user", "content": "Which?"}], 10) for key in engine.replies
    ]
    asked = asking.Tolerant(engine) if tolerant else engine
    manner = asking.Manner(OPTIONS, 2, "counting", store=store)
    answers = asking.ask(requests, lambda: asked, int, manner)
    return {answer.key: replace(answer, seconds=0) for answer in answers}


def test_what_cannot_be_read_is_asked_again_with_a_note_and_another_seed() -> None:
    engine = Engine(good=["1"], late=["one", "2"], never=["many"])
    answers = ask(engine)
    assert [(a.value, a.attempts) for a in answers.values()] == [(1, 1), (2, 2), (None, 3)]
    assert list(answers) == ["good", "late", "never"]  # failures last
    assert answers["never"].rule == asking.NOT_READABLE and "many" in answers["never"].detail
    assert [answers[key].completion_tokens for key in ("good", "late", "never")] == [2, 4, 6]
    late = [seen[1:] for seen in engine.seen if seen[0] == "late"]
    assert late[0] == ("Which?", 7) and "could not be read" in late[1][0] and late[1][1] == 8


def test_a_refusal_costs_its_task_only_and_is_not_asked_again() -> None:
    engine = Engine(good=["1"], bad=["REFUSES"])
    answers = ask(engine)
    assert answers["good"].value == 1 and engine.asked["bad"] == 1
    assert (answers["bad"].rule, answers["bad"].detail) == (asking.REFUSED, "not such a text")
    with pytest.raises(failures.Refused):
        ask(Engine(good=["1"], bad=["REFUSES"]), tolerant=False)


def test_a_server_that_refuses_everything_stops_the_run() -> None:
    many = {f"task{i}": ["REFUSES"] for i in range(3 * asking.FAILURES_IN_A_ROW)}
    engine = Engine(**many)
    with pytest.raises(failures.Refused):
        ask(engine)
    assert sum(engine.asked.values()) < len(many)


def test_a_server_that_answers_nothing_at_all_is_no_set_of_bad_answers(tmp_path: Path) -> None:
    with (
        Store(tmp_path / "replies.jsonl") as store,
        pytest.raises(CutoffError, match="answered none of 2 requests"),
    ):
        ask(Engine(one=["REFUSES"], two=["REFUSES"]), store=store)


def test_kept_replies_are_read_again_and_only_what_is_missing_is_asked(tmp_path: Path) -> None:
    engine = Engine(good=["1"], late=["one", "2"], bad=["REFUSES"])
    with Store(tmp_path / "kept.jsonl") as store:
        first = ask(engine, store=store)
        assert sum(engine.asked.values()) == 4 and len(store) == 3
        assert ask(engine, store=store) == first
    assert engine.asked == {"good": 1, "late": 2, "bad": 2}
