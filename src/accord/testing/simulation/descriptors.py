"""File descriptors of simulated processes, and finding the way from one to what a path names.

What is done with what was found is left to `kernel_names` and `kernel`.
"""

from __future__ import annotations

import errno
import os
import stat

from accord.testing.simulation.disk import Disk, File, Folder, Inode
from accord.testing.simulation.kernel_values import OpenFile, failing, folder_of
from accord.testing.simulation.processes import PROCESS, Process

MOUNTS = "/simulated/"
"""Where the disks are: disk 3 is at /simulated/3."""
UMASK = 0o022
FIRST_FD = 1_000_000_000
"""No process has so many: what is closed too late, by the real system, is nobody's."""


class Descriptors:
    """`disks` by number."""

    def __init__(self) -> None:
        self.disks: dict[int, Disk] = {}
        self._open: dict[int, OpenFile] = {}
        self._gone: set[int] = set()
        self._next_fd = FIRST_FD

    def open(self, path: str | os.PathLike[str], flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        process, disk, folder, name = self._place(path, dir_fd)
        inode = folder.entries.get(name) if name else folder
        if inode is None:
            if not flags & os.O_CREAT:
                raise failing(errno.ENOENT)
            process.point()
            if disk.is_full:
                raise failing(errno.ENOSPC)
            inode = disk.new_file(folder, name)
            inode.mode = stat.S_IFREG | (mode & ~UMASK)
        elif flags & os.O_CREAT and flags & os.O_EXCL:
            raise failing(errno.EEXIST)
        is_writable = flags & os.O_ACCMODE != os.O_RDONLY
        if isinstance(inode, Folder) and (is_writable or flags & os.O_CREAT):
            raise failing(errno.EISDIR)
        if flags & os.O_DIRECTORY and not isinstance(inode, Folder):
            raise failing(errno.ENOTDIR)
        if flags & os.O_TRUNC and isinstance(inode, File):
            process.point()
            disk.truncate(inode, 0)
        return self.give(process, disk, inode, is_writable=is_writable)

    def give(self, process: Process, disk: Disk, inode: Inode, *, is_writable: bool = False) -> int:
        """A file descriptor, as `open` gives them."""
        self._next_fd += 1
        self._open[self._next_fd] = OpenFile(process, disk, inode, is_writable=is_writable)
        return self._next_fd

    def close(self, fd: int) -> None:
        """What the system has closed, as the process is gone, may be closed once more by what is left of it in memory."""
        if self._open.pop(fd, None) is None and fd not in self._gone:
            raise failing(errno.EBADF)

    def close_all(self, process: Process) -> None:
        """The process is gone."""
        for fd in [fd for fd, held in self._open.items() if held.process is process]:
            del self._open[fd]
            self._gone.add(fd)

    def open_fds(self, process: Process) -> int:
        return sum(held.process is process for held in self._open.values())

    def dup(self, fd: int) -> int:
        held = self.held(fd)
        return self.give(held.process, held.disk, held.inode, is_writable=held.is_writable)

    def held(self, fd: int) -> OpenFile:
        """Raises `OSError` (EBADF), and `Crash` for what a process had that is gone."""
        held = self._open.get(fd)
        if held is None:
            process = PROCESS.get()
            if process is not None:
                process.require_alive()
            raise failing(errno.EBADF)
        held.process.require_alive()
        return held

    def beneath(self, root: Folder, path: str) -> Inode:
        """What is at a path of a tree; '' is the root. Raises `OSError`."""
        inode: Inode = root
        for part in path.split("/") if path else ():
            if not isinstance(inode, Folder):
                raise failing(errno.ENOTDIR)
            below = inode.entries.get(part)
            if below is None:
                raise failing(errno.ENOENT)
            inode = below
        return inode

    def _place(self, path: str | os.PathLike[str], dir_fd: int | None) -> tuple[Process, Disk, Folder, str]:
        """Who asks, the disk, the folder of the last part of the path, and that part ('' for the folder itself)."""
        text = os.fspath(path)
        if dir_fd is not None:
            held = self.held(dir_fd)
            process, disk, at = held.process, held.disk, held.inode
        else:
            process, disk, text = self._mounted(text)
            at = disk.root
        above, _, name = text.rpartition("/")
        folder = self.beneath(folder_of(at), above)
        if name == ".":
            name = ""
        return process, disk, folder_of(folder), name

    def _mounted(self, text: str) -> tuple[Process, Disk, str]:
        if not text.startswith(MOUNTS):
            raise failing(errno.ENOENT)
        number, _, rest = text.removeprefix(MOUNTS).partition("/")
        process = PROCESS.get()
        assert process is not None, "only servers use disks by paths"
        process.require_alive()
        return process, self.disks[int(number)], rest

    def _folder(self, path: int | str | os.PathLike[str]) -> tuple[Disk, Folder]:
        if isinstance(path, int):
            held = self.held(path)
            return held.disk, folder_of(held.inode)
        _, disk, folder, name = self._place(path, None)
        return disk, folder_of(self.beneath(folder, name))
