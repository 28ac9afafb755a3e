"""The test's hands on the disk of a store in memory: changes behind Accord's back, rot, obstacles, slow hashing, time that passes."""

from __future__ import annotations

import asyncio

from accord.model.names import Digest, FilePath
from accord.model.verdict import EMPTY_FOLDER, FOLDER, Absent, Answer
from accord.model.versions import Clock
from accord.store.confinement import FILE_ABOVE
from accord.store.records import RACY_WINDOW_NS, Record, Stat
from accord.testing.memory_bytes import MemoryFile, digest_of

_START_NS = 1_700_000_000_000_000_000


class MemoryHands:
    """`files` are those at the paths. What they mean is left to `MemoryStore`."""

    def __init__(self) -> None:
        self.files: dict[FilePath, MemoryFile] = {}
        self.records: dict[FilePath, Record] = {}
        self.kept: dict[FilePath, dict[Digest, MemoryFile]] = {}
        self.quarantine: list[bytes] = []
        self.cold = False
        """Nothing is in the caches: `glance` and `read_now` cannot say."""
        self.capacity_bytes: int | None = None
        """How much content fits, each by itself."""
        self.broken: str | None = None
        self.closed_folders: set[str] = set()
        """Folders that cannot be read."""
        self.gone: str | None = None
        """The directory is not in its place, and why."""
        self.fails_after_promise = False
        """A commit is promised, and owed to the others; then the disk fails."""
        self._answers: dict[FilePath, Answer] = {}
        self._hashing_held: set[FilePath] = set()
        self._released = asyncio.Event()
        self._ticks = 0
        self._passed_ns = 0
        self._lives = 1

    def put_outside(self, path: str, content: bytes, *, modified_ns: int | None = None, in_place: bool = False) -> None:
        """Write behind Accord's back: as a new file, or into the one that is there."""
        before = self.files.get(FilePath(path))
        file = self.new_file(content, modified_ns)
        if in_place and before is not None:
            file = MemoryFile(content, file.stat._replace(inode=before.stat.inode))
        self.files[FilePath(path)] = file

    def remove_outside(self, path: str) -> None:
        del self.files[FilePath(path)]

    def rot(self, path: str) -> None:
        """Another bit, under the same stat data."""
        self.files[FilePath(path)] = _rotten(self.files[FilePath(path)])

    def rot_version(self, path: str, digest: Digest) -> None:
        """The same to bytes that are kept apart from the path."""
        kept = self.kept[FilePath(path)]
        kept[digest] = _rotten(kept[digest])

    def answer_always(self, path: str, answer: Answer | None) -> None:
        """An obstacle, a file that cannot be read; None takes it away."""
        if answer is None:
            self._answers.pop(FilePath(path), None)
        else:
            self._answers[FilePath(path)] = answer

    def make_folder(self, path: str) -> None:
        """An empty one."""
        self.answer_always(path, Absent(EMPTY_FOLDER))

    def hold_hashing(self, path: str) -> None:
        """The path's content counts as still being hashed until `release_hashing`."""
        self.records.pop(FilePath(path), None)
        self._hashing_held.add(FilePath(path))
        self._released.clear()

    def release_hashing(self) -> None:
        self._hashing_held.clear()
        self._released.set()

    def pass_time(self, duration_ns: int) -> None:
        self._passed_ns += duration_ns

    def now_ns(self) -> int:
        """Since the Unix epoch: a time that goes on with every file that is made, and with `pass_time`."""
        return _START_NS + self._ticks * RACY_WINDOW_NS + self._passed_ns

    def new_file(self, content: bytes, modified_ns: int | None = None, *, executable: bool = False) -> MemoryFile:
        self._ticks += 1
        now_ns = self.now_ns()
        mtime_ns = now_ns if modified_ns is None else modified_ns
        return MemoryFile(content, Stat(len(content), mtime_ns, now_ns, self._ticks, 1), executable)

    def recorded(self, file: MemoryFile, clock: Clock) -> Record:
        return Record(clock, file.stat, digest_of(file.content), self._hashing_time(file), file.executable)

    def file_of(self, path: FilePath, inode: int) -> MemoryFile | None:
        """As it is now, wherever it was moved."""
        there = self.files.get(path)
        candidates = [*([] if there is None else [there]), *self.kept.get(path, {}).values()]
        return next((file for file in candidates if file.stat.inode == inode), None)

    def obstacle(self, path: FilePath) -> str | None:
        """What stands in the way at a path without a file."""
        if any(other.startswith(f"{path}/") for other in self.files):
            return FOLDER
        above = path.parent
        while above:
            if above in self.files:
                return FILE_ABOVE
            above = above.rpartition("/")[0]
        return None

    def _hashing_time(self, file: MemoryFile) -> int:
        return file.stat.ctime_ns + 2 * RACY_WINDOW_NS


def _rotten(file: MemoryFile) -> MemoryFile:
    flipped = bytes([file.content[0] ^ 1]) + file.content[1:]
    return MemoryFile(flipped, file.stat, file.executable)
