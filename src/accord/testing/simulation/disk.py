"""A disk with a page cache: what was written is not there for good before it was synced.

Content becomes durable by a sync of the file, names by a sync of their folder, in whole operations: a rename is one, across folders
too. A sync of a file also brings the name that it was given when it was made or linked, as Linux file systems do. When the power
fails, what was not synced survives in part, as the seed has it: each operation or not (never one without those before it on the same
name), each file as it was synced, as it is, cut, or with zeros where its bytes should be.

What processes may do with a disk is `kernel`'s; when things go wrong, `faults` decides.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

WRITTEN_BACK_S = 30.0
"""After so long the kernel has written out what nobody synced."""
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755


class Meta(NamedTuple):
    mode: int
    mtime_ns: int


class Inode:
    """`ctime_ns` is the kernel's own, and moves with everything."""

    __slots__ = ("ctime_ns", "links", "mode", "mtime_ns", "number")

    def __init__(self, number: int, mode: int, now_ns: int) -> None:
        self.number = number
        self.mode = mode
        self.mtime_ns = self.ctime_ns = now_ns
        self.links = 0


class File(Inode):
    """`synced` is what a power failure leaves of it, None for nothing."""

    __slots__ = ("content", "dirty_since_s", "is_rotten", "is_unreadable", "synced", "synced_meta")

    def __init__(self, number: int, now_ns: int) -> None:
        super().__init__(number, stat.S_IFREG | _FILE_MODE, now_ns)
        self.content = bytearray()
        self.synced: bytes | None = None
        self.synced_meta = Meta(self.mode, now_ns)
        self.dirty_since_s: float | None = None
        self.is_unreadable = self.is_rotten = False


class Folder(Inode):
    """`entries` are what is seen; `durable`, what a power failure leaves."""

    __slots__ = ("durable", "entries")

    def __init__(self, number: int, now_ns: int) -> None:
        super().__init__(number, stat.S_IFDIR | _FOLDER_MODE, now_ns)
        self.entries: dict[str, Inode] = {}
        self.durable: dict[str, Inode] = {}


class Slot(NamedTuple):
    """A name in a folder, and what it is to stand for: None for nothing."""

    folder: Folder
    name: str
    after: Inode | None

    @property
    def key(self) -> tuple[int, str]:
        return self.folder.number, self.name


class Operation(NamedTuple):
    """A change of names, all of it or nothing. `gives` is the file that is named anew by it (made or linked)."""

    slots: tuple[Slot, ...]
    at_s: float
    gives: Inode | None


