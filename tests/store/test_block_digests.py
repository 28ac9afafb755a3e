"""The digests of blocks: found in one pass that all share who want them and that ends with the store, and kept within a bound."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import Unavailable
from accord.model.names import DIGEST_BYTES, FilePath
from accord.store import content_lists
from accord.store.block_digests import BlockDigests, BlockHasher, Readinto, RecentBlocks, hash_blocks
from accord.store.port import BLOCK_BYTES, Copy, is_answer
from accord.testing.memory_bytes import digest_of
from tests.store.disks import DirectoryDisk, open_disk

PATH = FilePath("image.bin")
CONTENT = blake3(b"content of some blocks").digest(length=3 * BLOCK_BYTES + 321)
BLOCKS = [digest_of(CONTENT[at : at + BLOCK_BYTES]) for at in range(0, len(CONTENT), BLOCK_BYTES)]


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[DirectoryDisk]:
    (tmp_path / PATH).write_bytes(CONTENT)
    async with open_disk(tmp_path) as one:
        yield one


async def opened(disk: DirectoryDisk) -> Copy:
    held = await disk.store.open(PATH, wait_s=20)
    assert not is_answer(held), held
    return held


@given(st.lists(st.integers(1, len(CONTENT)), max_size=6))
def test_blocks_are_the_same_in_whatever_pieces_they_come(ends: list[int]) -> None:
    hasher, at = BlockHasher(), 0
    for end in (*sorted(ends), len(CONTENT)):
        hasher.update(CONTENT[at:end])
        at = end
    assert list(hasher.digests()) == BLOCKS
    assert hasher.hashed_bytes == len(CONTENT)


def test_nothing_has_no_blocks() -> None:
    assert list(BlockHasher().digests()) == []


async def test_readers_of_one_content_share_one_pass(disk: DirectoryDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[Readinto] = []

    def counted(content: Readinto) -> object:
        passes.append(content)
        return hash_blocks(content)

    monkeypatch.setattr(content_lists, "hash_blocks", counted)
    copies = [await opened(disk) for _ in range(4)]
    told = await asyncio.gather(*(copy.block_digests() for copy in copies))
    for copy in copies:
        copy.close()
    assert [list(one) for one in told] == [BLOCKS] * 4
    assert len(passes) == 1


async def test_a_store_that_is_closed_does_not_wait_for_a_pass(
    disk: DirectoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on = threading.Event(), threading.Event()

    def held_up(content: Readinto) -> object:
        begun.set()
        assert may_go_on.wait(20)
        return hash_blocks(content)

    monkeypatch.setattr(content_lists, "hash_blocks", held_up)
    copy = await opened(disk)
    proving = asyncio.ensure_future(copy.block_digests())
    await asyncio.to_thread(begun.wait, 20)
    closing = asyncio.ensure_future(disk.store.close())
    while not disk.store._examiner.closing.is_set():  # noqa: ASYNC110
        await asyncio.sleep(0)
    may_go_on.set()
    await closing
    copy.close()
    with pytest.raises(Unavailable, match="stopping"):
        await proving


def list_of(blocks: int) -> BlockDigests:
    return BlockDigests(bytes(DIGEST_BYTES * blocks))


def test_the_lists_in_memory_are_bounded_by_their_bytes() -> None:
    recent = RecentBlocks(10 * DIGEST_BYTES)
    first, second, third, long = (digest_of(bytes([number])) for number in range(4))
    for whole in (first, second, second):
        recent.keep(whole, list_of(5))
    assert recent.get(first) is not None
    recent.keep(third, list_of(5))
    assert recent.get(second) is None, "it was asked about before the first"
    assert recent.get(first) is not None
    recent.keep(long, list_of(100))
    assert [recent.get(whole) for whole in (first, second, third)] == [None] * 3
    assert recent.get(long) is not None, "or it would cost a pass each time"


def test_a_list_of_blocks_is_one_piece_of_memory() -> None:
    blocks = BlockDigests(b"".join(BLOCKS))
    assert blocks[1:] == BLOCKS[1:]
    assert blocks[-1] == BLOCKS[-1]
    with pytest.raises(IndexError):
        blocks[len(BLOCKS)]
    with pytest.raises(ValueError, match="no list"):
        BlockDigests(b"x")
