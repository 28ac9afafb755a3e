"""Where a store writes: its staging folder, its quarantine, and what each step of the one recipe needs; the recipe is `committing`'s.

Quarantine keeps damaged copies after a good one has replaced them, for people to look at: the newest, for some days. Blocking.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from accord.errors import Conflict, DiskFull, StoreFailed
from accord.model.names import FilePath
from accord.model.verdict import EMPTY_FOLDER, FOLDER
from accord.quantities import NS_PER_S
from accord.store.confinement import FILE_ABOVE, FOLDER_FLAGS, SYMLINK, Confinement, NotAFile, open_at, require_regular
from accord.store.health import Health
from accord.store.index import Index
from accord.store.records import Stat

_NEW_FOLDER_MODE = 0o777
QUARANTINE_FILES = 100
"""So many damaged copies are kept, the newest, for `keep_days`."""
MAX_EMPTY_FOLDERS = 1_000
"""A tree of more folders than this is not looked through for files: it does not count as empty."""
MAX_DURABLE_FOLDERS = 10_000
"""So many are remembered; then each is synced once more."""
DISK_THREADS = 4
"""So many long files are written to at once; the others take turns, a buffer at a time."""
NS_PER_DAY = 86_400 * NS_PER_S


def store_failure(error: OSError, doing: str) -> StoreFailed:
    """What the operating system refused, as ours."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"There is no space left for {doing}.")
    return StoreFailed(f"{doing[:1].upper()}{doing[1:]} failed: {os.strerror(error.errno or 0)}.")


def no_step(name: str) -> None:
    """Called before each step that changes something on the disk; a test puts its crashes here."""


