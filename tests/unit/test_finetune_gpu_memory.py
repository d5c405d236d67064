"""How many examples go through a device at once: decided by trying, never changing a step."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutoff import micro_batch
from cutoff.errors import CutoffError
from cutoff.finetune import gpu_memory
from cutoff.micro_batch import GIB, OutOfMemory, Plan


def gpu(total: float, weights: float, example: float) -> Callable[[int, bool], int]:
    """A GPU of ``total`` GiB on which an example's activations take ``example`` GiB, and a
    quarter of that when they are computed again."""

    def attempt(micro: int, checkpointing: bool) -> int:
        peak = weights + micro * example * (0.25 if checkpointing else 1)
        if peak > total:
            raise OutOfMemory
        return int(peak * GIB)

    return attempt


def choose(total: float, weights: float, example: float, way: str = "auto", longest: int = 512):
    possible = micro_batch.sizes(16, 1, None)
    return micro_batch.choose(
        possible, way, longest, int(total * GIB), gpu(total, weights, example)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("total", "weights", "example", "way", "expected"),
    [
        (140, 15, 1.0, "auto", (16, False)),  # everything fits
        (15, 5, 1.0, "auto", (8, False)),  # 16 do not
        (15, 5, 1.0, "on", (16, True)),
        (15, 12, 1.5, "auto", (4, True)),  # one alone would leave the GPU idle
        (15, 12.5, 2.5, "auto", (1, True)),  # nothing but this
        (15, 5, 4.0, "off", (2, False)),
    ],
)
def test_the_largest_way_that_leaves_a_tenth_free_is_taken(
    total: float, weights: float, example: float, way: str, expected: tuple[int, bool]
) -> None:
    plan = choose(total, weights, example, way)
    assert (plan.micro_batch, plan.checkpointing) == expected


@pytest.mark.parametrize(("way", "remedy"), [("auto", "load_in_4bit"), ("off", "to auto. Set")])
def test_a_gpu_too_small_for_one_example_is_an_error_with_a_remedy(way: str, remedy: str) -> None:
    with pytest.raises(CutoffError, match=remedy):
        choose(8, 7.9, 2.0, way)


def test_no_more_tokens_are_tried_than_a_gpu_needs_to_be_busy() -> None:
    tried = []

    def attempt(micro: int, checkpointing: bool) -> int:
        tried.append(micro)
        return 0

    micro_batch.choose([16, 8, 4, 2, 1], "auto", 4096, GIB, attempt)
    assert tried == [4]


@given(
    total=st.floats(2, 160), weights=st.floats(0.5, 60), example=st.floats(0.01, 20),
    longest=st.integers(16, 8192), n_processes=st.sampled_from([1, 2, 4, 8]),
    way=st.sampled_from(["auto", "on", "off"]),
)  # fmt: skip
def test_whatever_the_memory_a_step_stays_whole_and_a_plan_fits(
    total: float, weights: float, example: float, longest: int, n_processes: int, way: str
) -> None:
    attempt = gpu(total, weights, example)
    possible = micro_batch.sizes(16, n_processes, None)
    try:
        plan = micro_batch.choose(possible, way, longest, int(total * GIB), attempt)
    except CutoffError:
        smallest = weights + example * (1 if way == "off" else 0.25)
        assert smallest > 0.89 * total
        return
    assert 16 % (plan.micro_batch * n_processes) == 0
    assert attempt(plan.micro_batch, plan.checkpointing) <= 0.9 * total * GIB
    assert way == "auto" or plan.checkpointing == (way == "on")


def test_after_running_out_of_memory_every_further_plan_is_smaller_and_there_is_a_last() -> None:
    plan: Plan | None = Plan(12, False, "")
    seen = []
    while plan is not None:
        seen.append((plan.micro_batch, plan.checkpointing))
        plan = micro_batch.smaller(plan, "auto", None)
    assert seen == [(12, False), (6, False), (3, False), (1, False), (1, True)]
    assert micro_batch.smaller(Plan(1, False, ""), "off", None) is None
    asked = micro_batch.smaller(Plan(4, False, ""), "auto", wanted=4)
    assert asked is not None and (asked.micro_batch, asked.checkpointing) == (4, True)


def test_a_resumed_training_keeps_its_plan_and_another_device_gets_its_own(tmp_path: Path) -> None:
    file, plan = tmp_path / "work" / "memory.json", Plan(4, True, "measured")
    gpu_memory.store(file, {"device": "Tesla T4"}, plan)
    assert gpu_memory.stored(file, {"device": "Tesla T4"}) == plan
    assert gpu_memory.stored(file, {"device": "NVIDIA L4"}) is None


def test_on_a_cpu_a_pass_stays_small_and_a_step_whole() -> None:
    for n_processes in (1, 2, 4):
        for longest in (40, 180, 1000, 9000):
            plan = micro_batch.on_cpu(16, n_processes, None, "auto", longest)
            assert 16 % (plan.micro_batch * n_processes) == 0 and not plan.checkpointing
            assert plan.micro_batch == 1 or plan.micro_batch * longest <= micro_batch.CPU_TOKENS
    assert micro_batch.on_cpu(16, 1, 2, "on", 40).micro_batch == 2
    assert micro_batch.on_cpu(16, 1, 2, "on", 40).checkpointing


@given(n=st.integers(1, 200), micro=st.integers(1, 8), n_processes=st.integers(1, 4))
def test_filled_up_passes_are_the_fewest_that_all_processes_share(
    n: int, micro: int, n_processes: int
) -> None:
    missing = gpu_memory.of_passes(n, micro, n_processes)
    assert (n + missing) % (micro * n_processes) == 0 and 0 <= missing < micro * n_processes
