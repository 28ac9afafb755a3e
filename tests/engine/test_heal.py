"""Healing on the way: what is taken in, what is not, and that no reader pays for it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import cast

import pytest

from accord.engine.heal import MAX_HEALS_AT_ONCE, STALLED_S, Healer, HealingTee
from accord.errors import StoreFailed
from accord.model.names import FilePath
from accord.model.verdict import Answer, Verdict, compare
from accord.store.port import BLOCK_BYTES, Incoming, Store
from accord.testing.memory_store import MemoryStore
from tests.engine.trio import LARGE, ME, PATH, SECOND, SMALL, Clock, trio, until


async def partial(store: MemoryStore, path: FilePath = PATH, content: bytes = LARGE) -> tuple[Verdict, Answer]:
    """server1 lacks what server2 has."""
    other = MemoryStore(SECOND, {path: content})
    mine = await store.examine(path, wait_s=1)
    return compare(path, {ME: mine, SECOND: await other.examine(path, wait_s=1)}), mine


async def tee_of(healer: Healer, store: MemoryStore, path: FilePath = PATH, content: bytes = LARGE) -> HealingTee:
    tee = healer.tee(*await partial(store, path, content))
    assert tee is not None
    return tee


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(ME)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def given_up() -> list[FilePath]:
    return []


@pytest.fixture
def healer(store: MemoryStore, clock: Clock, given_up: list[FilePath]) -> Healer:
    return Healer(store, now_s=clock, given_up=given_up.append)


class Gated:
    """A store that stages and writes only once it is let go."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.staging = asyncio.Event()
        self.writing = asyncio.Event()
        self.at_work = asyncio.Event()
        self.aborted_at_work = False
        self._writing_now = False

    def takes_in(self) -> bool:
        return True

    async def is_estranged(self, path: FilePath) -> bool:
        return await self.store.is_estranged(path)

    async def receive(self, size: int | None) -> Incoming:
        incoming = await self.store.receive(size)
        self.at_work.set()
        await self.staging.wait()
        gated, real_write, real_abort = self, incoming.write, incoming.abort

        async def write(block: bytes) -> None:
            gated._writing_now = True
            gated.at_work.set()
            await gated.writing.wait()
            await real_write(block)
            gated._writing_now = False

        async def abort() -> None:
            gated.aborted_at_work |= gated._writing_now
            await real_abort()

        incoming.write, incoming.abort = write, abort  # type: ignore[method-assign]
        return incoming


async def test_what_passes_by_and_is_proven_becomes_the_copy(healer: Healer, store: MemoryStore) -> None:
    tee = await tee_of(healer, store, content=SMALL)
    await tee.write(SMALL[:4])
    await tee.write(SMALL[4:])
    tee.proven()
    await healer.settle()
    await tee.failed()
    assert store.files[PATH].content == SMALL
    assert store.open_stagings == 0
    assert healer.makes_room(PATH)


async def test_healing_twice_changes_nothing(healer: Healer, store: MemoryStore) -> None:
    tees = [await tee_of(healer, store, content=SMALL) for _ in range(2)]
    for tee in tees:
        await tee.write(SMALL)
        tee.proven()
        await healer.settle()
        first = store.records[PATH]
    assert store.records[PATH] == first
    assert store.open_stagings == 0


async def test_what_was_not_proven_leaves_nothing(healer: Healer, store: MemoryStore) -> None:
    tee = await tee_of(healer, store)
    await tee.write(b"half of")
    await tee.failed()
    await tee.write(b"it")
    tee.proven()
    await healer.settle()
    assert (store.files, store.open_stagings) == ({}, 0)
    assert healer.makes_room(PATH)


async def test_a_full_disk_is_no_matter_of_the_reader_s(healer: Healer, store: MemoryStore) -> None:
    store.capacity_bytes = 3
    tee = await tee_of(healer, store)
    await tee.write(b"more than that")
    await tee.write(b"and more")
    tee.proven()
    await healer.settle()
    assert (store.files, store.open_stagings) == ({}, 0)
    assert healer.makes_room(PATH)


async def test_bytes_of_another_version_are_not_committed(healer: Healer, store: MemoryStore) -> None:
    tee = await tee_of(healer, store, content=SMALL)
    await tee.write(SMALL[::-1])
    tee.proven()
    await healer.settle()
    assert (store.files, store.open_stagings) == ({}, 0)
    assert healer.makes_room(PATH)


async def test_a_degraded_store_is_not_asked(healer: Healer, store: MemoryStore) -> None:
    store.broken = "a write could not be made durable"
    assert healer.tee(*await partial(store)) is None


async def test_a_full_disk_keeps_nothing_from_being_tried(
    healer: Healer, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "degraded", lambda: "its disk is full")  # what does not fit is refused by itself
    tee = await tee_of(healer, store, content=SMALL)
    await tee.write(SMALL)
    tee.proven()
    await healer.settle()
    assert store.files[PATH].content == SMALL


async def test_one_healing_a_path(healer: Healer, store: MemoryStore) -> None:
    first, second = [await tee_of(healer, store, content=SMALL) for _ in range(2)]
    await first.write(SMALL)
    await second.write(SMALL)
    assert store.open_stagings == 1
    await second.failed()
    assert not healer.makes_room(PATH), "it was the first one's place"
    first.proven()
    await healer.settle()
    assert store.files[PATH].content == SMALL


async def test_healings_are_bounded(healer: Healer, store: MemoryStore) -> None:
    tees = [await tee_of(healer, store, FilePath(f"{number}")) for number in range(MAX_HEALS_AT_ONCE + 1)]
    for tee in tees:
        await tee.write(b"begun")
    assert store.open_stagings == MAX_HEALS_AT_ONCE
    for tee in tees:
        await tee.failed()
    assert store.open_stagings == 0


