"""The event loop with a made-up clock: nothing waits, and nothing depends on addresses."""

from __future__ import annotations

import asyncio
import time

import pytest

from accord.testing.simulation.disk import Disk
from accord.testing.simulation.processes import Crash, Process
from accord.testing.simulation.virtual_loop import Stuck, VirtualLoop


@pytest.fixture
def loop() -> VirtualLoop:
    return VirtualLoop(lambda: 0.001)


def a_process(loop: VirtualLoop) -> Process:
    return Process("server1", Disk(1, loop.time, lambda: 0), loop, lambda process, power_fails: None)


def test_a_day_passes_at_once(loop: VirtualLoop) -> None:
    began_s = time.monotonic()
    loop.run_until_complete(asyncio.sleep(86_000))
    assert loop.time() >= 86_000
    assert time.monotonic() - began_s < 5
    loop.close()


def test_waiting_for_what_never_comes_is_noticed(loop: VirtualLoop) -> None:
    with pytest.raises(Stuck):
        loop.run_until_complete(loop.create_future())
    loop.close()


def test_sets_of_tasks_are_gone_through_in_the_order_they_were_begun(loop: VirtualLoop) -> None:
    async def begun() -> list[int]:
        tasks = {asyncio.create_task(asyncio.sleep(0)) for _ in range(50)}
        numbers = [task.number for task in tasks]  # type: ignore[attr-defined]
        await asyncio.wait(tasks)
        return numbers

    numbers = loop.run_until_complete(begun())
    assert sorted(numbers) == list(range(min(numbers), min(numbers) + 50))
    assert [hash(number) for number in numbers] == numbers
    loop.close()


def test_a_process_that_was_killed_does_nothing_any_more(loop: VirtualLoop) -> None:
    process = a_process(loop)
    done = []

    async def work() -> None:
        process.doom(2, power_fails=False)
        process.point()
        done.append("the first change")
        await asyncio.to_thread(process.point)
        done.append("the second change")

    async def watch() -> None:
        task = process.spawn(work())
        await asyncio.sleep(5)
        assert not task.done()  # nobody is left to be told
        task.cancel()

    loop.run_until_complete(watch())
    assert done == ["the first change"]
    with pytest.raises(Crash):
        process.point()
    loop.close()
