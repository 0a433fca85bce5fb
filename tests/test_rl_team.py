"""A team: who works, in which order results come, what becomes of an error."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from envgen_exp.learners.ppo.team import Team


@pytest.mark.parametrize(
    ("threads", "minibatch", "size"), [(1, 512, 1), (2, 512, 2), (16, 256, 4), (8, 63, 1), (8, 128, 2), (3, 128, 2)]
)
def test_its_size_follows_threads_and_minibatch(threads: int, minibatch: int, size: int) -> None:
    assert Team(threads, minibatch).size == size


@pytest.mark.parametrize("samples", [1, 63, 64, 128, 130, 1000])
def test_parts_are_the_whole_in_order(samples: int) -> None:
    index = torch.randperm(samples)
    parts = Team(4, 1000).split(index)
    assert len(parts) == min(4, max(1, samples // 64))
    assert torch.equal(torch.cat(parts), index)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_members_work_at_once_and_results_keep_their_order() -> None:
    together = threading.Barrier(3, timeout=30)

    def work(part: int) -> tuple[int, str, int]:
        together.wait()
        time.sleep(0.01 * (3 - part))
        return part, threading.current_thread().name, torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        results = Team(6, 3 * 64).map(work, [0, 1, 2])
        assert torch.get_num_threads() == 2  # a member's share is its own
    finally:
        torch.set_num_threads(before)
    assert [part for part, _, _ in results] == [0, 1, 2]
    assert len({name for _, name, _ in results} - {threading.current_thread().name}) == 3
    assert [share for _, _, share in results] == [2, 2, 2]


def test_one_part_is_the_callers() -> None:
    assert Team(4, 1000).map(lambda part: threading.current_thread(), [0]) == [threading.current_thread()]


def test_the_first_parts_error_comes_after_all_have_ended() -> None:
    ended = []

    def work(part: int) -> None:
        time.sleep(0.05 * part)
        ended.append(part)
        raise ValueError(f"part {part}")

    team = Team(3, 1000)
    with pytest.raises(ValueError, match="part 0"):
        team.map(work, [0, 1, 2])
    assert sorted(ended) == [0, 1, 2]
    assert team.map(lambda part: part, [0, 1]) == [0, 1]
