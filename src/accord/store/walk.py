"""Walking a tree in the order of its paths' UTF-8 bytes, from any path on, in memory bounded by the largest folders on the way.

A folder sorts as its name with a slash. Text that is valid UTF-8 sorts by code points exactly as its bytes do. Folders are opened by
their whole path through the confinement, and again after each folder within them, so that depth costs no file descriptors.
The private folder and symbolic links are passed over, and so are names that are no paths. What is at the paths is left to others.
Blocking.

Only what is not there is nothing: a folder that cannot be read (permissions, file descriptors, the disk) raises `StoreFailed`, as its
files would otherwise be told to be absent. Who would rather go on gives a `Survey`, which then says what was left out.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from accord.errors import InvalidPath, StoreFailed
from accord.model.names import PRIVATE_FOLDER, FilePath
from accord.store.confinement import Confinement
from accord.store.survey import Survey, shown

RUN_FILES = 256
"""At most so many files are handed over at a time."""

_NOTHING_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


@dataclass(slots=True)
class Run:
    """Files of one folder, in order. `folder` is empty or ends with a slash; `folder_fd` is open until the next run is asked for."""

    folder: str
    folder_fd: int
    paths: list[FilePath]


class _Level:
    """A folder being walked: its entries (a folder's with a slash), and how many are done."""

    __slots__ = ("entries", "folder", "next")

    def __init__(self, folder: str, entries: list[str]) -> None:
        self.folder = folder
        self.entries = entries
        self.next = 0


def walk_runs(
    beneath: Confinement, prefix: str = "", after: str | None = None, survey: Survey | None = None
) -> Iterator[Run]:
    """Every regular file below `prefix` (empty, or with a slash at its end) that sorts after `after`. Raises `StoreFailed` for what
    cannot be read, unless there is a `survey` to note it."""
    stack = [_Level(prefix, _entries(beneath, prefix, after, survey))]
    while stack:
        level = stack[-1]
        if level.next == len(level.entries):
            stack.pop()
            continue
        entry = level.entries[level.next]
        if entry.endswith("/"):
            level.next += 1
            stack.append(_Level(level.folder + entry, _entries(beneath, level.folder + entry, after, survey)))
            continue
        yield from _runs(beneath, level, survey)


def _runs(beneath: Confinement, level: _Level, survey: Survey | None) -> Iterator[Run]:
    """The files up to the next folder."""
    try:
        fd = beneath.open_folder(level.folder.removesuffix("/"))
    except OSError as error:
        _unless_gone(error, level.folder, survey)
        level.next = len(level.entries)
        return
    try:
        while level.next < len(level.entries) and not level.entries[level.next].endswith("/"):
            paths = []
            for entry in level.entries[level.next : level.next + RUN_FILES]:
                if entry.endswith("/"):
                    break
                paths.append(FilePath.trusted(level.folder + entry))
            level.next += len(paths)
            yield Run(level.folder, fd, paths)
    finally:
        os.close(fd)


def _entries(beneath: Confinement, folder: str, after: str | None, survey: Survey | None) -> list[str]:
    """The entries that are on the way to files after `after`, sorted."""
    try:
        fd = beneath.open_folder(folder.removesuffix("/"))
        try:
            with os.scandir(fd) as listing:
                names = [name for entry in listing if (name := _name_of(entry)) and _is_path(folder, name, survey)]
        finally:
            os.close(fd)
    except OSError as error:
        _unless_gone(error, folder, survey)
        return []
    if survey is not None:
        survey.note_names(folder, names)
    if after is not None:
        names = [name for name in names if _comes_after(folder + name, after)]
    names.sort()
    return names


def _name_of(entry: os.DirEntry[str]) -> str | None:
    """The name of a file, or of a folder with a slash; None for anything else, also for what is gone by now."""
    if entry.is_file(follow_symlinks=False):
        return entry.name
    return entry.name + "/" if entry.is_dir(follow_symlinks=False) else None


def _is_path(folder: str, name: str, survey: Survey | None) -> bool:
    try:
        FilePath(folder + name.removesuffix("/"))
    except InvalidPath:
        if survey is not None and folder + name != f"{PRIVATE_FOLDER}/":
            survey.note_unnameable(folder + name)
        return False
    return True


def _unless_gone(error: OSError, path: str, survey: Survey | None) -> None:
    """Nothing, where there is nothing (any more). Otherwise a note, or `StoreFailed`."""
    if error.errno in _NOTHING_THERE:
        return
    reason = os.strerror(error.errno or 0)
    if survey is None:
        raise StoreFailed(f"'{shown(path) or '/'}' cannot be read ({reason}).", path=path) from error
    survey.note_unreadable(path, reason)


def _comes_after(path: str, after: str) -> bool:
    return path > after or (path.endswith("/") and after.startswith(path))


def stat_in(run: Run, path: FilePath, survey: Survey | None = None) -> os.stat_result | None:
    """Stat data of one of the run's files; None if it is gone, or no regular file any more. Raises like `walk_runs`."""
    try:
        status = os.stat(path[len(run.folder) :], dir_fd=run.folder_fd, follow_symlinks=False)
    except OSError as error:
        _unless_gone(error, path, survey)
        return None
    return status if stat.S_ISREG(status.st_mode) else None
