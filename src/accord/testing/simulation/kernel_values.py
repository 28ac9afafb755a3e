"""What simulated system calls give: stat data, open files, entries of folders, errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple

from accord.testing.simulation.disk import Disk, File, Folder, Inode
from accord.testing.simulation.processes import Process

_BLOCK_BYTES = 4096


class Status(NamedTuple):
    """Of `os.stat_result` what is used."""

    st_mode: int
    st_ino: int
    st_dev: int
    st_nlink: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int


class Space(NamedTuple):
    """Of `os.statvfs_result` what is used."""

    f_bavail: int
    f_blocks: int
    f_bfree: int
    f_frsize: int
    f_files: int
    f_favail: int


class OpenFile:
    __slots__ = ("at", "disk", "inode", "is_writable", "process")

    def __init__(self, process: Process, disk: Disk, inode: Inode, *, is_writable: bool) -> None:
        self.process = process
        self.disk = disk
        self.inode = inode
        self.is_writable = is_writable
        self.at = 0


class DirEntry:
    """As `os.scandir` gives them."""

    __slots__ = ("_disk", "_inode", "name")

    def __init__(self, name: str, inode: Inode, disk: Disk) -> None:
        self.name = name
        self._inode = inode
        self._disk = disk

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return isinstance(self._inode, File)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return isinstance(self._inode, Folder)

    def is_symlink(self) -> bool:
        return False

    def inode(self) -> int:
        return self._inode.number

    def stat(self, *, follow_symlinks: bool = True) -> Status:
        return status_of(self._inode, self._disk)


class Listing:
    def __init__(self, entries: list[DirEntry]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> Iterator[DirEntry]:
        return self._entries

    def __next__(self) -> DirEntry:
        return next(self._entries)

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


def failing(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def status_of(inode: Inode, disk: Disk) -> Status:
    size = len(inode.content) if isinstance(inode, File) else _BLOCK_BYTES
    return Status(inode.mode, inode.number, disk.number, inode.links, size, inode.mtime_ns, inode.ctime_ns)


def file_of(inode: Inode) -> File:
    if not isinstance(inode, File):
        raise failing(errno.EISDIR)
    return inode


def folder_of(inode: Inode) -> Folder:
    if not isinstance(inode, Folder):
        raise failing(errno.ENOTDIR)
    return inode
