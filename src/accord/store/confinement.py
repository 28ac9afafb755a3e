"""Reaching files beneath a root, and never anything else.

`openat2` (Linux 5.6) resolves a path in the kernel and refuses to leave the root, to follow a symbolic link or a magic link. Where
it is missing (an older kernel, a sandbox) the path is walked one component at a time, each opened relative to the one before and
refused if it is a link. Only regular files are opened for reading: a FIFO or a device is recognised before it is touched.

What an error means for a path is left to `obstacles`; what is in the files, to `hashing`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path

from accord.errors import StoreFailed
from accord.model.names import FilePath
from accord.model.verdict import FOLDER

_SYS_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE_CACHED = 0x20
_CONFINED = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS

READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
PROBE_FLAGS = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
FOLDER_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY
_STEP_FLAGS = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY

_RACED_TRIES = 8
"""openat2 gives EAGAIN when something was renamed while it resolved; it is then worth another try."""

SYMLINK = "a symbolic link"
FILE_ABOVE = "a file where a folder would be"
IRREGULAR = "not a regular file"


class NotAFile(Exception):
    """Something is at the path that is no regular file; `obstacle` names it."""

    def __init__(self, obstacle: str) -> None:
        super().__init__(obstacle)
        self.obstacle = obstacle


def require_regular(mode: int) -> None:
    """Raises `NotAFile` for everything but a regular file."""
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise NotAFile(FOLDER)
    raise NotAFile(SYMLINK if stat.S_ISLNK(mode) else IRREGULAR)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Confinement:
    """Opens paths beneath `root`. Raises `StoreFailed` if the root itself cannot be opened. Thread-safe."""

    def __init__(self, root: Path, *, component_walk: bool = False) -> None:
        try:
            self.root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreFailed(f"The folder {root} cannot be opened: {error.strerror}.") from error
        self._root_dev = os.fstat(self.root_fd).st_dev
        # The cached look never sleeps, so it keeps the GIL: giving it up would cost more than the call, and a hashing thread
        # may take milliseconds to hand it back.
        keeping_gil = ctypes.PyDLL(None, use_errno=True)
        self._quick = keeping_gil.syscall
        self._close_quickly = keeping_gil.close
        self._patient = ctypes.CDLL(None, use_errno=True).syscall
        self._quick.restype = self._patient.restype = ctypes.c_long
        self._number = ctypes.c_long(_SYS_OPENAT2)
        self._root_arg = ctypes.c_int(self.root_fd)
        self._how_size = ctypes.c_size_t(ctypes.sizeof(_OpenHow))
        self._how_read = ctypes.byref(_OpenHow(READ_FLAGS, 0, _CONFINED | _RESOLVE_CACHED))
        self._how_probe = ctypes.byref(_OpenHow(PROBE_FLAGS, 0, _CONFINED | _RESOLVE_CACHED))
        self.in_kernel = not component_walk and self._supports(0)
        self._cached = self.in_kernel and self._supports(_RESOLVE_CACHED)
        self._has_proc = os.path.isdir("/proc/self/fd")

    def open_cached(self, path: str) -> int:
        """A file descriptor for reading, or a negative errno; EAGAIN where the kernel's caches cannot tell. Never waits.
        The caller checks with fstat that it is the regular file it knows."""
        if not self._cached:
            return -errno.EAGAIN
        fd: int = self._quick(self._number, self._root_arg, path.encode(), self._how_read, self._how_size)
        return fd if fd >= 0 else -ctypes.get_errno()

    def probe_cached(self, path: str) -> int:
        """Like `open_cached`, for fstat only."""
        if not self._cached:
            return -errno.EAGAIN
        fd: int = self._quick(self._number, self._root_arg, path.encode(), self._how_probe, self._how_size)
        return fd if fd >= 0 else -ctypes.get_errno()

    def probe(self, path: str) -> int:
        """An O_PATH file descriptor of whatever is there: touches nothing. Raises `OSError`."""
        return self._open(path, PROBE_FLAGS)

    def let_go(self, fd: int) -> None:
        """Close what was probed. That never sleeps, so it keeps the GIL too."""
        self._close_quickly(fd)

    def open_regular(self, path: FilePath) -> int:
        """A file descriptor for reading. Raises `OSError`, or `NotAFile` without having opened what is there."""
        probed = self.probe(path)
        try:
            require_regular(os.fstat(probed).st_mode)
            if self._has_proc:  # the very file that was looked at, not what may have taken its place
                return os.open(f"/proc/self/fd/{probed}", READ_FLAGS & ~os.O_NOFOLLOW)
        finally:
            os.close(probed)
        return self._open(path, READ_FLAGS)

    def open_folder(self, folder: str) -> int:
        """A folder for listing; `folder` is empty for the root. Raises `OSError`."""
        if not folder:
            return os.open(".", FOLDER_FLAGS, dir_fd=self.root_fd)
        return self._open(folder, FOLDER_FLAGS)

    def is_on_another_mount(self, path: str) -> bool:
        """Whether something is mounted at or above `path`, beneath the root, or it is a folder of another file system: no file is
        renamed into that, or out of it. (Of files the device says nothing: overlays make it up.) Raises `OSError`, as `probe`."""
        return self.inode_here(path) is None

    def inode_here(self, path: str) -> int | None:
        """The inode of what is at `path`; None if that is on another mount. Raises `OSError`, as `probe`."""
        try:
            fd = self._open(path, PROBE_FLAGS, _RESOLVE_NO_XDEV)
        except OSError as error:
            if error.errno == errno.EXDEV:
                return None
            raise
        try:
            status = os.fstat(fd)
            is_elsewhere = stat.S_ISDIR(status.st_mode) and status.st_dev != self._root_dev
            return None if is_elsewhere else status.st_ino
        finally:
            self.let_go(fd)

    def close(self) -> None:
        os.close(self.root_fd)

    def _open(self, path: str, flags: int, resolve: int = 0) -> int:
        if not self.in_kernel:
            return self._open_walking(path, flags)
        raw = os.fsencode(path)  # folders may have names that are no text
        if self._cached:
            how = ctypes.byref(_OpenHow(flags, 0, _CONFINED | _RESOLVE_CACHED | resolve))
            found: int = self._quick(self._number, self._root_arg, raw, how, self._how_size)
            if found >= 0:
                return found
            code = ctypes.get_errno()
            if code != errno.EAGAIN:  # the kernel's caches could tell
                raise OSError(code, os.strerror(code))
        how = ctypes.byref(_OpenHow(flags, 0, _CONFINED | resolve))
        for _ in range(_RACED_TRIES):
            fd: int = self._patient(self._number, self._root_arg, raw, how, self._how_size)
            if fd >= 0:
                return fd
            code = ctypes.get_errno()
            if code not in (errno.EAGAIN, errno.EINTR):
                break
        raise OSError(code, os.strerror(code))

    def _open_walking(self, path: str, flags: int) -> int:
        *folders, name = path.split("/")
        at = os.dup(self.root_fd)
        try:
            for folder in folders:
                below = open_at(at, folder, _STEP_FLAGS)
                os.close(at)
                at = below
            fd = open_at(at, name, flags)
        finally:
            os.close(at)
        if flags & os.O_PATH and not flags & os.O_DIRECTORY and stat.S_ISLNK(os.fstat(fd).st_mode):
            os.close(fd)  # O_PATH alone opens the link itself, where openat2 refuses
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return fd

    def _supports(self, resolve: int) -> bool:
        how = ctypes.byref(_OpenHow(_STEP_FLAGS, 0, _CONFINED | resolve))
        fd: int = self._patient(self._number, self._root_arg, b".", how, self._how_size)
        if fd >= 0:
            os.close(fd)
        return fd >= 0


def open_at(folder_fd: int, name: str, flags: int) -> int:
    """Open one component relative to a folder. A link is ELOOP, also where the kernel says ENOTDIR of one."""
    try:
        return os.open(name, flags, dir_fd=folder_fd)
    except OSError as error:
        if error.errno == errno.ENOTDIR and _is_link(folder_fd, name):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error
        raise


def _is_link(folder_fd: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode)
    except OSError:
        return False