class Disk:
    """`now_s` is a monotonic time, `now_ns` what files are stamped with. `journals`: a sync of anything brings every change of names
    before it, as on ext4 and XFS; otherwise only those that belong to it."""

    def __init__(
        self, number: int, now_s: Callable[[], float], now_ns: Callable[[], int], *, journals: bool = False
    ) -> None:
        self.number = number
        self.now_ns = now_ns
        self.journals = journals
        self.is_full = False
        self.failing_syncs = 0
        self.index_image: bytes | None = None
        """What the index holds durably."""
        self._now_s = now_s
        self._pending: list[Operation] = []
        self._dirty: dict[File, None] = {}
        self._never_written: dict[File, None] = {}
        """What a failed sync was of: seen as long as the power lasts."""
        self._inodes = 1
        self.root = Folder(1, now_ns())

    # Names.

    def new_file(self, folder: Folder, name: str) -> File:
        file = File(self._next_number(), self.now_ns())
        file.dirty_since_s = self._now_s()
        self._dirty[file] = None
        self.rename_slots((Slot(folder, name, file),), gives=file)
        return file

    def new_folder(self, folder: Folder, name: str) -> Folder:
        made = Folder(self._next_number(), self.now_ns())
        self.rename_slots((Slot(folder, name, made),))
        return made

    def rename_slots(self, slots: tuple[Slot, ...], *, gives: Inode | None = None) -> None:
        """One change of names, seen at once."""
        now_ns = self.now_ns()
        for folder, name, after in slots:
            before = folder.entries.get(name)
            if before is not None:
                before.links -= 1
                before.ctime_ns = now_ns
            if after is None:
                folder.entries.pop(name, None)
            else:
                folder.entries[name] = after
                after.links += 1
                after.ctime_ns = now_ns
            folder.mtime_ns = folder.ctime_ns = now_ns
        self._pending.append(Operation(slots, self._now_s(), gives))

    # Content.

    def write(self, file: File, offset: int, data: bytes | bytearray | memoryview) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if offset > len(file.content):
            file.content += bytes(offset - len(file.content))
        file.content[offset : offset + len(data)] = data
        file.is_unreadable = False
        self.stamp(file)

    def truncate(self, file: File, size: int) -> None:
        del file.content[size:]
        file.content += bytes(size - len(file.content))
        self.stamp(file)

    def stamp(self, file: File) -> None:
        """It was written to, now."""
        file.mtime_ns = file.ctime_ns = self.now_ns()
        self.soil(file)

    def soil(self, file: File) -> None:
        if file.dirty_since_s is None:
            file.dirty_since_s = self._now_s()
            self._dirty[file] = None

    # What is durable.

    def sync(self, inode: Inode) -> None:
        """Raises `OSError` (EIO) where the disk fails; what was dirty is then clean, and lost: the kernel tells only once."""
        self._write_back()
        if self.failing_syncs:
            self.failing_syncs -= 1
            if isinstance(inode, File) and inode.dirty_since_s is not None:
                self._forget_dirty(inode)
                self._never_written[inode] = None
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if isinstance(inode, File):
            if inode.dirty_since_s is not None:
                self._clean(inode)
            self._settle(lambda operation: self.journals or operation.gives is inode)
        else:
            self._settle(lambda operation: self.journals or any(slot.folder is inode for slot in operation.slots))
        if self.journals:  # times and modes are in the journal, too
            for file in self._dirty:
                file.synced_meta = Meta(file.mode, file.mtime_ns)

    def sync_all(self) -> None:
        for file in list(self._dirty):
            self._clean(file)
        self._settle(lambda operation: True)

    def lose_power(self, random: Random) -> None:
        """Only what is durable is left, and some of the rest."""
        self._write_back()
        chance = random.choice((0.0, 0.0, 0.3, 0.7, 1.0))
        lost: set[tuple[int, str]] = set()
        for operation in self._pending:
            keys = [slot.key for slot in operation.slots]
            if any(key in lost for key in keys) or random.random() >= chance:
                lost.update(keys)
            else:
                _apply(operation)
        self._pending.clear()
        for file in list(self._dirty):
            _lose(file, random)
        for file in self._never_written:
            file.content = bytearray(file.synced or b"")
            file.synced = bytes(file.content)
        self._dirty.clear()
        self._never_written.clear()
        self._see_only_what_is_durable()

    def durable_files(self) -> Iterator[tuple[str, File]]:
        """What a power failure would leave at the least, with its path; `synced` is the content."""
        self._write_back()
        folders = [("", self.root)]
        while folders:
            above, folder = folders.pop()
            for name, inode in folder.durable.items():
                if isinstance(inode, Folder):
                    folders.append((f"{above}{name}/", inode))
                elif isinstance(inode, File):
                    yield above + name, inode

    def files(self) -> Iterator[tuple[str, File]]:
        """What is seen, with its path."""
        folders = [("", self.root)]
        while folders:
            above, folder = folders.pop()
            for name, inode in folder.entries.items():
                if isinstance(inode, Folder):
                    folders.append((f"{above}{name}/", inode))
                elif isinstance(inode, File):
                    yield above + name, inode

    def _next_number(self) -> int:
        self._inodes += 1
        return self._inodes

    def _write_back(self) -> None:
        """What the kernel has done by itself meanwhile."""
        before_s = self._now_s() - WRITTEN_BACK_S
        if self._pending and self._pending[0].at_s < before_s:
            self._settle(lambda operation: operation.at_s < before_s)
        for file in [one for one in self._dirty if (one.dirty_since_s or 0.0) < before_s]:
            self._clean(file)

    def _settle(self, wanted: Callable[[Operation], bool]) -> None:
        """Make the wanted operations durable, and those before them on the same names."""
        keys: set[tuple[int, str]] = set()
        chosen, rest = [], []
        for operation in reversed(self._pending):
            if wanted(operation) or any(slot.key in keys for slot in operation.slots):
                keys.update(slot.key for slot in operation.slots)
                chosen.append(operation)
            else:
                rest.append(operation)
        for operation in reversed(chosen):
            _apply(operation)
        self._pending = rest[::-1]

    def _clean(self, file: File) -> None:
        file.synced = bytes(file.content)
        self._never_written.pop(file, None)
        self._forget_dirty(file)

    def _forget_dirty(self, file: File) -> None:
        file.synced_meta = Meta(file.mode, file.mtime_ns)
        file.dirty_since_s = None
        self._dirty.pop(file, None)

    def _see_only_what_is_durable(self) -> None:
        folders = [self.root]
        while folders:
            folder = folders.pop()
            folder.entries = dict(folder.durable)
            for inode in folder.entries.values():
                inode.links = 1
                if isinstance(inode, Folder):
                    folders.append(inode)


def _apply(operation: Operation) -> None:
    for folder, name, after in operation.slots:
        if after is None:
            folder.durable.pop(name, None)
        else:
            folder.durable[name] = after


def _lose(file: File, random: Random) -> None:
    """What is left of content that was not synced."""
    synced, content = file.synced or b"", bytes(file.content)
    fate = random.randrange(2 if file.synced == content else 4)
    if fate == 0:
        left = synced
    elif fate == 1:
        left = content
    elif fate == 2:
        left = content[: random.randrange(len(content) + 1)]
    else:
        at = random.randrange(len(content) + 1)
        left = content[:at] + bytes(len(content) - at)
    if fate == 0 and file.synced is not None:
        file.mode, file.mtime_ns = file.synced_meta
    file.content = bytearray(left)
    file.synced = left
    file.synced_meta = Meta(file.mode, file.mtime_ns)
    file.dirty_since_s = None
