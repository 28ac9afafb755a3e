"""Former versions, and what is at hand of any: the history of a path, kept bytes opened, bytes duplicated. Blocking."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from accord.errors import StoreFailed
from accord.model.history import Event, Remembered, united
from accord.model.names import Digest, FilePath
from accord.model.verdict import Present
from accord.model.versions import EMPTY_CLOCK
from accord.store import history_rows
from accord.store.condemning import condemn
from accord.store.confinement import NotAFile
from accord.store.copies import DirectoryCopy, FileBase, Lists
from accord.store.incoming import FileIncoming, InThread, refuse_what_cannot_fit
from accord.store.kept import Kept
from accord.store.port import MAX_KEPT_BASES
from accord.store.records import Record, Stat, event_by_its_actor, is_executable
from accord.store.workshop import Workshop

MAX_HOLDERS = 8
"""So many paths that have the same content are tried, before it is looked for among what is kept."""


class OpenedKept(NamedTuple):
    """An open file of versions/. Whoever has it closes `fd`."""

    fd: int
    answer: Present
    stat: Stat


class Memory:
    def __init__(self, shop: Workshop, kept: Kept, in_thread: InThread) -> None:
        self._shop = shop
        self._index = shop.index
        self._kept = kept
        self._in_thread = in_thread

    def history(self, path: FilePath) -> list[Remembered]:
        """See `port.Store.history`."""
        record = self._index.get(path)
        clock = record.clock if record is not None else EMPTY_CLOCK
        events = self._index.read(partial(history_rows.remembered, path=path))
        told = {event.dot for event in events}
        events += [event_by_its_actor(dot, version) for dot, version in clock.current() if dot not in told]
        current = {dot for dot, _ in clock.current()}
        at_path = self._at_path(path, record)
        return [
            Remembered(event, event.dot in current, self._is_kept(event.version.digest, at_path))
            for event in united([events])
        ]

    def _is_kept(self, digest: Digest | None, at_path: Digest | None) -> bool:
        return digest is not None and (digest == at_path or self._kept.has(digest))

    def _at_path(self, path: FilePath, record: Record | None) -> Digest | None:
        """What the stat data say to be there."""
        if record is None or record.stat is None or record.damaged is not None:
            return None
        with suppress(OSError):
            return record.digest if self._shop.seen_at(path) == record.stat else None
        return None

    def learn(self, path: FilePath, events: Sequence[Event]) -> None:
        record = self._index.get(path)
        clock = record.clock if record is not None else EMPTY_CLOCK
        now_ns = self._shop.now_ns()
        self._index.batch(partial(history_rows.learn, path=path, clock=clock, events=events, now_ns=now_ns))

    def open_kept(self, path: FilePath, digest: Digest) -> OpenedKept | None:
        """Only what is, or was, a version of this path: nobody reads other paths' content by its digest."""
        record = self._index.get(path)
        if record is None:
            return None
        is_ours = any(version.digest == digest for _, version in record.clock.current()) or self._index.read(
            partial(history_rows.knows, path=path, digest=digest)
        )
        fd = self._kept.open(digest) if is_ours else None
        if fd is None:
            return None
        status = os.fstat(fd)
        beside = record.beside(self._at_path(path, record))
        executable = is_executable(status.st_mode)
        answer = Present(digest, status.st_size, status.st_mtime_ns, record.clock, executable, beside)
        return OpenedKept(fd, answer, Stat.of(status))

    def open_bases(self, path: FilePath, lists: Lists) -> list[FileBase]:
        """See `port.Store.bases`."""
        record = self._index.get(path)
        bases: list[FileBase] = []
        with suppress(OSError, NotAFile):
            fd = self._shop.beneath.open_regular(path)
            bases.append(FileBase(path, fd, None if record is None else record.digest, lists))
        kept = dict.fromkeys(one.event.version.digest for one in self.history(path) if one.is_kept)
        for digest in kept:
            if digest is None or len(bases) > MAX_KEPT_BASES:
                continue
            with suppress(StoreFailed):
                kept_fd = self._kept.open(digest)
                if kept_fd is not None:
                    bases.append(FileBase(path, kept_fd, digest, lists))
        return bases

    def condemn(self, copy: DirectoryCopy) -> None:
        """The bytes of a kept copy did not match."""
        if copy.unchanged():
            condemn(self._index, self._kept, copy.answer.digest)

    def duplicate(self, path: FilePath | None, digest: Digest) -> FileIncoming | None:
        """See `port.Store.duplicate`."""
        refuse_what_cannot_fit(self._shop, None)
        for fd in self._candidates(path, digest):
            incoming = self._copied(fd, digest)
            if incoming is not None:
                return incoming
        fd_kept = self._kept.open(digest)
        incoming = None if fd_kept is None else self._copied(fd_kept, digest)
        if fd_kept is not None and incoming is None:
            condemn(self._index, self._kept, digest)  # or it would stay where good bytes are to come
        return incoming

    def _copied(self, fd: int, digest: Digest) -> FileIncoming | None:
        """None if it is something else. Closes `fd`."""
        try:
            refuse_what_cannot_fit(self._shop, os.fstat(fd).st_size)
            return self._kept.copied(fd, digest, self._in_thread)
        finally:
            os.close(fd)

    def _candidates(self, path: FilePath | None, digest: Digest) -> Iterator[int]:
        """Open files at paths that should have that content."""
        query = partial(history_rows.holders_of, digest=digest, limit=MAX_HOLDERS)
        for one in (path,) if path is not None else self._index.read(query):
            record = self._index.get(one)
            if record is None or record.digest != digest or record.vouching() is None:
                continue
            try:
                fd = self._shop.beneath.open_regular(one)
            except (OSError, NotAFile):
                continue
            yield fd
