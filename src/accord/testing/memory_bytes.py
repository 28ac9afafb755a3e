"""Content in memory: a file with its stat data, an open copy of one, and bytes that are being taken in.

Where they belong, and what they mean, is left to `memory_store`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

from blake3 import blake3

from accord.errors import DiskFull, IntegrityError, StoreFailed
from accord.model.chunks import ChunkList
from accord.model.names import Digest, FilePath
from accord.model.verdict import Present
from accord.store.chunking import cut
from accord.store.port import BLOCK_BYTES
from accord.store.records import Stat


def digest_of(content: bytes) -> Digest:
    return Digest(blake3(content).digest())


def chunks_of(content: bytes) -> ChunkList:
    return cut(BytesIO(content), len(content)).chunks


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """A file as it is; a change makes another value, under the same inode where it is written in place."""

    content: bytes
    stat: Stat
    executable: bool = False


class _Shelf(Protocol):
    """What copies and incoming bytes need of their store."""

    cold: bool
    capacity_bytes: int | None
    open_copies: int
    open_stagings: int

    def file_of(self, path: FilePath, inode: int) -> MemoryFile | None: ...


class MemoryCopy:
    """See `port.Copy`. Like an open file, it sees content written in place, and keeps content that was replaced."""

    def __init__(self, shelf: _Shelf, path: FilePath, answer: Present, file: MemoryFile) -> None:
        shelf.open_copies += 1
        self.path = path
        self.answer = answer
        self.file = file
        self._shelf = shelf
        self.is_closed = False

    def _now(self) -> MemoryFile:
        return self._shelf.file_of(self.path, self.file.stat.inode) or self.file

    def read_now(self, offset: int, length: int) -> bytes | None:
        if self._shelf.cold:
            return None
        return self._now().content[offset : offset + length]

    async def read(self, offset: int, length: int) -> bytes:
        await asyncio.sleep(0)
        return self._now().content[offset : offset + length]

    def unchanged(self) -> bool:
        return self._now().stat == self.file.stat

    def again(self) -> MemoryCopy:
        return MemoryCopy(self._shelf, self.path, self.answer, self.file)

    async def block_digests(self) -> tuple[Digest, ...]:
        content = self._now().content
        if digest_of(content) != self.answer.digest:
            raise IntegrityError("The copy no longer matches its digest.", path=self.path)
        return tuple(digest_of(content[at : at + BLOCK_BYTES]) for at in range(0, len(content), BLOCK_BYTES))

    async def chunks(self) -> ChunkList:
        if digest_of(self._now().content) != self.answer.digest:
            raise IntegrityError("The copy no longer matches its digest.", path=self.path)
        return chunks_of(self._now().content)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._shelf.open_copies -= 1


class MemoryBase:
    """See `port.Base`."""

    def __init__(self, shelf: _Shelf, path: FilePath, file: MemoryFile) -> None:
        shelf.open_copies += 1
        self._shelf = shelf
        self._path = path
        self._file = file
        self._is_closed = False

    @property
    def size(self) -> int:
        return self._file.stat.size

    async def chunks(self) -> ChunkList:
        await asyncio.sleep(0)
        return chunks_of(self._file.content)

    async def read(self, offset: int, length: int) -> bytes:
        await asyncio.sleep(0)
        now = self._shelf.file_of(self._path, self._file.stat.inode) or self._file
        return now.content[offset : offset + length]

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._shelf.open_copies -= 1


class MemoryIncoming:
    """See `port.Incoming`. `end` is for the commit that uses it, or drops it."""

    def __init__(self, shelf: _Shelf) -> None:
        shelf.open_stagings += 1
        self._shelf = shelf
        self._content = bytearray()
        self._finished: bytes | None = None
        self.is_ended = False

    @property
    def size(self) -> int:
        return len(self._content)

    @property
    def digest(self) -> Digest:
        return digest_of(bytes(self._content))

    @property
    def content(self) -> bytes:
        """Raises `StoreFailed` where there is nothing that a commit could use."""
        if self.is_ended:
            raise StoreFailed("These bytes have been dropped.")
        if self._finished is None:
            self._finished = bytes(self._content)
        return self._finished

    async def write(self, block: bytes | memoryview) -> None:
        if self.is_ended or self._finished is not None:
            raise StoreFailed("Nothing more can be written here.")
        if self._shelf.capacity_bytes is not None and self.size + len(block) > self._shelf.capacity_bytes:
            raise DiskFull("There is no space left.")
        self._content += block

    async def finish(self) -> Digest:
        if self.is_ended:
            raise StoreFailed("These bytes have been dropped.")
        if self._finished is None:
            self._finished = bytes(self._content)
        return self.digest

    async def abort(self) -> None:
        self.end()

    def end(self) -> None:
        if not self.is_ended:
            self.is_ended = True
            self._shelf.open_stagings -= 1


if TYPE_CHECKING:
    from accord.store.port import Base, Copy, Incoming

    def _keep_the_contract(copy: MemoryCopy, base: MemoryBase, incoming: MemoryIncoming) -> tuple[Copy, Base, Incoming]:
        return copy, base, incoming
