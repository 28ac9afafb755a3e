"""Open files: the adapters of `port.Copy` and `port.Base` over a descriptor. Whether the bytes are right is for the reader to prove."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Protocol

from accord.errors import StoreFailed
from accord.model.chunks import ChunkList
from accord.model.names import Digest, FilePath
from accord.model.verdict import Present
from accord.store.block_digests import BlockDigests
from accord.store.hashing import own_buffer
from accord.store.port import BLOCK_BYTES
from accord.store.records import Stat
from accord.store.workshop import store_failure

if TYPE_CHECKING:
    from accord.store.port import Base, Copy

PROMPT_READ_BYTES = 64 * 1024
"""Where the file system cannot say whether a read would wait (RWF_NOWAIT), reads up to this size are done anyway."""

_CANNOT_SAY = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


class Lists(Protocol):
    """Finds out about open files what takes a pass over them: `content_lists`."""

    async def blocks_of(self, copy: DirectoryCopy) -> BlockDigests: ...

    async def chunks_of(self, copy: DirectoryCopy) -> ChunkList: ...

    async def chunks_near(self, base: FileBase) -> ChunkList: ...


class Descriptor:
    """A descriptor that is closed with it."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: FilePath, fd: int) -> None:
        self.path = path
        self._fd = fd

    async def read(self, offset: int, length: int) -> bytes:
        return await asyncio.to_thread(_read_all, self._fd, self.path, offset, length)

    def own_fd(self) -> int:
        """A second descriptor of the same file, for work that may outlive this one; the caller closes it."""
        return os.dup(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class DirectoryCopy(Descriptor):
    """See `port.Copy`. `is_kept`: it is not the file at the path, but one that is kept under its digest."""

    __slots__ = ("_lists", "_stat", "answer", "is_kept")

    def __init__(
        self,
        path: FilePath,
        answer: Present,
        fd: int,
        stat: Stat,
        lists: Lists,
        *,
        is_kept: bool = False,
    ) -> None:
        super().__init__(path, fd)
        self.answer = answer
        self._stat = stat
        self._lists = lists
        self.is_kept = is_kept

    def read_now(self, offset: int, length: int) -> bytes | None:
        wanted = min(length, self.answer.size - offset)
        if wanted <= 0:
            return b""
        # One buffer for all: the copy out of it costs less than having the kernel clear fresh memory each time.
        buffer = own_buffer()[:wanted] if wanted <= BLOCK_BYTES else memoryview(bytearray(wanted))
        filled = 0
        try:
            while filled < wanted:
                into = buffer[filled:] if filled else buffer
                count = os.preadv(self._fd, (into,), offset + filled, os.RWF_NOWAIT)
                if not count:
                    break
                filled += count
        except OSError as error:
            if error.errno in _CANNOT_SAY and wanted <= PROMPT_READ_BYTES:
                return self._read_anyway(offset, wanted)
            return None
        return bytes(buffer[:filled])

    def _read_anyway(self, offset: int, length: int) -> bytes | None:
        try:
            return os.pread(self._fd, length, offset)
        except OSError:
            return None

    def unchanged(self) -> bool:
        return Stat.of(os.fstat(self._fd)) == self._stat

    def again(self) -> DirectoryCopy:
        try:
            fd = self.own_fd()
        except OSError as error:  # no more descriptors
            raise store_failure(error, "reading a copy") from error
        return DirectoryCopy(self.path, self.answer, fd, self._stat, self._lists, is_kept=self.is_kept)

    async def block_digests(self) -> BlockDigests:
        return await self._lists.blocks_of(self)

    async def chunks(self) -> ChunkList:
        return await self._lists.chunks_of(self)


class FileBase(Descriptor):
    """See `port.Base`. `digest` is what the file is recorded with, right or wrong; None where nobody knows."""

    __slots__ = ("_lists", "digest", "size")

    def __init__(self, path: FilePath, fd: int, digest: Digest | None, lists: Lists) -> None:
        super().__init__(path, fd)
        self.size = os.fstat(fd).st_size
        self.digest = digest
        self._lists = lists

    async def chunks(self) -> ChunkList:
        return await self._lists.chunks_near(self)


def _read_all(fd: int, path: FilePath, offset: int, length: int) -> bytes:
    parts = []
    try:
        while length and (part := os.pread(fd, length, offset)):
            parts.append(part)
            offset += len(part)
            length -= len(part)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise StoreFailed(f"The copy cannot be read: {reason}.", path=path) from error
    return b"".join(parts) if len(parts) != 1 else parts[0]


if TYPE_CHECKING:

    def _keep_the_contract(copy: DirectoryCopy, base: FileBase) -> tuple[Copy, Base]:
        return copy, base
