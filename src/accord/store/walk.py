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
from operator import attrgetter

from accord.errors import InvalidPath, StoreFailed
from accord.model.names import MAX_PATH_BYTES, MAX_SEGMENT_BYTES, PRIVATE_FOLDER, FilePath, are_plain_segments
from accord.store.confinement import Confinement
from accord.store.survey import Survey, shown

RUN_FILES = 256
"""At most so many files are handed over at a time."""
SIGHTED_FILES = 1024
"""... where all that is wanted are their stat data."""
_SHORT_FOLDER_CHARS = MAX_PATH_BYTES // 4 - MAX_SEGMENT_BYTES
"""Below a folder with a path of at most so many characters, no name of allowed length makes a path that is too long."""

_NOTHING_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


@dataclass(slots=True)
class Run:
    """Files of one folder, in order. `folder` is empty or ends with a slash; `folder_fd` is open until the next run is asked for."""

    folder: str
    folder_fd: int
    paths: list[FilePath]


Sighted = tuple[str, int, int, int, int, int]
"""The path of a file, and the five of its `Stat`: plain tuples, as a million of them are compared with the index's rows."""
_five = attrgetter("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev")


class _Level:
    """A folder being walked: its entries (a folder's with a slash), and how many are done."""

    __slots__ = ("entries", "folder", "has_folders", "next")

    def __init__(self, folder: str, entries: list[str]) -> None:
        self.folder = folder
        self.entries = entries
        self.has_folders = "/" in "".join(entries)
        self.next = 0


def walk_runs(
    beneath: Confinement, prefix: str = "", after: str | None = None, survey: Survey | None = None
) -> Iterator[Run]:
    """Every regular file below `prefix` (empty, or with a slash at its end) that sorts after `after`. Raises `StoreFailed` for what
    cannot be read, unless there is a `survey` to note it."""
    for folder, fd, names in _name_runs(beneath, prefix, after, RUN_FILES, survey):
        yield Run(folder, fd, [FilePath.trusted(folder + name) for name in names])


def sightings(beneath: Confinement, prefix: str, survey: Survey) -> Iterator[list[Sighted]]:
    """The same files with their stat data, at most `SIGHTED_FILES` at a time; what cannot be read is noted. No call of ours for each
    file: this is what a scan of an unchanged tree consists of. What became something else than a file meanwhile differs from what is
    recorded, and gets a closer look; so does what `Stat` would bound."""
    for folder, fd, names in _name_runs(beneath, prefix, None, SIGHTED_FILES, survey):
        yield _sighted(folder, fd, names, survey)


def _sighted(folder: str, fd: int, names: list[str], survey: Survey) -> list[Sighted]:
    try:
        return [
            (folder + name, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino, seen.st_dev)
            for name in names
            for seen in (os.stat(name, dir_fd=fd, follow_symlinks=False),)
        ]
    except OSError:  # one of them is gone, or cannot be looked at
        run = Run(folder, fd, [FilePath.trusted(folder + name) for name in names])
        found = [(path, stat_in(run, path, survey)) for path in run.paths]
        return [(path, *_five(status)) for path, status in found if status is not None]


def _name_runs(
    beneath: Confinement, prefix: str, after: str | None, most_files: int, survey: Survey | None
) -> Iterator[tuple[str, int, list[str]]]:
    """A folder, its open file descriptor, and names of some of its files, in order."""
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
        for fd, names in _runs(beneath, level, most_files, survey):
            yield level.folder, fd, names


def _runs(
    beneath: Confinement, level: _Level, most_files: int, survey: Survey | None
) -> Iterator[tuple[int, list[str]]]:
    """The files up to the next folder."""
    try:
        fd = beneath.open_folder(level.folder.removesuffix("/"))
    except OSError as error:
        _unless_gone(error, level.folder, survey)
        level.next = len(level.entries)
        return
    try:
        while level.next < len(level.entries) and not level.entries[level.next].endswith("/"):
            names = level.entries[level.next : level.next + most_files]
            if level.has_folders:
                names = names[: next((at for at, name in enumerate(names) if name.endswith("/")), None)]
            level.next += len(names)
            yield fd, names
    finally:
        os.close(fd)


def _entries(beneath: Confinement, folder: str, after: str | None, survey: Survey | None) -> list[str]:
    """The entries that are on the way to files after `after`, sorted."""
    try:
        fd = beneath.open_folder(folder.removesuffix("/"))
        try:
            with os.scandir(fd) as listing:
                names = [
                    name
                    for entry in listing
                    if (name := entry.name if entry.is_file(follow_symlinks=False) else _folder_name(entry))
                ]
        finally:
            os.close(fd)
    except OSError as error:
        _unless_gone(error, folder, survey)
        return []
    if len(folder) > _SHORT_FOLDER_CHARS or not are_plain_segments(names):
        names = [name for name in names if _is_path(folder, name, survey)]
    if survey is not None:
        survey.note_names(folder, names)
    if after is not None:
        names = [name for name in names if _comes_after(folder + name, after)]
    names.sort()
    return names


def _folder_name(entry: os.DirEntry[str]) -> str | None:
    """With a slash; None for what is neither file nor folder, also for what is gone by now."""
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
