"""What every store keeps while bytes are taken in and nothing is decided yet. Part of the store conformance suite."""

from __future__ import annotations

import asyncio
from mmap import mmap

import pytest

from accord.errors import DiskFull
from accord.model.names import FilePath
from accord.model.verdict import Absent
from accord.store import port
from accord.store.port import Incoming
from accord.testing.conformance import (
    HELLO,
    WAIT_S,
    Disk,
    bytes_of,
    committed,
    listed,
    looked,
    present,
    put,
    received,
    take_in,
    theirs,
    version_of,
)
from accord.testing.conformance import change_to as change
from accord.testing.memory_bytes import digest_of

ELSEWHERE = FilePath("folder/other.txt")


async def use(disk: Disk, incoming: Incoming | None, content: bytes) -> None:
    """What was duplicated is as good as what was received."""
    assert incoming is not None
    assert (incoming.size, await incoming.finish()) == (len(content), digest_of(content))
    path = FilePath("used.txt")
    before = (await disk.store.examine(path, wait_s=WAIT_S)).clock  # type: ignore[union-attr]
    await committed(disk.store, change(before, version_of(content), path=path, incoming=(incoming,)))
    assert disk.content(path) == content


class IncomingConformance:
    async def test_bytes_are_counted_and_hashed_while_they_come(self, disk: Disk) -> None:
        incoming = await disk.store.receive(None)
        assert (incoming.size, incoming.digest) == (0, digest_of(b""))
        await incoming.write(b"one")
        assert (incoming.size, incoming.digest) == (3, digest_of(b"one"))
        await incoming.write(b"")
        await incoming.write(b" two")
        assert (incoming.size, incoming.digest) == (7, digest_of(b"one two"))
        assert await incoming.finish() == await incoming.finish() == digest_of(b"one two")
        assert incoming.digest == digest_of(b"one two")
        await incoming.abort()

    async def test_what_is_dropped_leaves_nothing(self, disk: Disk) -> None:
        for blocks, is_finished in ([], False), ([b"never"], False), ([b"never", b" mind"], True), ([], True):
            incoming = await disk.store.receive(10)
            for block in blocks:
                await incoming.write(block)
            if is_finished:
                await incoming.finish()
            await incoming.abort()
            await incoming.abort()
        assert await disk.store.examine(HELLO, wait_s=WAIT_S) == Absent()
        assert listed(disk.store) == []

    async def test_bytes_on_their_way_are_nobodys_copy(self, disk: Disk) -> None:
        incoming = await received(disk.store, b"nobody's")
        assert listed(disk.store) == []
        assert await disk.store.duplicate(None, digest_of(b"nobody's")) is None
        assert await disk.store.open_version(HELLO, digest_of(b"nobody's")) is None
        await incoming.abort()

    async def test_any_size_is_taken_in(self, disk: Disk) -> None:
        for size in (0, 1, port.BLOCK_BYTES, 2 * port.BLOCK_BYTES + 1):
            content = bytes([size % 251]) * size
            answer = await put(disk.store, content, FilePath(f"{size}.bin"))
            assert (answer.digest, answer.size) == (digest_of(content), size)
            assert disk.content(f"{size}.bin") == content

    @pytest.mark.parametrize("is_read_soon", [True, False])
    @pytest.mark.parametrize("more_bytes", [0, 1, port.BLOCK_BYTES // 2])
    @pytest.mark.parametrize("block_bytes", [100_000, port.BLOCK_BYTES])
    async def test_memory_may_change_once_as_much_again_was_written(
        self, disk: Disk, is_read_soon: bool, more_bytes: int, block_bytes: int
    ) -> None:
        content = b"".join(bytes([number]) * port.BLOCK_BYTES for number in range(12)) + b"!" * more_bytes
        incoming = await disk.store.receive(len(content), is_read_soon=is_read_soon)
        before, now = (memoryview(mmap(-1, block_bytes)) for _ in range(2))
        for at in range(0, len(content), block_bytes):
            block = content[at : at + block_bytes]
            now[: len(block)] = block
            await incoming.write(now[: len(block)])
            if len(block) == block_bytes:
                before[:] = b"?" * block_bytes
            before, now = now, before
        await incoming.finish()
        before[:] = now[:] = b"?" * block_bytes
        await use(disk, incoming, content)

    async def test_what_cannot_fit_is_refused_at_once(self, disk: Disk) -> None:
        with pytest.raises(DiskFull):
            await disk.store.receive(1 << 60)
        assert disk.store.takes_in()

    async def test_several_are_taken_in_at_once(self, disk: Disk) -> None:
        first, second = await disk.store.receive(3), await disk.store.receive(3)
        await asyncio.gather(first.write(b"one"), second.write(b"two"))
        assert list(await asyncio.gather(first.finish(), second.finish())) == [digest_of(b"one"), digest_of(b"two")]
        await first.abort()
        await use(disk, second, b"two")

    async def test_what_is_at_the_path_is_duplicated(self, disk: Disk) -> None:
        disk.write(HELLO, b"found")
        await present(disk.store)
        incoming = await disk.store.duplicate(HELLO, digest_of(b"found"))
        disk.rewrite(HELLO, b"other")  # it is a copy of its own
        await use(disk, incoming, b"found")

    async def test_a_rival_that_is_kept_aside_is_duplicated(self, disk: Disk) -> None:
        await put(disk.store, b"mine")
        await take_in(disk.store, theirs(b"theirs"), b"theirs")
        for path in (HELLO, None):
            await use(disk, await disk.store.duplicate(path, digest_of(b"theirs")), b"theirs")

    async def test_what_was_superseded_is_duplicated(self, disk: Disk) -> None:
        await put(disk.store, b"old")
        await put(disk.store, b"new")
        for path in (HELLO, None):
            await use(disk, await disk.store.duplicate(path, digest_of(b"old")), b"old")

    async def test_content_is_found_at_any_path_where_none_is_said(self, disk: Disk) -> None:
        await put(disk.store, b"elsewhere", ELSEWHERE)
        await use(disk, await disk.store.duplicate(None, digest_of(b"elsewhere")), b"elsewhere")

    async def test_content_of_another_path_is_not_the_paths(self, disk: Disk) -> None:
        await put(disk.store, b"elsewhere", ELSEWHERE)
        assert await disk.store.duplicate(HELLO, digest_of(b"elsewhere")) is None

    async def test_what_nobody_has_is_not_duplicated(self, disk: Disk) -> None:
        await put(disk.store, b"something")
        for path in (HELLO, None):
            assert await disk.store.duplicate(path, digest_of(b"nothing like it")) is None

    async def test_rotten_bytes_are_not_duplicated(self, disk: Disk) -> None:
        await put(disk.store, b"old")
        await put(disk.store, b"new")
        disk.rot(HELLO)
        disk.rot_version(HELLO, digest_of(b"old"))
        for content in (b"old", b"new"):
            for path in (HELLO, None):
                assert await disk.store.duplicate(path, digest_of(content)) is None

    async def test_kept_bytes_that_were_found_to_be_rotten_make_room_for_good_ones(self, disk: Disk) -> None:
        """A rival comes whose bytes are thought to be here already, from another time."""
        await put(disk.store, b"old")
        await put(disk.store, b"new")
        disk.rot_version(HELLO, digest_of(b"old"))
        assert await disk.store.duplicate(None, digest_of(b"old")) is None
        await take_in(disk.store, theirs(b"old", (await looked(disk.store)).clock, seen={}), b"old")
        assert await bytes_of(disk.store, digest_of(b"old")) == b"old"

    async def test_deciding_on_a_path_is_one_after_the_other(self, disk: Disk) -> None:
        steps: list[str] = []

        async def decide(name: str, *paths: FilePath) -> None:
            async with disk.store.locked(*paths):
                steps.append(f"{name} begins")
                await disk.store.examine(HELLO, wait_s=WAIT_S)
                for _ in range(5):
                    await asyncio.sleep(0)
                steps.append(f"{name} ends")

        await asyncio.gather(decide("a", HELLO, ELSEWHERE), decide("b", ELSEWHERE, HELLO), decide("c", HELLO, HELLO))
        assert [step[0] for step in steps[::2]] == [step[0] for step in steps[1::2]]
        assert sorted(step[0] for step in steps) == sorted("aabbcc")

    async def test_other_paths_and_reads_are_not_held_up(self, disk: Disk) -> None:
        async with disk.store.locked(HELLO):
            async with disk.store.locked(ELSEWHERE):
                await put(disk.store, b"content", ELSEWHERE)
            assert (await present(disk.store, ELSEWHERE)).digest == digest_of(b"content")

    async def test_who_is_thrown_out_lets_the_path_go(self, disk: Disk) -> None:
        with pytest.raises(KeyError):
            async with disk.store.locked(HELLO):
                raise KeyError
        async with asyncio.timeout(WAIT_S), disk.store.locked(HELLO):
            pass
