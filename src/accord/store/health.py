"""Whether a store is fit: what it says of itself at /ready, and whether it still takes anything in.

Three kinds of trouble are kept apart. After a failed sync nothing more is taken in until a restart. What is displaced (the root, the
private folder, the index are no longer what their paths name) is looked at twice a second: nothing is taken in while it lasts. A full
disk and an index that cannot be written only show: what fits is still taken in, and what does not fit is refused by itself.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from accord.errors import StoreFailed
from accord.model.names import PRIVATE_FOLDER
from accord.store.index import Index
from accord.store.index_file import INDEX_NAME, LOCK_NAME
from accord.store.inventory import Space

MIN_FREE_BYTES = 4 * 1024 * 1024
"""With less room than this the disk counts as full."""
FREE_LOOK_S = 1.0
"""The room is looked at, when somebody asks, at most so often."""

_log = structlog.get_logger("accord.store")


@dataclass(frozen=True)
class Place:
    """What a path named when the store was opened, and what it means when it names something else."""

    path: Path
    inode: tuple[int, int]
    displaced: str

    def trouble(self) -> str | None:
        try:
            seen = os.stat(self.path)
        except FileNotFoundError:
            return self.displaced
        except OSError as error:
            return f"{self.displaced} ({os.strerror(error.errno or 0)})"
        return None if (seen.st_dev, seen.st_ino) == self.inode else self.displaced


class Health:
    """Thread-safe: each field is written whole."""

    def __init__(self, root: Path, root_fd: int, lock_fd: int, index: Index) -> None:
        root = root.absolute()
        self._index = index
        self._root_fd = root_fd
        self._index_file = root / PRIVATE_FOLDER / INDEX_NAME
        self._places = (
            _place(
                root, root_fd, "its folder was removed, moved or mounted over while it ran; put it back or restart it"
            ),
            _place(
                root / PRIVATE_FOLDER / LOCK_NAME,
                lock_fd,
                "its private folder was removed while it ran; restart it",
            ),
        )
        self._broken: str | None = None
        self._displaced: str | None = None
        self._full: str | None = None
        self._free_looked_s = -FREE_LOOK_S

    def fail(self, reason: str) -> None:
        """For good: nothing is taken in until the server is started again."""
        self._broken = reason

    def refusal(self) -> str | None:
        """Why nothing at all is taken in, or None."""
        return self._broken or self._index.unsound or self._displaced

    def refuse_if_unfit(self) -> None:
        """Raises `StoreFailed`."""
        _refuse(self.refusal())

    def refuse_after_failed_sync(self) -> None:
        """Raises `StoreFailed`."""
        _refuse(self._broken)

    def degraded(self) -> str | None:
        """The worst that is known, as a clause, or None."""
        failure = self._index.failure
        index = f"its index cannot be used ({failure.rstrip('.')})" if failure is not None else None
        return self.refusal() or self._fullness() or index

    def look(self) -> None:
        """Whether everything is still where it was. Blocking; a few microseconds."""
        found = next((trouble for place in self._places if (trouble := place.trouble())), None) or self._index_trouble()
        if found != self._displaced:
            _log.log(
                _ERROR if found else _INFO, "store is displaced" if found else "store is in its place", reason=found
            )
        self._displaced = found

    def space(self) -> Space:
        """Of the file system that the root is on. Raises `StoreFailed`."""
        try:
            space = os.fstatvfs(self._root_fd)
        except OSError as error:
            raise StoreFailed(f"The disk does not answer ({os.strerror(error.errno or 0)}).") from error
        return Space(space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize)

    def _index_trouble(self) -> str | None:
        with self._index.settled:  # while it is being mended the file may be missing
            try:
                os.stat(self._index_file)
            except FileNotFoundError:
                return "its index was removed while it ran; restart it"
            except OSError as error:
                return f"its index cannot be looked at ({os.strerror(error.errno or 0)})"
            return None

    def _fullness(self) -> str | None:
        now_s = time.monotonic()
        if now_s - self._free_looked_s >= FREE_LOOK_S:
            self._free_looked_s = now_s
            self._full = _fullness(self._root_fd)
        return self._full


_ERROR, _INFO = 40, 20


def _place(path: Path, fd: int, displaced: str) -> Place:
    status = os.fstat(fd)
    return Place(path, (status.st_dev, status.st_ino), displaced)


def _fullness(fd: int) -> str | None:
    try:
        space = os.fstatvfs(fd)
    except OSError as error:
        return f"its disk does not answer ({os.strerror(error.errno or 0)})"
    if space.f_bavail * space.f_frsize < MIN_FREE_BYTES:
        return "its disk is full"
    if space.f_files and not space.f_favail:
        return "its disk has no room for another file"
    return None


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise StoreFailed(f"This server no longer takes anything in: {reason}.")