async def test_a_stalled_reader_s_healing_gives_way_and_is_not_forgotten(
    healer: Healer, store: MemoryStore, clock: Clock, given_up: list[FilePath]
) -> None:
    tees = [await tee_of(healer, store, FilePath(f"{number}")) for number in range(MAX_HEALS_AT_ONCE)]
    for tee in tees:
        await tee.write(b"begun")
    clock.now_s += STALLED_S / 2
    await tees[0].write(b"a little")
    clock.now_s += STALLED_S / 2
    another = await tee_of(healer, store, content=SMALL)
    await another.write(SMALL)
    another.proven()
    await healer.settle()
    assert store.files[PATH].content == SMALL
    assert given_up == [FilePath("1")], "the one that moved lately keeps its place"
    await tees[1].write(b"too late")
    tees[1].proven()
    for tee in tees:
        await tee.failed()
    await healer.settle()
    assert store.open_stagings == 0
    assert list(store.files) == [PATH]


async def test_a_stalled_healing_of_the_same_path_gives_way_too(
    healer: Healer, store: MemoryStore, clock: Clock, given_up: list[FilePath]
) -> None:
    slow, quick = [await tee_of(healer, store, content=SMALL) for _ in range(2)]
    await slow.write(SMALL[:1])
    clock.now_s += STALLED_S
    await quick.write(SMALL)
    await until(lambda: store.open_stagings == 1)
    assert not healer.makes_room(PATH), "the place is the quick one's, also once the slow one has ended"
    quick.proven()
    await healer.settle()
    assert store.files[PATH].content == SMALL
    assert given_up == [], "somebody is at it"
    await slow.failed()
    assert store.open_stagings == 0


async def test_a_slow_disk_is_no_slow_reader(store: MemoryStore, clock: Clock) -> None:
    gated = Gated(store)
    healer = Healer(cast(Store, gated), now_s=clock)
    tee = await tee_of(healer, store)
    writing = asyncio.create_task(tee.write(b"a block"))
    await gated.at_work.wait()
    clock.now_s += 10 * STALLED_S
    assert not healer.makes_room(PATH)
    gated.staging.set()
    gated.writing.set()
    await writing
    assert not healer.makes_room(PATH), "it has just moved"
    await tee.failed()


async def test_a_reader_that_goes_away_while_it_is_staged_leaves_nothing(store: MemoryStore, clock: Clock) -> None:
    gated = Gated(store)
    healer = Healer(cast(Store, gated), now_s=clock)
    tee = await tee_of(healer, store)
    writing = asyncio.create_task(tee.write(b"a block"))
    await gated.at_work.wait()
    writing.cancel()
    await asyncio.wait([writing])
    assert writing.cancelled()
    leaving = asyncio.create_task(tee.failed())
    gated.staging.set()
    gated.writing.set()
    await leaving
    await healer.settle()
    assert store.open_stagings == 0
    assert healer.makes_room(PATH)


async def test_a_write_under_way_is_never_aborted_under_its_hands(store: MemoryStore, clock: Clock) -> None:
    gated = Gated(store)
    gated.staging.set()
    healer = Healer(cast(Store, gated), now_s=clock)
    tee = await tee_of(healer, store)
    writing = asyncio.create_task(tee.write(b"a block"))
    await until(lambda: gated._writing_now)
    writing.cancel()
    await asyncio.wait([writing])
    leaving = asyncio.create_task(tee.failed())
    await asyncio.sleep(0)
    leaving.cancel()  # and cancelled once more: the healer ends it all the same
    await asyncio.wait([leaving])
    gated.writing.set()
    await healer.settle()
    assert not gated.aborted_at_work
    assert store.open_stagings == 0
    assert healer.makes_room(PATH)


async def test_a_store_that_cannot_drop_a_staging_gives_its_place_back(healer: Healer, store: MemoryStore) -> None:
    tee = await tee_of(healer, store)
    await tee.write(b"begun")

    async def refuse() -> None:
        raise StoreFailed("no more")

    assert tee._incoming is not None
    tee._incoming.abort = refuse  # type: ignore[method-assign]
    await tee.failed()
    assert healer.makes_room(PATH)


# --- with a reader ---


async def test_a_reader_that_goes_away_midway_leaves_nothing() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        reading, body = await servers.body()
        async with aclosing(body.blocks()) as blocks:  # type: ignore[type-var]
            await anext(blocks)
            assert servers.mine.open_stagings == 1
        reading.close()
        assert servers.mine.open_stagings == 0
        assert servers.healed() is None


async def test_a_damaged_copy_is_replaced_by_the_one_that_passes_by() -> None:
    async with trio() as servers:
        for store in (servers.mine, servers.second):
            store.put_outside(PATH, SMALL)
            await store.examine(PATH, wait_s=1)
        servers.mine.rot(PATH)
        await servers.mine.examine(PATH, wait_s=1, reread=True)
        assert await servers.get() == SMALL
        await servers.healer.settle()
        assert servers.healed() == SMALL


async def test_an_update_takes_in_what_lacks_and_nothing_else() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        servers.second.put_outside("same.txt", SMALL)
        servers.mine.put_outside("same.txt", SMALL)
        for path in (PATH, FilePath("same.txt"), FilePath("nowhere")):
            assert await servers.updater.update(path) is None
        assert servers.healed() == LARGE
        assert [path for _, path, *_ in servers.peers.fetched] == [PATH]


async def test_blocks_reach_the_reader_whatever_the_store_says() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        servers.mine.capacity_bytes = BLOCK_BYTES
        assert await servers.get() == LARGE
        assert servers.healed() is None
