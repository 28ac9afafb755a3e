"""A long version is made out of what is here of its path: only what is lacking is fetched, and nothing is believed without proof."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest

from accord.engine import delta
from accord.engine.delta import LEAST_BYTES
from accord.errors import PeerUnreachable, StoreFailed
from accord.model.chunks import Chunk, ChunkList, runs_of
from accord.model.names import Digest, FilePath, ServerName
from accord.store.chunking import MOST_CHUNK_BYTES
from accord.testing.memory_bytes import MemoryBase, chunks_of, digest_of
from tests.engine.servers import PATH, Node, Servers, servers

MIB = 1024 * 1024
OLD = random.Random(1).randbytes(8 * MIB)
INSERTED = random.Random(2).randbytes(300_000)
NEW = OLD[: 5 * MIB] + INSERTED + OLD[5 * MIB :]
OTHER = random.Random(3).randbytes(8 * MIB)
FEW_BYTES = len(INSERTED) + 3 * MOST_CHUNK_BYTES


@asynccontextmanager
async def one_behind(count: int = 2, *, old: bytes = OLD, new: bytes = NEW) -> AsyncIterator[Servers]:
    """All but the first server have the version `new`; the first was away, and has `old`."""
    async with servers(count) as some:
        await some[1].put(old)
        some.down(0)
        await some[1].put(new)
        some.up(0)
        yield some


async def update(node: Node, expected: bytes = NEW) -> None:
    assert await node.updater.update(PATH) is None
    assert node.store.files[PATH].content == expected


def fetched_whole(node: Node) -> list[ServerName]:
    """From whom anything was fetched from its beginning to its end."""
    return [server for server, _, start, stop in node.peers.fetched if (start, stop) == (0, None)]


def first_asked(node: Node, other: Node) -> None:
    """Of all holders `node` turns to `other` first."""
    node.reader._holders._turn = list(node.peers.names).index(other.name)


def telling(node: Node, told: Sequence[Chunk]) -> None:
    """Every server tells `node` these chunks, whatever it holds."""

    async def chunks(server: ServerName, path: FilePath, digest: Digest) -> Sequence[Chunk]:
        return told

    node.peers.chunks = chunks  # type: ignore[method-assign]


async def test_what_was_inserted_is_all_that_moves() -> None:
    async with one_behind() as some:
        await update(some[0])
        moved = some[0].reader.moved
        assert len(INSERTED) <= moved.fetched_bytes <= FEW_BYTES
        assert moved.fetched_bytes + moved.reused_bytes == len(NEW)
        assert not fetched_whole(some[0])


async def test_whoever_wants_it_at_the_same_time_waits_for_the_one_transfer() -> None:
    async with one_behind() as some:
        assert await asyncio.gather(*(some[0].updater.update(PATH) for _ in range(3))) == [None] * 3
        moved = some[0].reader.moved
        assert moved.fetched_bytes + moved.reused_bytes == len(NEW)


async def test_a_rotten_copy_is_mended_with_one_chunk() -> None:
    async with servers() as some:
        await some[0].put(OLD)
        some[0].store.rot(PATH)
        await some[0].store.examine(PATH, wait_s=5, reread=True)
        await update(some[0], OLD)
        assert 0 < some[0].reader.moved.fetched_bytes <= MOST_CHUNK_BYTES


async def test_a_former_version_is_used_where_the_one_at_the_path_is_of_no_use() -> None:
    async with servers() as some:
        await some[1].put(OLD)
        await some[1].put(OTHER)
        some.down(0)
        await some[1].put(NEW)
        some.up(0)
        await update(some[0])
        assert some[0].reader.moved.fetched_bytes <= FEW_BYTES


async def test_a_further_version_is_not_read_where_one_has_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    async with servers() as some:
        await some[1].put(OTHER)
        await some[1].put(OLD)
        some.down(0)
        await some[1].put(NEW)
        some.up(0)
        cut: list[int] = []
        plain = MemoryBase.chunks

        async def counted(base: MemoryBase) -> ChunkList:
            cut.append(base.size)
            return await plain(base)

        monkeypatch.setattr(MemoryBase, "chunks", counted)
        await update(some[0])
        assert len(cut) == 1


async def test_content_that_shares_nothing_is_fetched_as_a_whole() -> None:
    async with one_behind(new=OTHER) as some:
        await update(some[0], OTHER)
        assert fetched_whole(some[0]) == ["server2"]
        assert (some[0].reader.moved.fetched_bytes, some[0].reader.moved.reused_bytes) == (len(OTHER), 0)


@pytest.mark.parametrize("size", [LEAST_BYTES - 1, 100])
async def test_short_content_is_fetched_without_further_questions(size: int) -> None:
    async with one_behind(old=OLD[:size], new=NEW[100 : 100 + size]) as some:
        some[0].peers.chunks = _never_asked  # type: ignore[method-assign]
        await update(some[0], NEW[100 : 100 + size])


async def test_a_new_path_is_fetched_without_further_questions() -> None:
    async with servers() as some:
        some.down(0)
        await some[1].put(NEW)
        some.up(0)
        some[0].peers.chunks = _never_asked  # type: ignore[method-assign]
        await update(some[0])


async def _never_asked(*_: object) -> Sequence[Chunk]:
    raise AssertionError("asked for chunks")


# What is here turns out to be something else.


async def test_a_base_that_rots_meanwhile_costs_the_chunk_that_rotted() -> None:
    async with one_behind() as some:
        told = chunks_of(NEW)

        async def rotting(server: ServerName, path: FilePath, digest: Digest) -> Sequence[Chunk]:
            some[0].store.rot(PATH)
            return told

        some[0].peers.chunks = rotting  # type: ignore[method-assign]
        await update(some[0])
        assert (some[1].name, PATH, 0, told[0].size) in some[0].peers.fetched


async def test_a_base_that_cannot_be_read_everywhere_is_used_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = MemoryBase.read

    async def read(base: MemoryBase, offset: int, length: int) -> bytes:
        if offset <= 2 * MIB < offset + length:
            raise StoreFailed("The copy cannot be read: Input/output error.")
        return await plain(base, offset, length)

    monkeypatch.setattr(MemoryBase, "read", read)
    async with one_behind() as some:
        await update(some[0])
        assert not fetched_whole(some[0])
        assert some[0].reader.moved.fetched_bytes <= FEW_BYTES + MOST_CHUNK_BYTES


async def test_a_base_that_was_cut_off_lacks_its_end_in_one_range(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = MemoryBase.read

    async def read(base: MemoryBase, offset: int, length: int) -> bytes:
        return (await plain(base, offset, length))[: max(0, 6 * MIB - offset)]

    monkeypatch.setattr(MemoryBase, "read", read)
    async with one_behind() as some:
        await update(some[0])
        assert len(some[0].peers.fetched) == 2
        assert not fetched_whole(some[0])


async def test_a_base_that_cannot_be_cut_is_no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    async def chunks(base: MemoryBase) -> ChunkList:
        raise StoreFailed("Reading a copy failed: Input/output error.")

    monkeypatch.setattr(MemoryBase, "chunks", chunks)
    async with one_behind() as some:
        await update(some[0])
        assert fetched_whole(some[0])


# What others say and send turns out to be wrong.


async def test_another_holder_takes_over_at_the_chunk_where_one_breaks_off() -> None:
    """Not at the byte: a chunk is proven as a whole. The second of the chunks that are lacking comes in half."""
    (lacking,) = [run for run in runs_of(chunks_of(NEW), [chunks_of(OLD)]) if run.base is None]
    assert lacking.stop - lacking.first > 1
    first_size = chunks_of(NEW)[lacking.first].size
    async with one_behind(3) as some:
        some[0].peers.faults[some[1].name].break_after_bytes = first_size + 1000
        first_asked(some[0], some[1])
        await update(some[0])
        assert [(server, start) for server, _, start, _ in some[0].peers.fetched] == [
            (some[1].name, lacking.start),
            (some[2].name, lacking.start + first_size),
        ]


async def test_a_holder_that_ends_too_early_without_a_word_is_followed_too() -> None:
    async with one_behind(3) as some:
        some[0].peers.faults[some[1].name].break_after_bytes = 1000
        some[0].peers.faults[some[1].name].ends_there = True
        first_asked(some[0], some[1])
        await update(some[0])
        assert not fetched_whole(some[0])


async def test_a_wrong_byte_on_the_way_is_noticed_and_the_version_fetched_from_another() -> None:
    async with one_behind(3) as some:
        some[0].peers.faults[some[1].name].flip_at = 5 * MIB + 1000
        first_asked(some[0], some[1])
        await update(some[0])
        assert some[0].peers.doubted == [(some[1].name, PATH)]
        assert fetched_whole(some[0]) == [some[2].name]


@pytest.mark.parametrize(
    "told",
    [
        [*chunks_of(OLD), Chunk(len(INSERTED), digest_of(INSERTED))],  # of another content of that length
        [Chunk(one.size, digest_of(bytes([number % 256]))) for number, one in enumerate(chunks_of(NEW))],
        [Chunk(len(NEW) - len(OLD), digest_of(b"")), *chunks_of(OLD)],  # of nothing that can be fetched
        [Chunk(len(NEW), digest_of(NEW))],
    ],
    ids=["other", "unknown", "unfetchable", "one"],
)
async def test_wrong_chunks_cost_no_more_than_the_whole(told: Sequence[Chunk]) -> None:
    async with one_behind() as some:
        telling(some[0], told)
        await update(some[0])
        assert fetched_whole(some[0]) == ["server2"]
        assert some[0].reader.moved.fetched_bytes <= 2 * len(NEW)


@pytest.mark.parametrize(
    "told",
    [chunks_of(OLD), [*chunks_of(NEW), Chunk(0, digest_of(b""))], []],
    ids=["of another length", "with an empty one", "none"],
)
async def test_chunks_that_cannot_be_are_not_even_tried(told: Sequence[Chunk]) -> None:
    async with one_behind() as some:
        telling(some[0], told)
        await update(some[0])
        assert some[0].peers.fetched == [(some[1].name, PATH, 0, None)]
        assert not some[0].peers.doubted


async def test_chunks_too_long_to_be_held_in_memory_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "MAX_CHUNK_BYTES", 100_000)
    async with one_behind() as some:
        await update(some[0])
        assert some[0].peers.fetched == [(some[1].name, PATH, 0, None)]


async def test_chunks_that_are_all_here_and_of_another_version_make_nothing() -> None:
    async with one_behind(new=OTHER) as some:
        telling(some[0], chunks_of(OLD))
        await update(some[0], OTHER)
        assert fetched_whole(some[0]) == ["server2"]
        assert some[0].peers.doubted == [("server2", PATH)]


async def test_what_one_server_told_and_another_does_not_have_is_blamed_on_nobody() -> None:
    async with one_behind(3) as some:
        telling(some[0], [Chunk(len(NEW) - len(OLD), digest_of(b"")), *chunks_of(OLD)])
        some[0].peers.faults[some[1].name].break_after_bytes = 0
        first_asked(some[0], some[1])
        await update(some[0])
        assert not some[0].peers.doubted


async def test_a_holder_that_cannot_tell_is_passed_over() -> None:
    async with one_behind(3) as some:
        plain = some[0].peers.chunks

        async def chunks(server: ServerName, path: FilePath, digest: Digest) -> Sequence[Chunk]:
            if server == some[1].name:
                raise PeerUnreachable("broke off")
            return await plain(server, path, digest)

        some[0].peers.chunks = chunks  # type: ignore[method-assign]
        first_asked(some[0], some[1])
        await update(some[0])
        assert some[0].reader.moved.fetched_bytes <= FEW_BYTES


async def test_a_connection_that_is_lost_once_costs_no_transfer_of_the_whole() -> None:
    async with one_behind() as some:
        plain = some[0].peers.fetch
        asked: list[int] = []

        async def fetch(
            server: ServerName, path: FilePath, digest: Digest, *, start: int = 0, stop: int | None = None
        ) -> AsyncGenerator[bytes, None]:
            asked.append(start)
            async with aclosing(plain(server, path, digest, start=start, stop=stop)) as pieces:
                async for piece in pieces:
                    if len(asked) == 1:
                        raise PeerUnreachable("connection lost")
                    yield piece

        some[0].peers.fetch = fetch  # type: ignore[method-assign]
        await update(some[0])
        assert len(asked) == 2
        assert not fetched_whole(some[0])


async def test_where_nobody_delivers_nothing_is_left_behind() -> None:
    async with one_behind() as some:
        some[0].peers.faults[some[1].name].break_after_bytes = 0
        assert await some[0].updater.update(PATH) is not None
        assert some[0].store.files[PATH].content == OLD


async def test_where_there_is_no_space_it_fails_and_leaves_nothing_behind() -> None:
    async with one_behind() as some:
        some[0].store.capacity_bytes = 6 * MIB
        assert await some[0].updater.update(PATH) == "There is no space left"
        some[0].store.capacity_bytes = None
        await update(some[0])


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_was_edited_the_result_is_the_version(seed: int) -> None:
    dice = random.Random(seed)
    edited = bytearray(OLD)
    for _ in range(dice.randrange(1, 8)):
        at, length = dice.randrange(len(edited)), dice.choice((1, 1000, 700_000))
        match dice.randrange(4):
            case 0:
                edited[at:at] = dice.randbytes(length)
            case 1:
                del edited[at : at + length]
            case 2:
                edited[at : at + length] = dice.randbytes(length)
            case 3:
                source = dice.randrange(len(edited))
                edited[at:at] = edited[source : source + length]
    async with one_behind(new=bytes(edited)) as some:
        await update(some[0], bytes(edited))
        assert some[0].reader.moved.fetched_bytes < len(edited)
