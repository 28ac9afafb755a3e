"""The index's SQLite file on a simulated disk: a database in memory, of which the disk has what was committed.

A commit that is synced (WAL, synchronous=FULL) survives whatever comes; a transaction that is open when the process or the power goes
is gone. That is SQLite's own promise, and is taken at its word here. A full disk and a failed sync are told as SQLite tells them.
With the first commit of each connection the folder is synced, as SQLite does for the name of its log.
"""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType
from typing import Any

import apsw

from accord.testing.simulation.disk import Disk, File, Folder
from accord.testing.simulation.processes import PROCESS, Process

INDEX_FOLDER = ".accord"


class IndexConnection(apsw.Connection):
    """Made for the path of a file on a simulated disk, by the process that runs."""

    disk: Disk
    process: Process

    def __init__(self, path: str, *options: Any, **more: Any) -> None:
        super().__init__(":memory:")
        process = PROCESS.get()
        assert process is not None, "an index belongs to a server"
        self.process, self.disk = process, process.disk
        self._file(os.path.basename(path))
        self._is_open = True
        self._has_synced_folder = False
        if self.disk.index_image is not None:
            self.deserialize("main", self.disk.index_image)
        process.at_death.append(self._abandon)

    def execute(self, statements: str, bindings: Any = None, **options: Any) -> apsw.Cursor:
        self.process.require_alive()
        if statements == "COMMIT":
            self._before_commit()
        done = super().execute(statements, bindings, **options)
        if statements == "COMMIT":
            self.process.point()  # durable, and nobody knows
        return done

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if kind is None:
            self._sync_folder()
        return super().__exit__(kind, error, at)

    def executemany(self, statements: str, sequenceofbindings: Any, **options: Any) -> apsw.Cursor:
        self.process.require_alive()
        return super().executemany(statements, sequenceofbindings, **options)

    def close(self, force: bool = False) -> None:
        if self._is_open:
            self._is_open = False
            self.process.require_alive()
            self.disk.index_image = self.serialize("main")
        super().close(force)

    def committed_image(self) -> bytes:
        """What is in it now, as far as it is known to be committed or about to be."""
        return bytes(self.serialize("main"))

    def _before_commit(self) -> None:
        self.process.point()
        if self.disk.is_full:
            super().execute("ROLLBACK")
            raise apsw.FullError("FullError: database or disk is full")
        if self.disk.failing_syncs:
            self.disk.failing_syncs -= 1
            super().execute("ROLLBACK")
            failure = apsw.IOError("IOError: disk I/O error")
            failure.extendedresult = apsw.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined]  # as SQLite's own have it
            raise failure
        self._sync_folder()

    def _sync_folder(self) -> None:
        if not self._has_synced_folder:
            self._has_synced_folder = True
            with suppress(OSError):  # SQLite does not look at what comes of it
                self.disk.sync(self._folder())

    def _abandon(self) -> None:
        """The process is gone: what was committed is on the disk."""
        if not self._is_open:
            return
        self._is_open = False
        if self.in_transaction:
            with suppress(apsw.Error):
                super().execute("ROLLBACK")
        self.disk.index_image = self.serialize("main")
        super().close(True)

    def _file(self, name: str) -> None:
        """The entry that others look for; SQLite makes it durable with its first commit."""
        folder = self._folder()
        if not isinstance(folder.entries.get(name), File):
            self.disk.index_image = None
            self.disk.sync(self.disk.new_file(folder, name))

    def _folder(self) -> Folder:
        folder = self.disk.root.entries.get(INDEX_FOLDER)
        assert isinstance(folder, Folder)
        return folder
