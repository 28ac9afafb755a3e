"""Where a store writes: its staging folder, its quarantine, and what each step of the one recipe needs; the recipe is `atomic`'s.

Quarantine keeps damaged copies after a good one has replaced them, for people to look at: the newest, for some days. Blocking.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from accord.errors import DiskFull, StoreFailed
from accord.model.names import FilePath
from accord.store.confinement import FOLDER_FLAGS, Confinement, NotAFile, open_at, require_regular
from accord.store.health import Health
from accord.store.index import Index
from accord.store.records import Stat

_NEW_FOLDER_MODE = 0o777
REPLACING_SUFFIX = ".replacing"
"""A temporary file gets this suffix just before it is exchanged with a damaged copy, and may be that copy since: start-up keeps it
in quarantine. Without it, it is something half received."""
QUARANTINE_FILES = 100
"""So many damaged copies are kept, the newest, for `keep_days`."""
_NS_PER_DAY = 86_400 * 10**9


def store_failure(error: OSError, doing: str) -> StoreFailed:
    """What the operating system refused, as ours."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"There is no space left for {doing}.")
    return StoreFailed(f"{doing[:1].upper()}{doing[1:]} failed: {os.strerror(error.errno or 0)}.")


@dataclass
class Workshop:
    """Where writing happens: folders inside the private one (kept open), the index, and who is told what went wrong for good.

    `fsync` is injected so that a test can let it fail.
    """

    beneath: Confinement
    index: Index
    staging_fd: int
    quarantine_fd: int
    now_ns: Callable[[], int]
    health: Health
    fsync: Callable[[int], None] = os.fsync
    keep_days: int = 30

    def sync(self, fd: int) -> None:
        """Raises `StoreFailed`, and the store takes nothing in any more until it is started again."""
        try:
            self.fsync(fd)
        except OSError as error:
            reason = f"a write could not be made durable ({os.strerror(error.errno or 0)})"
            self.health.fail(reason)
            raise StoreFailed(f"This server is degraded: {reason}.") from error

    def clean(self) -> None:
        """What a crash left in staging: dropped, but for copies that were being replaced."""
        for name in os.listdir(self.staging_fd):
            if name.endswith(REPLACING_SUFFIX):
                os.rename(name, name, src_dir_fd=self.staging_fd, dst_dir_fd=self.quarantine_fd)
            else:
                os.unlink(name, dir_fd=self.staging_fd)
        self.clean_quarantine()

    def clean_quarantine(self) -> None:
        """Damaged copies are kept for people to look at, not for ever. Their change time is when they were moved there."""
        fd, kept = self.quarantine_fd, []
        for name in os.listdir(fd):
            with suppress(FileNotFoundError):
                kept.append((os.stat(name, dir_fd=fd, follow_symlinks=False).st_ctime_ns, name))
        kept.sort(reverse=True)
        oldest_ns = self.now_ns() - self.keep_days * _NS_PER_DAY
        for number, (moved_ns, name) in enumerate(kept):
            if number >= QUARANTINE_FILES or moved_ns < oldest_ns:
                with suppress(FileNotFoundError, IsADirectoryError):
                    os.unlink(name, dir_fd=fd)

    def stat_of(self, path: FilePath) -> Stat | None:
        """Stat data of the regular file at the path, None for nothing. Raises `StoreFailed` for an obstacle."""
        try:
            fd = self.beneath.probe(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise store_failure(error, f"reaching '{path}'") from error
        try:
            status = os.fstat(fd)
            require_regular(status.st_mode)
            return Stat.of(status)
        except NotAFile as error:
            raise StoreFailed(f"There is {error.obstacle} at '{path}'.", path=path) from error
        finally:
            os.close(fd)

    def folder_for(self, path: FilePath) -> int:
        """The folder of `path`, open; what is missing on the way is made, and each new entry synced."""
        at = self.beneath.open_folder("")
        try:
            for segment in path.segments[:-1]:
                try:
                    below = open_at(at, segment, FOLDER_FLAGS)
                except FileNotFoundError:
                    with suppress(FileExistsError):
                        os.mkdir(segment, _NEW_FOLDER_MODE, dir_fd=at)
                    self.sync(at)
                    below = open_at(at, segment, FOLDER_FLAGS)
                os.close(at)
                at = below
        except BaseException:
            os.close(at)
            raise
        return at
