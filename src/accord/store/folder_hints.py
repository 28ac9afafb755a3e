"""File-system hints by inotify: the adapter of `hints.Hints`. One thread, which mostly sleeps.

Every folder is watched by itself, but for the private one: that hears of every write that this server makes. A new folder is told as a
whole, as what was put into it before it was watched was missed. Where the kernel has lost notices, all folders are looked for anew.
Watching that fails (too many folders for the kernel's limit, a system without such a thing) is said once, and given up: scans by
schedule find everything.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from accord.model.names import PRIVATE_FOLDER
from accord.store.hints import MAX_HINTS, Told
from accord.store.inotify import Inotify, Notice

if TYPE_CHECKING:
    from accord.store.hints import Hints

STEP_S = 0.05
PATIENCE_S = 0.4
"""Changes are told once there was none for a step, at the latest after this. Nor is this thread woken more often than once a step,
however many there are."""

_NOT_WATCHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG})
"""A folder that is gone again, is something else by now, or may not be read: the others are watched all the same."""

_log = structlog.get_logger("accord.scan")


class FolderHints:
    """Of the tree in `root`."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._told: Told | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = threading.Event()
        self._kernel: Inotify | None = None
        self._folders: dict[int, str] = {}
        self._watches: dict[str, int] = {}
        self._thread: threading.Thread | None = None

    def start(self, told: Told) -> None:
        self._told = told
        self._loop = asyncio.get_running_loop()
        try:
            self._kernel = Inotify()
        except OSError as error:
            self._give_up(error)
            return
        self._thread = threading.Thread(target=self._guarded, args=(self._kernel,), name="accord-hints", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        self._closed.set()
        if self._kernel is not None and self._thread is not None:
            self._kernel.stop()
            await asyncio.to_thread(self._thread.join)
            self._kernel.close()
            self._kernel = None

    def _guarded(self, kernel: Inotify) -> None:
        try:
            self._watch_below(kernel, "")
            while not self._closed.is_set():
                self._hear(kernel)
        except OSError as error:
            kernel.let_go()
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        _log.warning("changes in the folder are not heard of at once, but by scans", reason=error.strerror)
        self._tell(None)

    def _hear(self, kernel: Inotify) -> None:
        """What comes together is told together."""
        kernel.wait()
        told_s = time.monotonic() + PATIENCE_S
        changed: set[str] = set()
        is_too_much, is_quiet = False, False
        while not is_quiet and time.monotonic() < told_s:
            is_quiet = True
            for notice in kernel.notices():
                is_quiet = False
                changed.update(self._taken(kernel, notice))
                is_too_much = is_too_much or notice.is_overflow or len(changed) > MAX_HINTS
            if is_too_much:
                changed.clear()
            self._closed.wait(STEP_S)
        if is_too_much or changed:
            self._tell(None if is_too_much else changed)

    def _taken(self, kernel: Inotify, notice: Notice) -> Collection[str]:
        """The path that the notice is of, if anybody is to hear of it."""
        if notice.is_overflow:
            self._watch_below(kernel, "")
            return ()
        folder = self._folders.get(notice.watch)
        if notice.is_end:
            self._forget(notice.watch)
        if folder is None or not notice.name or (not folder and notice.name == PRIVATE_FOLDER):
            return ()
        path = f"{folder}/{notice.name}" if folder else notice.name
        if notice.is_folder:
            if notice.has_moved_away:
                self._let_go(kernel, path)
            elif notice.has_come or path not in self._watches:  # it may not have been allowed to be read
                self._watch_below(kernel, path)
        return (path,)

    def _watch_below(self, kernel: Inotify, top: str) -> None:
        """The folder and all below it, each before it is looked through: what comes meanwhile is seen, or noticed, or both."""
        waiting = [top]
        while waiting and not self._closed.is_set():
            folder = waiting.pop()
            place = os.path.join(self._root, folder)
            try:
                watch = kernel.add(place)
                self._remember(folder, watch)
                with os.scandir(place) as listing:
                    names = [entry.name for entry in listing if entry.is_dir(follow_symlinks=False)]
            except OSError as error:
                if error.errno not in _NOT_WATCHED:
                    raise
                continue
            if folder:
                waiting += [f"{folder}/{name}" for name in names]
            else:
                waiting += [name for name in names if name != PRIVATE_FOLDER]

    def _remember(self, folder: str, watch: int) -> None:
        before = self._folders.get(watch)
        if before is not None and before != folder:
            self._watches.pop(before, None)  # it has moved
        self._folders[watch] = folder
        self._watches[folder] = watch

    def _forget(self, watch: int) -> None:
        folder = self._folders.pop(watch, None)
        if folder is not None and self._watches.get(folder) == watch:  # there may be another folder in its place by now
            del self._watches[folder]

    def _let_go(self, kernel: Inotify, top: str) -> None:
        """It was moved, who knows where to: what is below it has other paths, or is not ours any more."""
        below = f"{top}/"
        for watch in [watch for folder, watch in self._watches.items() if folder == top or folder.startswith(below)]:
            kernel.remove(watch)
            self._forget(watch)

    def _tell(self, paths: Collection[str] | None) -> None:
        """Of those that came while the event loop was being closed nobody wants to know."""
        assert self._loop is not None
        assert self._told is not None
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._told, paths)


if TYPE_CHECKING:

    def _keeps_the_contract(hints: FolderHints) -> Hints:
        return hints
