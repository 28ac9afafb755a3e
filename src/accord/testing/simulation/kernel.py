"""The operating system's calls on simulated disks, under the names that `os` has for them: what the store's modules are given instead.

Every call is made by the process that has the file descriptor, or by the one that is running. Changes are points where it may be
killed. Calls that nobody needed so far are missing on purpose: a store that begins to use one fails loudly, and it is added here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from random import Random

from accord.testing.simulation.disk import File
from accord.testing.simulation.kernel_names import Names
from accord.testing.simulation.kernel_values import DirEntry, OpenFile, Space, Status, failing, file_of, status_of

FREE_BLOCKS = 1 << 30
COLD = 0.1
"""How likely it is that content is not in the page cache when it must not be waited for."""
_BLOCK_BYTES = 4096


class Kernel(Names):
    """`disks` by number. Stands in for the module `os`."""

    # What is the same everywhere.
    O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC = (
        os.O_RDONLY,
        os.O_WRONLY,
        os.O_RDWR,
        os.O_CREAT,
        os.O_EXCL,
        os.O_TRUNC,
    )
    O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY = os.O_CLOEXEC, os.O_NOFOLLOW, os.O_NONBLOCK, os.O_NOCTTY
    O_DIRECTORY, O_PATH, O_DIRECT, O_NOATIME = os.O_DIRECTORY, os.O_PATH, os.O_DIRECT, os.O_NOATIME
    RWF_NOWAIT = os.RWF_NOWAIT
    POSIX_FADV_DONTNEED, POSIX_FADV_RANDOM = os.POSIX_FADV_DONTNEED, os.POSIX_FADV_RANDOM
    strerror = staticmethod(os.strerror)
    fsencode, fsdecode, fspath = staticmethod(os.fsencode), staticmethod(os.fsdecode), staticmethod(os.fspath)
    stat_result, DirEntry, PathLike = Status, DirEntry, os.PathLike

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    # Reading and writing.

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        file = self._readable(fd)
        return bytes(file.content[offset : offset + length])

    def preadv(self, fd: int, buffers: Sequence[bytearray | memoryview], offset: int, flags: int = 0) -> int:
        file, count = self._readable(fd), 0
        if flags & os.RWF_NOWAIT and self._random.random() < COLD:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        for buffer in buffers:
            piece = file.content[offset + count : offset + count + len(buffer)]
            buffer[: len(piece)] = piece
            count += len(piece)
        return count

    def read(self, fd: int, length: int) -> bytes:
        held = self.held(fd)
        data = self.pread(fd, length, held.at)
        held.at += len(data)
        return data

    def write(self, fd: int, data: bytes | memoryview) -> int:
        held = self.held(fd)
        count = self.pwrite(fd, data, held.at)
        held.at += count
        return count

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        held = self.held(fd)
        if not held.is_writable:
            raise failing(errno.EBADF)
        held.process.point()
        held.disk.write(file_of(held.inode), offset, data)
        return len(data)

    def ftruncate(self, fd: int, size: int) -> None:
        held = self.held(fd)
        if not held.is_writable:
            raise failing(errno.EINVAL)
        held.process.point()
        held.disk.truncate(file_of(held.inode), size)

    def fsync(self, fd: int) -> None:
        held = self.held(fd)
        held.process.point()
        held.disk.sync(held.inode)

    fdatasync = fsync

    def posix_fadvise(self, fd: int, offset: int, length: int, advice: int) -> None:
        self.held(fd)

    # Stat data.

    def stat(
        self, path: str | int | os.PathLike[str], *, dir_fd: int | None = None, follow_symlinks: bool = True
    ) -> Status:
        if isinstance(path, int):
            return self.fstat(path)
        _, disk, folder, name = self._place(path, dir_fd)
        inode = folder.entries.get(name) if name else folder
        if inode is None:
            raise failing(errno.ENOENT)
        return status_of(inode, disk)

    def lstat(self, path: str | os.PathLike[str], *, dir_fd: int | None = None) -> Status:
        return self.stat(path, dir_fd=dir_fd)

    def fstat(self, fd: int) -> Status:
        held = self.held(fd)
        return status_of(held.inode, held.disk)

    def fstatvfs(self, fd: int) -> Space:
        free = 0 if self.held(fd).disk.is_full else FREE_BLOCKS
        return Space(free, 2 * FREE_BLOCKS, free, _BLOCK_BYTES, 1 << 30, 1 << 29)

    def statvfs(self, path: int | str | os.PathLike[str]) -> Space:
        if isinstance(path, int):
            return self.fstatvfs(path)
        _, disk, _, _ = self._place(path, None)
        free = 0 if disk.is_full else FREE_BLOCKS
        return Space(free, 2 * FREE_BLOCKS, free, _BLOCK_BYTES, 1 << 30, 1 << 29)

    def fchmod(self, fd: int, mode: int) -> None:
        held = self.held(fd)
        held.process.point()
        held.inode.mode = stat.S_IFMT(held.inode.mode) | mode
        self._touched(held)

    def utime(self, fd: int, *, ns: tuple[int, int]) -> None:
        held = self.held(fd)
        held.process.point()
        held.inode.mtime_ns = ns[1]
        self._touched(held)

    # About the machine.

    def getpid(self) -> int:
        return 1

    def cpu_count(self) -> int:
        return 2

    def _readable(self, fd: int) -> File:
        file = file_of(self.held(fd).inode)
        if file.is_unreadable:
            raise failing(errno.EIO)
        return file

    def _touched(self, held: OpenFile) -> None:
        held.inode.ctime_ns = held.disk.now_ns()
        if isinstance(held.inode, File):
            held.disk.soil(held.inode)