@dataclass
class Workshop:
    """Where writing happens: folders inside the private one (kept open), the index, and who is told what went wrong for good.

    `fsync` and `step` are injected so that a test can let them fail.
    """

    beneath: Confinement
    index: Index
    staging_fd: int
    quarantine_fd: int
    now_ns: Callable[[], int]
    health: Health
    fsync: Callable[[int], None] = os.fsync
    keep_days: int = 30
    step: Callable[[str], None] = no_step
    can_pass_cache: bool = True
    """Until the file system refuses it: see `outflow`."""
    durable_folders: dict[str, int] = field(default_factory=dict)
    """The inodes of folders whose entries are known to be synced, up to the root."""
    disk: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="accord-disk")
    )
    """Nothing but writing in them, so that whoever waits for one never waits for itself."""

    def sync(self, fd: int) -> None:
        """Raises `StoreFailed`, and the store takes nothing in any more until it is started again. Once one has failed, none is tried:
        it would say of what the other could not write that it is durable."""
        self.health.refuse_after_failed_sync()
        self.step("sync")
        try:
            self.fsync(fd)
        except OSError as error:
            reason = f"a write could not be made durable ({os.strerror(error.errno or 0)})"
            self.health.fail(reason)
            raise StoreFailed(f"This server is degraded: {reason}.") from error

    def drop_staged(self, name: str) -> None:
        self.step("drop")
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.staging_fd)

    def staged_inode(self, name: str) -> int | None:
        """The inode of what has that name in staging, or None."""
        try:
            return os.stat(name, dir_fd=self.staging_fd, follow_symlinks=False).st_ino
        except FileNotFoundError:
            return None

    def clean_staging(self, but: Collection[str] = ()) -> None:
        """What a crash left half received. Raises `StoreFailed`."""
        try:
            for name in os.listdir(self.staging_fd):
                if name not in but:
                    with suppress(IsADirectoryError):  # not of ours
                        os.unlink(name, dir_fd=self.staging_fd)
        except OSError as error:
            raise store_failure(error, "cleaning up the staging folder") from error

    def quarantine(self, name: str, folder_fd: int) -> None:
        """Keep it for people to look at, as no copy of anything any more."""
        self.step("quarantine")
        os.rename(name, name, src_dir_fd=folder_fd, dst_dir_fd=self.quarantine_fd)
        self.sync(self.quarantine_fd)
        self.clean_quarantine()

    def clean_quarantine(self) -> None:
        """Damaged copies are kept for people to look at, not for ever. Their change time is when they were moved there."""
        fd, kept = self.quarantine_fd, []
        for name in os.listdir(fd):
            with suppress(FileNotFoundError):
                kept.append((os.stat(name, dir_fd=fd, follow_symlinks=False).st_ctime_ns, name))
        kept.sort(reverse=True)
        oldest_ns = self.now_ns() - self.keep_days * NS_PER_DAY
        for number, (moved_ns, name) in enumerate(kept):
            if number >= QUARANTINE_FILES or moved_ns < oldest_ns:
                with suppress(FileNotFoundError, IsADirectoryError):
                    os.unlink(name, dir_fd=fd)

    def seen_at(self, path: FilePath) -> Stat | str | None:
        """Stat data of the regular file at the path, None for nothing, or what is in the way. Raises `OSError`."""
        try:
            fd = self.beneath.probe(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            obstacle = {errno.ENOTDIR: FILE_ABOVE, errno.ELOOP: SYMLINK, errno.EXDEV: SYMLINK}.get(error.errno or 0)
            if obstacle is None:
                raise
            return obstacle
        try:
            status = os.fstat(fd)
            require_regular(status.st_mode)
            return Stat.of(status)
        except NotAFile as error:
            return EMPTY_FOLDER if error.obstacle == FOLDER and is_empty_tree(self.beneath, path) else error.obstacle
        finally:
            self.beneath.let_go(fd)

    def folder_for(self, path: FilePath) -> int:
        """The folder of `path`, open; what is missing on the way is made, and each new entry synced. Raises `OSError`."""
        with suppress(FileNotFoundError):
            return self.beneath.open_folder(path.parent)
        return self._durable_folder(path)

    def _durable_folder(self, path: FilePath) -> int:
        """As `folder_for`. An entry that somebody else made, or a killed process, may not be synced either: each is, once."""
        at, folder = self.beneath.open_folder(""), ""
        try:
            for segment in path.segments[:-1]:
                try:
                    below = open_at(at, segment, FOLDER_FLAGS)
                except FileNotFoundError:
                    self.step("mkdir")
                    with suppress(FileExistsError):
                        os.mkdir(segment, _NEW_FOLDER_MODE, dir_fd=at)
                    below = open_at(at, segment, FOLDER_FLAGS)
                try:
                    folder, inode = f"{folder}{segment}", os.fstat(below).st_ino
                    if self.durable_folders.get(folder) != inode:
                        self.sync(at)
                        self._note_durable(folder, inode)
                    folder += "/"
                except BaseException:
                    os.close(below)
                    raise
                os.close(at)
                at = below
        except BaseException:
            os.close(at)
            raise
        return at

    def require_place(self, path: FilePath, *, is_taken: bool) -> None:
        """Everything comes to a path and leaves it by renaming, which cannot be done across mounts. Asked before anything is promised;
        the folder is made where it is missing, and looked at. `is_taken`: there is a file. Raises `Conflict`, `OSError`."""
        is_elsewhere = bool(path.parent) and self._is_folder_elsewhere(path)
        if is_taken and not is_elsewhere:
            with suppress(FileNotFoundError):
                is_elsewhere = self.beneath.is_on_another_mount(path)
        if is_elsewhere:
            raise Conflict(
                f"'{path}' is on another file system than the rest of the folder: it can only be read.", path=path
            )

    def _is_folder_elsewhere(self, path: FilePath) -> bool:
        with suppress(FileNotFoundError):
            inode = self.beneath.inode_here(path.parent)
            if inode is None or self.durable_folders.get(path.parent) == inode:
                return inode is None
        os.close(self._durable_folder(path))
        return self.beneath.is_on_another_mount(path.parent)

    def _note_durable(self, folder: str, inode: int) -> None:
        if len(self.durable_folders) >= MAX_DURABLE_FOLDERS:
            self.durable_folders.clear()
        self.durable_folders[folder] = inode

    def prune_above(self, path: FilePath) -> None:
        """Remove the folders above `path` that have become empty; never the root. They exist by their files."""
        folder = path.parent
        while folder:
            above, _, name = folder.rpartition("/")
            self.step("rmdir")
            self.durable_folders.pop(folder, None)
            try:
                fd = self.beneath.open_folder(above)
                try:
                    os.rmdir(name, dir_fd=fd)
                finally:
                    os.close(fd)
            except FileNotFoundError:
                pass
            except OSError:
                return
            folder = above

    def remove_empty_tree(self, path: FilePath) -> None:
        """The folder at `path` gives way to a file, if there is nothing in it but empty folders. Raises `OSError` otherwise."""
        for folder in reversed(_folders_of(self.beneath, path) or []):
            above, _, name = folder.rpartition("/")
            self.step("rmdir")
            self.durable_folders.pop(folder, None)
            fd = self.beneath.open_folder(above)
            try:
                os.rmdir(name, dir_fd=fd)
            finally:
                os.close(fd)


def is_empty_tree(beneath: Confinement, path: str) -> bool:
    """Whether there is nothing at the folder `path` but empty folders. What cannot be looked at is not empty."""
    try:
        return _folders_of(beneath, path) is not None
    except OSError:
        return False


def _folders_of(beneath: Confinement, path: str) -> list[str] | None:
    """The folder and all below it, the deeper after the higher; None where there is a file among them. Raises `OSError`."""
    folders = [path]
    for folder in folders:
        fd = beneath.open_folder(folder)
        try:
            with os.scandir(fd) as listing:
                for entry in listing:
                    if not stat.S_ISDIR(entry.stat(follow_symlinks=False).st_mode) or len(folders) >= MAX_EMPTY_FOLDERS:
                        return None
                    folders.append(f"{folder}/{entry.name}")
        finally:
            os.close(fd)
    return folders
