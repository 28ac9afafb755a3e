"""Content is cut where its own bytes say, the same everywhere; one pass tells all that is to be known of it, and it is kept."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from blake3 import blake3

from accord.errors import ChangedWhileReading, IntegrityError
from accord.model.chunks import ChunkList
from accord.model.names import FilePath
from accord.model.verdict import Damaged
from accord.store import content_lists
from accord.store.chunking import LEAST_CHUNK_BYTES, MOST_CHUNK_BYTES, GivenUp, OpenFile, cut
from accord.store.port import BLOCK_BYTES, Copy, is_answer
from accord.testing.memory_bytes import digest_of
from tests.store.disks import DirectoryDisk, open_disk

PATH = FilePath("image.bin")
MIB = 1024 * 1024
CONTENT = blake3(b"any content that is the same for ever").digest(length=8 * MIB + 321)


class InPieces:
    """Content that comes in pieces of many sizes, as a disk may hand it out."""

    def __init__(self, content: bytes) -> None:
        self._rest = memoryview(content)
        self._dice = random.Random(2)

    def readinto(self, into: memoryview) -> int:
        count = min(len(into), len(self._rest), self._dice.choice((1, 1000, 70_000, MIB)))
        into[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def chunks_of(content: bytes) -> ChunkList:
    return cut(BytesIO(content), len(content)).chunks


def test_where_it_cuts_is_part_of_the_protocol() -> None:
    """A change of this value parts servers of different releases: they would share nothing any more."""
    assert blake3(chunks_of(CONTENT).packed).hexdigest() == (
        "41d8df138e27523b5b6eb7da370dcb0569899919b83cdddada9a1f7f9160fa3b"
    )


def test_the_chunks_are_the_content() -> None:
    at = 0
    for size, digest in chunks_of(CONTENT):
        assert digest_of(CONTENT[at : at + size]) == digest
        at += size
    assert at == len(CONTENT)


def test_chunks_are_neither_tiny_nor_huge() -> None:
    for content in (CONTENT, bytes(5 * MIB)):
        sizes = [chunk.size for chunk in chunks_of(content)]
        assert all(LEAST_CHUNK_BYTES <= size <= MOST_CHUNK_BYTES for size in sizes[:-1])
    assert chunks_of(b"") == ChunkList(b"")
    assert [chunk.size for chunk in chunks_of(b"x")] == [1]


def test_one_pass_tells_the_whole_the_blocks_and_the_chunks_however_it_is_read() -> None:
    found = cut(InPieces(CONTENT), len(CONTENT))
    assert found.digest == digest_of(CONTENT)
    assert found.chunks == chunks_of(CONTENT)
    assert list(found.blocks) == [
        digest_of(CONTENT[at : at + BLOCK_BYTES]) for at in range(0, len(CONTENT), BLOCK_BYTES)
    ]


@pytest.mark.parametrize("at", [0, 3 * MIB + 77, len(CONTENT)])
def test_what_is_inserted_leaves_the_chunks_around_it_as_they_were(at: int) -> None:
    changed = CONTENT[:at] + random.Random(3).randbytes(100_000) + CONTENT[at:]
    here = {chunk.digest for chunk in chunks_of(CONTENT)}
    assert sum(chunk.size for chunk in chunks_of(changed) if chunk.digest not in here) < 100_000 + 3 * MOST_CHUNK_BYTES


def test_a_store_that_is_closed_does_not_wait_for_a_pass(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    closing = threading.Event()
    closing.set()
    with (tmp_path / "file").open("rb") as file, pytest.raises(GivenUp):
        cut(OpenFile(file.fileno(), closing), len(CONTENT))


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[DirectoryDisk]:
    (tmp_path / PATH).write_bytes(CONTENT)
    async with open_disk(tmp_path) as one:
        yield one


async def opened(disk: DirectoryDisk) -> Copy:
    held = await disk.store.open(PATH, wait_s=20)
    assert not is_answer(held), held
    return held


def no_pass(*_: object) -> None:
    raise AssertionError("the file was read once more")


async def test_a_copy_tells_its_chunks_and_is_read_but_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / PATH).write_bytes(CONTENT)
    async with open_disk(tmp_path) as disk:
        copy = await opened(disk)
        assert await copy.chunks() == chunks_of(CONTENT)
        copy.close()
    monkeypatch.setattr(content_lists, "cut", no_pass)
    monkeypatch.setattr(content_lists, "hash_blocks", no_pass)
    async with open_disk(tmp_path) as disk:
        copy = await opened(disk)
        assert await copy.chunks() == chunks_of(CONTENT)
        assert len(await copy.block_digests()) == 9
        copy.close()


async def test_whoever_asks_at_the_same_time_shares_one_pass(
    disk: DirectoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []

    def counted(content: OpenFile, size: int) -> object:
        passes.append(size)
        return cut(content, size)

    monkeypatch.setattr(content_lists, "cut", counted)
    copies = [await opened(disk) for _ in range(3)]
    told = await asyncio.gather(*(copy.chunks() for copy in copies))
    assert told == [chunks_of(CONTENT)] * 3
    assert passes == [len(CONTENT)]
    for copy in copies:
        copy.close()


async def test_a_copy_that_rotted_tells_none(disk: DirectoryDisk) -> None:
    (await opened(disk)).close()
    disk.rot(PATH)
    copy = await opened(disk)
    with pytest.raises(IntegrityError):
        await copy.chunks()
    copy.close()


async def test_a_copy_that_is_rewritten_tells_none(disk: DirectoryDisk) -> None:
    copy = await opened(disk)
    with (disk.root / PATH).open("r+b") as file:
        file.write(b"another beginning")
    with pytest.raises(ChangedWhileReading):
        await copy.chunks()
    copy.close()


async def test_the_lists_that_are_kept_are_bounded(disk: DirectoryDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(chunks_of(CONTENT).packed)
    monkeypatch.setattr(content_lists, "KEPT_CHUNK_LIST_BYTES", 2 * size + size // 2)
    for number in range(4):
        changed = bytes([number]) + CONTENT[1:]
        (disk.root / PATH).write_bytes(changed)
        copy = await opened(disk)
        assert await copy.chunks() == chunks_of(changed)
        copy.close()
    kept = disk.store._index.read(lambda db: db.execute("SELECT count(*) FROM chunks").get)
    assert kept == 2
    monkeypatch.setattr(content_lists, "cut", no_pass)
    copy = await opened(disk)
    assert await copy.chunks() == chunks_of(changed)  # the newest is among them
    copy.close()


async def test_a_damaged_file_is_a_base_still(disk: DirectoryDisk) -> None:
    (await opened(disk)).close()
    disk.rot(PATH)
    assert isinstance(await disk.store.examine(PATH, wait_s=20, reread=True), Damaged)
    (base,) = await disk.store.bases(PATH)
    told = await base.chunks()
    good = {chunk.digest for chunk in chunks_of(CONTENT)}
    assert sum(chunk.size for chunk in told if chunk.digest not in good) <= MOST_CHUNK_BYTES
    assert digest_of(await base.read(0, told[0].size)) == told[0].digest
    base.close()
    base.close()


async def test_what_was_told_of_a_file_before_it_was_damaged_serves_without_another_pass(
    disk: DirectoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = await opened(disk)
    await copy.chunks()
    copy.close()
    disk.rot(PATH)
    assert isinstance(await disk.store.examine(PATH, wait_s=20, reread=True), Damaged)
    monkeypatch.setattr(content_lists, "cut", no_pass)
    (base,) = await disk.store.bases(PATH)
    assert await base.chunks() == chunks_of(CONTENT)
    base.close()


async def test_where_there_is_no_file_there_is_no_base(disk: DirectoryDisk) -> None:
    (disk.root / "folder" / "below").mkdir(parents=True)
    os.mkfifo(disk.root / "pipe")
    for path in ("nothing", "folder", "pipe"):
        assert await disk.store.bases(FilePath(path)) == []
