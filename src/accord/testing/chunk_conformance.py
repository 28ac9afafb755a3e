"""What every store tells of the chunks of its copies, and what it offers to make another version out of. Part of the store conformance
suite."""

from __future__ import annotations

import random

import pytest

from accord.errors import IntegrityError
from accord.model.names import FilePath
from accord.model.verdict import Damaged
from accord.store.port import MAX_KEPT_BASES, Base, Store
from accord.testing.conformance import HELLO, WAIT_S, Disk, bytes_of, opened, present, put
from accord.testing.memory_bytes import chunks_of, digest_of

LONG = random.Random(1).randbytes(3_000_000)


async def offered(store: Store, path: FilePath = HELLO) -> list[bytes]:
    """The contents of the bases, as their chunks and bytes tell them."""
    return [await _content(base) for base in await store.bases(path)]


async def _content(base: Base) -> bytes:
    content = await base.read(0, base.size + 1)
    assert len(content) == base.size
    assert list(await base.chunks()) == list(chunks_of(content))
    base.close()
    base.close()
    return content


class ChunkConformance:
    """Test methods take the fixture `disk`."""

    async def test_the_chunks_of_a_copy_are_its_content(self, disk: Disk) -> None:
        disk.write(HELLO, LONG)
        copy = await opened(disk.store)
        first, second = await copy.chunks(), await copy.chunks()
        assert list(first) == list(second) == list(chunks_of(LONG))
        assert sum(chunk.size for chunk in first) == len(LONG)
        copy.close()

    async def test_an_empty_copy_has_no_chunks(self, disk: Disk) -> None:
        disk.write(HELLO, b"")
        copy = await opened(disk.store)
        assert list(await copy.chunks()) == []
        copy.close()

    async def test_a_rotten_copy_tells_no_chunks(self, disk: Disk) -> None:
        disk.write(HELLO, LONG)
        await present(disk.store)
        disk.rot(HELLO)
        copy = await opened(disk.store)
        with pytest.raises(IntegrityError):
            await copy.chunks()
        copy.close()

    async def test_there_is_nothing_to_make_a_new_path_out_of(self, disk: Disk) -> None:
        disk.make_folder("folder")
        assert await offered(disk.store) == []
        assert await offered(disk.store, FilePath("folder")) == []

    async def test_what_is_at_the_path_and_the_newest_of_what_was_there_are_offered(self, disk: Disk) -> None:
        contents = [bytes([number]) + LONG for number in range(MAX_KEPT_BASES + 2)]
        disk.write(HELLO, contents[0])
        for content in contents[1:]:
            await put(disk.store, content)
        assert await offered(disk.store) == contents[:0:-1]
        assert await bytes_of(disk.store, digest_of(contents[0])) == contents[0]

    async def test_a_damaged_copy_is_offered_as_it_is(self, disk: Disk) -> None:
        disk.write(HELLO, LONG)
        await present(disk.store)
        disk.rot(HELLO)
        assert isinstance(await disk.store.examine(HELLO, wait_s=WAIT_S, reread=True), Damaged)
        (content,) = await offered(disk.store)
        assert content[1:] == LONG[1:]
        assert content != LONG
