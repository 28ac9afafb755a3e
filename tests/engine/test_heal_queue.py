"""Healing that was suggested: bounded, once for each path, and what fails is left alone for a while."""

from __future__ import annotations

import asyncio

import pytest

from accord.engine import heal_queue
from accord.engine.heal import STALLED_S
from accord.engine.heal_queue import MAX_WORKERS, PAUSE_AFTER_FAILURE_S
from accord.model.names import FilePath
from tests.engine.trio import LARGE, PATH, SECOND, SMALL, Trio, trio, until


async def drained(servers: Trio) -> None:
    await until(lambda: not servers.queue._workers)
    await servers.healer.settle()


async def test_what_is_suggested_is_healed() -> None:
    async with trio() as servers:
        paths = [FilePath(f"{number}.txt") for number in range(10)]
        for path in paths:
            servers.second.put_outside(path, SMALL)
            servers.queue.suggest(path)
            servers.queue.suggest(path)
        assert len(servers.queue._workers) == MAX_WORKERS
        await drained(servers)
        assert [servers.healed(path) for path in paths] == [SMALL] * 10
        assert len(servers.peers.fetched) <= MAX_WORKERS, "the others have the same content: it is here by then"


async def test_a_suggestion_is_only_a_suggestion() -> None:
    async with trio() as servers:
        servers.mine.put_outside(PATH, SMALL)
        servers.second.put_outside(PATH, LARGE)
        servers.third.put_outside(PATH, SMALL)
        servers.second.files.clear()
        servers.queue.suggest(PATH)
        await drained(servers)
        assert servers.healed() == SMALL
        assert servers.peers.fetched == []


async def test_rivals_are_taken_in_beside_what_is_there() -> None:
    async with trio() as servers:
        servers.mine.put_outside(PATH, SMALL)
        servers.second.put_outside(PATH, LARGE)
        servers.queue.suggest(PATH)
        await drained(servers)
        assert servers.healed() == SMALL
        assert len(servers.peers.fetched) == 1


async def test_what_failed_is_left_alone_for_a_while() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        servers.peers.faults[SECOND].break_after_bytes = 10
        servers.queue.suggest(PATH)
        await drained(servers)
        assert servers.healed() is None
        servers.peers.faults[SECOND].break_after_bytes = None
        servers.clock.now_s += PAUSE_AFTER_FAILURE_S - 1
        servers.queue.suggest(PATH)
        await drained(servers)
        assert servers.healed() is None
        servers.clock.now_s += 1
        servers.queue.suggest(PATH)
        await drained(servers)
        assert servers.healed() == LARGE


async def test_what_does_not_fit_is_not_fetched_again_and_again() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        servers.mine.capacity_bytes = 10
        for _ in range(3):
            servers.queue.suggest(PATH)
            await drained(servers)
        assert servers.peers.fetched == []


async def test_the_queue_and_its_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal_queue, "MAX_QUEUED_PATHS", 5)
    monkeypatch.setattr(heal_queue, "MAX_REMEMBERED_FAILURES", 3)
    async with trio() as servers:
        for number in range(8):
            servers.second.put_outside(f"{number}", SMALL)
            servers.queue.suggest(FilePath(f"{number}"))
        assert len(servers.queue._queued) == 5
        servers.peers.faults[SECOND].break_after_bytes = 1
        await drained(servers)
        assert len(servers.queue._failed_at_s) == 3


async def test_closing_drops_what_is_under_way_and_leaves_nothing() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        servers.queue.suggest(PATH)
        await until(lambda: servers.mine.open_stagings)
        await servers.queue.close()
        await servers.healer.settle()
        assert servers.mine.open_stagings == 0
        servers.queue.suggest(PATH)
        assert not servers.queue._queued


async def test_a_path_that_a_slow_reader_holds_is_healed_all_the_same() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        reading, body = await servers.body()
        blocks = body.blocks()
        await anext(blocks)
        servers.clock.now_s += STALLED_S
        servers.queue.suggest(PATH)
        await drained(servers)
        assert servers.healed() == LARGE
        rest = [block async for block in blocks]
        reading.close()
        assert rest, "the slow reader gets the rest of its bytes"
        await asyncio.sleep(0)
