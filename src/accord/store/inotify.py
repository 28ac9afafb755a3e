"""The kernel's notices of what changes in folders (inotify(7)), through the C library: the folders asked for, and nothing below them.

Only of changes is anything asked. A notice of every file that is merely opened, as libraries for this have it, would wake this process
for each read that it serves: a seventh of what a small read costs. Which folders to watch is left to `folder_hints`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
from collections.abc import Iterator
from typing import NamedTuple

_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x02, 0x04, 0x08, 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLY_FOLDERS, _NO_LINKS, _NOT_UNLINKED = 0x0100_0000, 0x0200_0000, 0x0400_0000
_IS_FOLDER = 0x4000_0000
_CHANGES = _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_ASKED = _CHANGES | _ONLY_FOLDERS | _NO_LINKS | _NOT_UNLINKED
_HEAD = struct.Struct("iIII")
_BUFFER_BYTES = 1024 * 1024
"""As many as the kernel keeps (fs.inotify.max_queued_events), by its own default."""


class Notice(NamedTuple):
    """Something changed at `name` in the folder that `add` gave the number `watch`."""

    watch: int
    mask: int
    name: str

    @property
    def is_overflow(self) -> bool:
        """Notices were lost: there were too many."""
        return bool(self.mask & _OVERFLOW)

    @property
    def is_end(self) -> bool:
        """The folder is watched no more: it was removed."""
        return bool(self.mask & _IGNORED)

    @property
    def is_folder(self) -> bool:
        return bool(self.mask & _IS_FOLDER)

    @property
    def has_come(self) -> bool:
        return bool(self.mask & (_CREATE | _MOVED_TO))

    @property
    def has_moved_away(self) -> bool:
        return bool(self.mask & _MOVED_FROM)


class Inotify:
    """Use from one thread, but for `stop`. Raises `OSError`."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "inotify_init1"):
            raise OSError(errno.ENOSYS, "the system has no inotify")
        self._add, self._remove = library.inotify_add_watch, library.inotify_rm_watch
        self._fd = _checked(library.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        self._stopped = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ready = select.poll()
        self._ready.register(self._fd, select.POLLIN)
        self._ready.register(self._stopped, select.POLLIN)

    def add(self, folder: str) -> int:
        """The number of its watch: the same one for a folder that is watched already, wherever it was then."""
        return _checked(self._add(self._fd, os.fsencode(folder), ctypes.c_uint32(_ASKED)))

    def remove(self, watch: int) -> None:
        """Nothing happens where there is no such watch any more."""
        self._remove(self._fd, watch)

    def wait(self) -> None:
        """Until there are notices, or `stop`."""
        self._ready.poll()

    def notices(self) -> Iterator[Notice]:
        """Those that are there; of very many a part."""
        try:
            raw = os.read(self._fd, _BUFFER_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(raw):
            watch, mask, _, length = _HEAD.unpack_from(raw, at)
            at += _HEAD.size + length
            yield Notice(watch, mask, os.fsdecode(raw[at - length : at].rstrip(b"\0")))

    def stop(self) -> None:
        """No wait lasts any longer. From any thread, until `close`."""
        os.eventfd_write(self._stopped, 1)

    def let_go(self) -> None:
        """Of all watches, which others may want; nothing but `stop` and `close` afterwards."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        self.let_go()
        os.close(self._stopped)


def _checked(result: int) -> int:
    if result >= 0:
        return result
    code = ctypes.get_errno()
    if code == errno.ENOSPC:
        raise OSError(code, "more folders than the kernel watches for a user (fs.inotify.max_user_watches)")
    if code == errno.EMFILE:
        raise OSError(code, "more watches than the kernel allows a user (fs.inotify.max_user_instances)")
    raise OSError(code, os.strerror(code))
