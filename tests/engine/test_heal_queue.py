"""Healing in the background: bounded, once for each path, the urgent first; what fails is tried again by itself, later and later."""

from __future__ import annotations

import asyncio

import pytest

from accord.engine import heal_queue
from accord.engine.heal import STALLED_S
from accord.engine.heal_queue import FIRST_PAUSE_S, LAST_PAUSE_S, MAX_WORKERS, HealQueue, Urgency
from accord.model.names import FilePath
from accord.model.verdict import Kind
from tests.engine.trio import LARGE, PATH, SECOND, SMALL, THIRD, Trio, trio, until


def named(number: int) -> FilePath:
    return FilePath(f"{number:04}.txt")


class Updates:
    """Updates that end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[FilePath] = []
        self.reasons: dict[FilePath, str] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def update(self, path: FilePath) -> str | None:
        self.begun.append(path)
        await self.gate.wait()
        return self.reasons.get(path)


async def drained(servers: Trio) -> None:
    await until(lambda: not servers.queue._workers)
    await servers.healer.settle()


async def idle(queue: HealQueue) -> None:
    await until(lambda: not queue._workers)


async def test_what_is_suggested_is_healed() -> None:
    async with trio() as servers:
        paths = [named(number) for number in range(10)]
        for path in paths:
            servers.second.put_outside(path, SMALL)
            servers.queue.suggest(path)
            servers.queue.suggest(path)
        assert len(servers.queue._workers) == MAX_WORKERS
        await drained(servers)
        assert [servers.healed(path) for path in paths] == [SMALL] * 10
        assert len(servers.peers.fetched) <= MAX_WORKERS, "the others have the same content: it is here by then"
        assert servers.queue.progress().healed == 10


async def test_what_is_queued_in_the_moment_that_a_worker_ends_is_healed() -> None:
    queue = HealQueue(Updates())
    async with asyncio.timeout(10):
        for number in range(3):
            assert await (await queue.enqueue(named(number), Urgency.SYNC)) is None
    await queue.close()


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


async def test_what_failed_is_tried_again_by_itself_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal_queue, "FIRST_PAUSE_S", 0.05)
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        servers.peers.faults[SECOND].break_after_bytes = 10
        servers.queue.suggest(PATH)
        await drained(servers)
        fetched = len(servers.peers.fetched)
        assert fetched
        servers.queue.suggest(PATH)
        assert not servers.queue._workers, "it failed lately"
        servers.peers.faults[SECOND].break_after_bytes = None
        await until(lambda: servers.healed() == LARGE)


async def test_pauses_grow_up_to_a_bound_and_an_end_of_failing_ends_them() -> None:
    updates = Updates()
    queue = HealQueue(updates)
    updates.reasons[PATH] = "no space"
    loop = asyncio.get_running_loop()
    pauses = []
    for tries in range(1, 10):
        queue.suggest(PATH) if tries == 1 else queue.wake()
        await idle(queue)
        timer = queue._waiting[PATH].timer
        assert timer is not None
        pauses.append(round(timer.when() - loop.time()))
        (failure,) = queue.progress().failures
        assert (failure.path, failure.reason, failure.tries) == (PATH, "no space", tries)
    assert pauses == [min(LAST_PAUSE_S, FIRST_PAUSE_S * 2**n) for n in range(9)]
    del updates.reasons[PATH]
    queue.wake()
    await idle(queue)
    progress = queue.progress()
    assert (progress.queued, progress.waiting, progress.healed, progress.failures) == (0, 0, 1, ())
    await queue.close()


async def test_the_urgent_go_first() -> None:
    updates = Updates()
    queue = HealQueue(updates)
    queue.pause()
    paths = {urgency: FilePath(urgency.name) for urgency in Urgency}
    for urgency in reversed(Urgency):
        queue.suggest(paths[urgency], urgency)
    queue.suggest(FilePath("late"), Urgency.SYNC)
    queue.suggest(FilePath("late"), Urgency.READ)
    queue.suggest(paths[Urgency.READ], Urgency.SYNC)
    queue.resume()
    await idle(queue)
    assert updates.begun == ["READ", "late", "SCAN", "SCRUB", "SYNC"]
    await queue.close()


async def test_who_follows_a_path_learns_how_it_ended() -> None:
    updates = Updates()
    queue = HealQueue(updates)
    updates.reasons[PATH] = "no space"
    first, second = await queue.enqueue(PATH, Urgency.SYNC), await queue.enqueue(PATH, Urgency.READ)
    good = await queue.enqueue(named(1), Urgency.SYNC)
    assert [await first, await second, await good] == ["no space", "no space", None]
    assert await (await queue.enqueue(PATH, Urgency.SYNC)) == "no space", "it is not tried again for that"
    assert sorted(updates.begun) == [named(1), PATH]
    await queue.close()


async def test_what_is_suggested_while_it_is_healed_is_looked_at_once_more() -> None:
    updates = Updates()
    updates.gate.clear()
    queue = HealQueue(updates)
    before = await queue.enqueue(PATH, Urgency.SYNC)
    await until(lambda: updates.begun)
    after = await queue.enqueue(PATH, Urgency.READ)
    queue.suggest(PATH)
    updates.gate.set()
    assert await before is None
    assert await after is None
    await idle(queue)
    assert updates.begun == [PATH, PATH]
    await queue.close()


async def test_who_follows_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal_queue, "MAX_FOLLOWED_PATHS", 3)
    updates = Updates()
    queue = HealQueue(updates)
    queue.pause()
    for number in range(3):
        await queue.enqueue(named(number), Urgency.SYNC)
    more = asyncio.create_task(queue.enqueue(named(3), Urgency.SYNC))
    done, _ = await asyncio.wait([more], timeout=0.05)
    assert not done
    queue.suggest(PATH)
    queue.resume()
    assert await (await more) is None
    assert updates.begun[0] == PATH
    await queue.close()


async def test_the_queue_is_bounded_and_lets_go_of_the_least_urgent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal_queue, "MAX_QUEUED_PATHS", 5)
    monkeypatch.setattr(heal_queue, "MAX_WAITING_PATHS", 3)
    updates = Updates()
    queue = HealQueue(updates)
    queue.pause()
    followed = await queue.enqueue(named(9), Urgency.SYNC)
    for number in range(8):
        queue.suggest(named(number), Urgency.SCAN)
    queue.suggest(PATH)
    progress = queue.progress()
    assert (progress.queued, progress.dropped, progress.paused) == (5, 5, True)
    updates.reasons = dict.fromkeys([PATH, *map(named, range(10))], "no")
    queue.resume()
    assert await followed == "no"
    await idle(queue)
    assert updates.begun == [PATH, named(0), named(1), named(2), named(9)]
    assert (queue.progress().waiting, queue.progress().dropped) == (3, 7)
    await queue.close()


async def test_paused_nothing_is_begun_and_nothing_is_lost() -> None:
    updates = Updates()
    updates.gate.clear()
    queue = HealQueue(updates)
    for number in range(8):
        queue.suggest(named(number))
    await until(lambda: len(updates.begun) == MAX_WORKERS)
    queue.pause()
    updates.gate.set()
    await idle(queue)
    queue.suggest(PATH)
    assert (len(updates.begun), queue.progress().queued) == (MAX_WORKERS, 8 - MAX_WORKERS + 1)
    queue.resume()
    await idle(queue)
    assert len(updates.begun) == 9
    await queue.close()


async def test_a_failure_of_the_code_itself_holds_up_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Updates):
        async def update(self, path: FilePath) -> str | None:
            if path == PATH:
                raise ZeroDivisionError
            return await super().update(path)

    updates = Broken()
    queue = HealQueue(updates)
    ended = await queue.enqueue(PATH, Urgency.SYNC)
    for number in range(8):
        queue.suggest(named(number))
    reason = await ended
    assert reason is not None
    assert "stopping" not in reason  # it is not
    await idle(queue)
    assert len(updates.begun) == 8
    await queue.close()


async def test_what_is_healed_is_no_difference_any_more() -> None:
    async with trio() as servers:
        servers.third.put_outside(PATH, SMALL)
        servers.second.put_outside(PATH, SMALL)
        (await servers.reader.read(PATH)).close()
        assert servers.mine.is_difference(PATH)
        servers.queue.suggest(PATH)
        await drained(servers)
        assert not servers.mine.is_difference(PATH)


async def test_a_difference_that_is_mended_at_once_is_not_remembered_and_not_asked_about_again() -> None:
    async with trio() as servers:
        for store in (servers.second, servers.third):
            store.put_outside(PATH, SMALL)
        noted: list[Kind] = []
        servers.mine.note_verdict = lambda path, kind: noted.append(kind)  # type: ignore[method-assign]
        servers.queue.suggest(PATH)
        await drained(servers)
        assert servers.healed() == SMALL
        assert set(noted) <= {Kind.IDENTICAL}


async def test_a_difference_that_takes_a_while_to_mend_is_one_meanwhile() -> None:
    async with trio() as servers:
        for store in (servers.second, servers.third):
            store.put_outside(PATH, LARGE)
        servers.queue.suggest(PATH)
        await until(lambda: servers.mine.open_stagings)
        assert servers.mine.is_difference(PATH)
        await drained(servers)
        assert servers.healed() == LARGE
        assert not servers.mine.is_difference(PATH)


async def test_a_difference_that_cannot_be_mended_is_remembered() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, SMALL)
        servers.mine.capacity_bytes = 1
        servers.queue.suggest(PATH)
        await drained(servers)
        assert servers.mine.is_difference(PATH)


async def test_a_difference_with_a_server_that_is_silent_stays_one() -> None:
    async with trio() as servers:
        for store in (servers.mine, servers.second):
            store.put_outside(PATH, SMALL)
        (await servers.reader.read(PATH)).close()
        assert servers.mine.is_difference(PATH), "the third has not got it"
        servers.peers.faults[servers.peers.names[1]].down = "gone"
        reading = await servers.reader.read(PATH)
        reading.close()
        assert reading.verdict.kind is Kind.IDENTICAL
        assert servers.mine.is_difference(PATH)


async def test_what_does_not_fit_is_not_fetched_again_and_again() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        servers.mine.capacity_bytes = 10
        for _ in range(3):
            servers.queue.suggest(PATH)
            await drained(servers)
        assert servers.peers.fetched == []


async def test_closing_drops_what_is_under_way_and_leaves_nothing() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        under_way = await servers.queue.enqueue(PATH, Urgency.READ)
        await until(lambda: servers.mine.open_stagings)
        servers.queue.pause()
        queued = await servers.queue.enqueue(named(1), Urgency.SYNC)
        await servers.queue.close()
        await servers.healer.settle()
        assert servers.mine.open_stagings == 0
        servers.queue.suggest(PATH)
        late = await servers.queue.enqueue(PATH, Urgency.READ)
        assert {await under_way, await queued, await late} == {"this server is stopping"}
        assert servers.queue.progress().queued == 0


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


async def test_who_lacks_what_a_scan_has_found_here_is_told() -> None:
    async with trio() as servers:
        for name, urgency in (("by a scan", Urgency.SCAN), ("by a peer", Urgency.SYNC), ("by a read", Urgency.READ)):
            path = FilePath(name)
            servers.mine.put_outside(path, SMALL)
            await servers.mine.examine(path, wait_s=1)
            servers.queue.suggest(path, urgency)
        await drained(servers)
        assert sorted(servers.peers.suggested) == [(SECOND, "by a scan"), (THIRD, "by a scan")]
