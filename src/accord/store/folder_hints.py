"""File-system hints by watchfiles (inotify on Linux): the adapter of `hints.Hints`. Two threads, which mostly sleep.

The top folder is watched by itself, and all the folders in it but the private one together with what is below them: the private
folder hears of every write that this server makes. A new folder at the top begins the second watch anew, and is told as a whole, as
whatever was put into it meanwhile was missed. Watching that fails (too many folders for the kernel's limit, a file system without such
a thing) is said once, and given up: scans by schedule find everything.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from watchfiles import watch

from accord.model.names import PRIVATE_FOLDER
from accord.store.hints import MAX_HINTS, Told

if TYPE_CHECKING:
    from accord.store.hints import Hints

DEBOUNCE_MS = 400
STEP_MS = 50
"""Changes are told once there was none for a step, at the latest after the debounce."""

_log = structlog.get_logger("accord.scan")


class FolderHints:
    """Of the tree in `root`."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._told: Told | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = threading.Event()
        self._giving_up = threading.Lock()
        self._again = threading.Event()
        self._watched: frozenset[str] = frozenset()
        self._threads: list[threading.Thread] = []

    def start(self, told: Told) -> None:
        self._told = told
        self._loop = asyncio.get_running_loop()
        for work, name in ((self._watch_top, "accord-hints-top"), (self._watch_below, "accord-hints")):
            thread = threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    async def close(self) -> None:
        self._closed.set()
        self._again.set()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, RuntimeError) as error:  # what the kernel refuses comes as one or the other
            with self._giving_up:
                if not self._closed.is_set():
                    _log.warning("changes in the folder are not heard of at once, but by scans", reason=str(error))
                    self._tell(None)
                self._closed.set()
                self._again.set()

    def _watch_top(self) -> None:
        for changed in self._changes([self._root], self._closed, recursive=False):
            self._tell(changed)
            if self._folders() != self._watched:
                self._again.set()

    def _watch_below(self) -> None:
        while not self._closed.is_set():
            self._again.clear()
            folders = self._folders()
            new, self._watched = folders - self._watched, folders
            self._tell(new)
            if not folders:
                self._again.wait()
                continue
            for changed in self._changes(sorted(folders), self._again, recursive=True):
                self._tell(changed)

    def _folders(self) -> frozenset[str]:
        with os.scandir(self._root) as listing:
            return frozenset(
                entry.name for entry in listing if entry.is_dir(follow_symlinks=False) and entry.name != PRIVATE_FOLDER
            )

    def _changes(self, paths: Collection[str], stop: threading.Event, *, recursive: bool) -> Iterator[set[str]]:
        """Sets of paths that changed, relative to the root, until `stop` is set."""
        for changes in watch(
            *(os.path.join(self._root, path) for path in paths),
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stop,
            recursive=recursive,
            ignore_permission_denied=True,
        ):
            told = {os.path.relpath(path, self._root) for _, path in changes}
            yield {path for path in told if path != "." and path.partition("/")[0] != PRIVATE_FOLDER}

    def _tell(self, paths: Collection[str] | None) -> None:
        """Of those that came while the event loop was being closed nobody wants to know."""
        if paths is not None and not paths:
            return
        assert self._loop is not None
        assert self._told is not None
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._told, None if paths is None or len(paths) > MAX_HINTS else paths)


if TYPE_CHECKING:

    def _keeps_the_contract(hints: FolderHints) -> Hints:
        return hints
