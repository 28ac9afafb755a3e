"""Looks at a path that never wait, for the everyday read: the index's cache says what should be there, one system call what is.

Part of `directory`; whatever it takes a wait to say is left to `examining`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from stat import S_ISFIFO

from accord.model.names import FilePath
from accord.model.verdict import Absent, Answer, Deleted
from accord.store.confinement import Confinement
from accord.store.content_lists import ContentLists
from accord.store.copies import DirectoryCopy
from accord.store.index import Index
from accord.store.index_rows import Known
from accord.store.port import Copy
from accord.store.records import nothing_there, same_stat
from accord.store.under_way import UnderWay

HELD_FIFOS = 64


class DirectoryGlances:
    """Part of `DirectoryStore`. For the event loop's thread."""

    _index: Index
    _beneath: Confinement
    _under_way: UnderWay
    _lists: ContentLists
    _now_ns: Callable[[], int]
    _fifos: dict[FilePath, int]

    def glance(self, path: FilePath) -> Copy | Absent | None:
        known = self._index.known(path)
        if known is None or path in self._under_way:
            return None
        vouching, present = known.vouching, known.present
        if vouching is None or present is None:
            return self._glance_gone(path, known.if_gone)
        fd = self._beneath.open_cached(path)
        if fd < 0:
            return None
        status = os.fstat(fd)
        if not same_stat(vouching, status):
            self._let_go(path, known, fd, status.st_mode)
            return None
        return DirectoryCopy(path, present, fd, vouching, self._lists)

    def is_likely_new(self, path: FilePath) -> bool:
        known = self._index.known(path)
        return (known is None or known.record is None) and path not in self._under_way

    def _let_go(self, path: FilePath, known: Known, fd: int, mode: int) -> None:
        """Something else has taken the place of the file. A FIFO was opened for reading by that, and may have a writer now, which
        closing would kill (SIGPIPE): it is kept open, what is written waiting for its true reader, and the path is not glanced at
        again. To look before opening would cost every read 2 to 3 us (a second look-up); what opening does to a device that
        replaced a known file stays as it is."""
        if not S_ISFIFO(mode):
            os.close(fd)
            return
        self._index.distrust(path, known)
        held = self._fifos.pop(path, None)
        self._fifos[path] = fd
        if held is not None:
            os.close(held)
        if len(self._fifos) > HELD_FIFOS:
            os.close(self._fifos.pop(next(iter(self._fifos))))

    def _glance_gone(self, path: FilePath, if_gone: Absent | Deleted | None) -> Absent | None:
        """Where nothing is known to vouch, only that nothing is there can be said; what is there may be a FIFO, whose writer must
        not take this look for a reader."""
        fd = self._beneath.probe_cached(path)
        if fd >= 0:
            self._beneath.let_go(fd)
        return if_gone if fd == -errno.ENOENT and isinstance(if_gone, Absent) else None

    def glance_answer(self, path: FilePath) -> Answer | None:
        known = self._index.known(path)
        if known is None or path in self._under_way:
            return None
        fd = self._beneath.probe_cached(path)
        if fd < 0:
            if fd != -errno.ENOENT or known.if_gone is None:
                return None
            return known.if_gone if type(known.if_gone) is Absent else nothing_there(known.record, self._now_ns())
        status = os.fstat(fd)
        self._beneath.let_go(fd)
        return known.present if known.vouching is not None and same_stat(known.vouching, status) else None
