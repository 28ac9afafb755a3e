"""The calls that change and list names, on simulated disks."""

from __future__ import annotations

import errno
import os

from accord.testing.simulation.descriptors import Descriptors
from accord.testing.simulation.disk import Folder, Inode, Slot
from accord.testing.simulation.kernel_values import DirEntry, Listing, failing

NOREPLACE, EXCHANGE = 1, 2
"""As renameat2 has them."""


class Names(Descriptors):
    """See `kernel.Kernel`."""

    def mkdir(self, path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        process, disk, folder, name = self._place(path, dir_fd)
        process.point()
        if name in folder.entries:
            raise failing(errno.EEXIST)
        if disk.is_full:
            raise failing(errno.ENOSPC)
        disk.new_folder(folder, name)

    def rmdir(self, path: str, *, dir_fd: int | None = None) -> None:
        process, disk, folder, name = self._place(path, dir_fd)
        process.point()
        inode = folder.entries.get(name)
        if inode is None:
            raise failing(errno.ENOENT)
        if not isinstance(inode, Folder):
            raise failing(errno.ENOTDIR)
        if inode.entries:
            raise failing(errno.ENOTEMPTY)
        disk.rename_slots((Slot(folder, name, None),))

    def unlink(self, path: str | os.PathLike[str], *, dir_fd: int | None = None) -> None:
        process, disk, folder, name = self._place(path, dir_fd)
        process.point()
        inode = folder.entries.get(name)
        if inode is None:
            raise failing(errno.ENOENT)
        if isinstance(inode, Folder):
            raise failing(errno.EISDIR)
        disk.rename_slots((Slot(folder, name, None),))

    remove = unlink

    def link(
        self,
        src: str,
        dst: str,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        process, disk, from_folder, name = self._place(src, src_dir_fd)
        process.point()
        inode = from_folder.entries.get(name)
        if inode is None:
            raise failing(errno.ENOENT)
        _, _, to_folder, new_name = self._place(dst, dst_dir_fd)
        if new_name in to_folder.entries:
            raise failing(errno.EEXIST)
        if isinstance(inode, Folder):
            raise failing(errno.EPERM)
        disk.rename_slots((Slot(to_folder, new_name, inode),), gives=inode)

    def rename(
        self,
        src: str | os.PathLike[str],
        dst: str | os.PathLike[str],
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
    ) -> None:
        self.rename2(src, dst, src_dir_fd, dst_dir_fd, 0)

    replace = rename

    def rename2(
        self,
        src: str | os.PathLike[str],
        dst: str | os.PathLike[str],
        src_dir_fd: int | None,
        dst_dir_fd: int | None,
        flags: int,
    ) -> None:
        """As renameat2."""
        process, disk, from_folder, name = self._place(src, src_dir_fd)
        _, _, to_folder, new_name = self._place(dst, dst_dir_fd)
        process.point()
        inode, there = from_folder.entries.get(name), to_folder.entries.get(new_name)
        if inode is None or (there is None and flags == EXCHANGE):
            raise failing(errno.ENOENT)
        if there is not None and flags == NOREPLACE:
            raise failing(errno.EEXIST)
        if _holds(inode, to_folder):
            raise failing(errno.EINVAL)
        if _holds(there, from_folder):
            raise failing(errno.EINVAL if flags == EXCHANGE else errno.ENOTEMPTY)
        if there is inode:
            return  # two names of one file: both stay
        if there is not None and flags != EXCHANGE:
            _require_replaceable(inode, there)
        left = there if flags == EXCHANGE else None
        disk.rename_slots((Slot(from_folder, name, left), Slot(to_folder, new_name, inode)))

    def listdir(self, path: int | str | os.PathLike[str]) -> list[str]:
        return list(self._folder(path)[1].entries)

    def scandir(self, path: int | str | os.PathLike[str]) -> Listing:
        disk, folder = self._folder(path)
        return Listing([DirEntry(name, inode, disk) for name, inode in folder.entries.items()])


def _holds(inode: Inode | None, folder: Folder) -> bool:
    """Whether it is that folder, or above it."""
    if not isinstance(inode, Folder):
        return False
    return inode is folder or any(_holds(below, folder) for below in inode.entries.values())


def _require_replaceable(inode: Inode, there: Inode) -> None:
    """Whether it may take that one's name."""
    if not isinstance(there, Folder):
        if isinstance(inode, Folder):
            raise failing(errno.ENOTDIR)
    elif not isinstance(inode, Folder):
        raise failing(errno.EISDIR)
    elif there.entries:
        raise failing(errno.ENOTEMPTY)
