"""Ranges of a long copy of one's own: its proof is one pass, whoever waits for it or has gone, and rot does not stay unknown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from accord.engine import own_proofs
from accord.engine.kept import KeptBody
from accord.engine.transfer import CopyFailed
from accord.errors import IntegrityError, StillChecking, StoreFailed
from accord.model.names import Digest
from accord.model.verdict import Damaged, Present
from accord.testing.memory_bytes import MemoryCopy, digest_of
from accord.testing.memory_store import MemoryStore
from tests.engine.trio import LARGE, PATH, Trio, trio, until


class Passes:
    """Holds the passes over files up until they may go on, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.may_go_on = asyncio.Event()
        self.failure: Exception | None = None
        block_digests = MemoryCopy.block_digests

        async def held_up(copy: MemoryCopy) -> Sequence[Digest]:
            self.count += 1
            await self.may_go_on.wait()
            if self.failure is not None:
                raise self.failure
            return await block_digests(copy)

        monkeypatch.setattr(MemoryCopy, "block_digests", held_up)


@pytest.fixture
async def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    return Passes(monkeypatch)


async def everywhere(servers: Trio) -> None:
    for store in (servers.mine, servers.second, servers.third):
        store.put_outside(PATH, LARGE)
        await store.examine(PATH, wait_s=1)


async def test_many_who_want_parts_share_one_pass(passes: Passes) -> None:
    async with trio() as servers:
        await everywhere(servers)
        reading = [asyncio.ensure_future(servers.part(at, at + 1)) for at in range(20)]
        await until(lambda: passes.count)
        passes.may_go_on.set()
        assert b"".join(await asyncio.gather(*reading)) == LARGE[:20]
        assert passes.count == 1


async def test_whoever_comes_again_waits_for_the_same_pass(passes: Passes) -> None:
    async with trio(hash_wait_s=0.01) as servers:
        await everywhere(servers)
        for _ in range(3):
            with pytest.raises(StillChecking, match="checked as a whole") as told:
                await servers.part(10, 20)
            assert told.value.retry_after_s
        assert passes.count == 1
        passes.may_go_on.set()
        await until(lambda: not servers.reader._own_proofs._passes)
        assert await servers.part(10, 20) == LARGE[10:20]


async def test_rot_that_is_found_when_nobody_waits_any_more_is_known_to_the_next_read(
    passes: Passes, caplog: pytest.LogCaptureFixture
) -> None:
    async with trio(hash_wait_s=0.01) as servers:
        await everywhere(servers)
        servers.mine.rot(PATH)
        with pytest.raises(StillChecking):
            await servers.part(10, 20)
        passes.may_go_on.set()
        await until(lambda: not servers.reader._own_proofs._passes)
        reading = await servers.reader.read(PATH)
        reading.close()
        assert isinstance(reading.local, Damaged)
        assert await servers.get() == LARGE, "of another server's copy"
        assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


@pytest.mark.parametrize("failure", [None, StoreFailed("The copy cannot be read.")])
async def test_whoever_still_waits_is_told_when_it_is_found_out(passes: Passes, failure: Exception | None) -> None:
    async with trio() as servers:
        await everywhere(servers)
        servers.mine.rot(PATH)
        passes.failure = failure
        passes.may_go_on.set()
        told = await asyncio.gather(*(servers.part(0, 1) for _ in range(2)), return_exceptions=True)
        assert [type(one) for one in told] == [CopyFailed, CopyFailed]
        assert isinstance(await servers.mine.examine(PATH, wait_s=1), Damaged)


async def test_nobody_looks_for_the_same_damage_twice(passes: Passes, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    find_damage = MemoryStore.find_damage

    async def counted(store: MemoryStore, copy: MemoryCopy) -> object:
        looked.append(copy)
        return await find_damage(store, copy)

    monkeypatch.setattr(MemoryStore, "find_damage", counted)
    async with trio() as servers:
        await everywhere(servers)
        servers.mine.rot(PATH)
        passes.may_go_on.set()
        for failure in await asyncio.gather(*(servers.part(0, 1) for _ in range(3)), return_exceptions=True):
            assert isinstance(failure, CopyFailed)
            await servers.reader.copy_failed(failure)
        assert len(looked) == 1


async def test_a_file_that_was_rewritten_meanwhile_is_read_anew(passes: Passes) -> None:
    async with trio() as servers:
        await everywhere(servers)
        reading, body = await servers.body()
        servers.mine.put_outside(PATH, LARGE[::-1], in_place=True)
        passes.may_go_on.set()
        with pytest.raises(CopyFailed):
            _ = [block async for block in body.part(0, 1)]
        reading.close()
        held = await servers.mine.examine(PATH, wait_s=1)
        assert isinstance(held, Present)
        assert held.digest == digest_of(LARGE[::-1])


async def test_a_kept_version_that_rotted_is_out_of_the_way_once_that_is_found_out(passes: Passes) -> None:
    async with trio() as servers:
        digest = digest_of(LARGE)
        servers.mine.kept[PATH] = {digest: servers.mine.new_file(LARGE)}
        servers.mine.rot_version(PATH, digest)
        passes.may_go_on.set()
        body = KeptBody(servers.mine, PATH, digest, len(LARGE), None, proofs=servers.reader._own_proofs)
        with pytest.raises(IntegrityError, match="is damaged"):
            _ = [block async for block in body.part(0, 1)]
        assert servers.mine.quarantine
        with pytest.raises(IntegrityError, match="has lost"):
            _ = [block async for block in body.part(0, 1)]


async def test_closing_ends_a_pass_that_has_not_begun(passes: Passes) -> None:
    async with trio(hash_wait_s=0) as servers:
        await everywhere(servers)
        with pytest.raises(StillChecking):
            await servers.part(10, 20)


async def test_so_many_at_once_and_no_more(passes: Passes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_proofs, "MAX_AT_ONCE", 0)
    async with trio() as servers:
        await everywhere(servers)
        with pytest.raises(StillChecking, match="Other files") as told:
            await servers.part(10, 20)
        assert told.value.retry_after_s
