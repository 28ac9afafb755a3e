"""The contract of one server's store, for everything that reads from it or heals into it.

A store answers what it holds (`glance`, `examine`), hands out copies whose bytes can be proven (`Copy`), takes in a known version
(`stage`), and lists (`walk`). Every adapter passes `accord.testing.store_conformance`. What follows from the answers is left to
`model.verdict`; how proven bytes are streamed, to `engine.transfer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import TypeIs

from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix
from accord.model.verdict import Absent, Answer, Checking, Damaged, Deleted, Present, Unreachable
from accord.model.versions import Clock, Version

BLOCK_BYTES = 1024 * 1024
"""Content is read, hashed and sent in blocks of this size; a transfer holds a few of them, never more."""


class Copy(Protocol):
    """An open regular file whose stat data vouched for `answer.digest` when it was opened.

    The bytes read are *not* proven: whoever sends them hashes them first (`engine.transfer`). Close exactly once;
    closing twice does nothing. Not to be shared between tasks.
    """

    @property
    def path(self) -> FilePath: ...

    @property
    def answer(self) -> Present: ...

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Up to `length` bytes (fewer only at the end of the file), or None where the disk would have to be waited for."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Like `read_now`, waiting for the disk in a thread. Raises `StoreFailed` (EIO and the like)."""
        ...

    def unchanged(self) -> bool:
        """Whether the stat data are still those that vouched for the digest: tells rot from rewriting."""
        ...

    async def block_digests(self) -> tuple[Digest, ...]:
        """The BLAKE3 digests of the blocks of `BLOCK_BYTES`, proven together against `answer.digest`; kept, so that the second
        call costs nothing. One pass over the file, its progress in `Checking`-like waits left to the caller's timeout.

        Raises `IntegrityError` if the whole does not match, `ChangedWhileReading` if the file was rewritten meanwhile.
        """
        ...

    def close(self) -> None: ...


class Staging(Protocol):
    """A copy being taken in: bytes go to a temporary file, and become the copy at `path` in one durable step."""

    async def write(self, block: bytes) -> None:
        """Append. Raises `DiskFull` or `StoreFailed`; the staging is then of no more use, and `abort` it."""
        ...

    async def commit(self) -> Present | None:
        """Make it the copy: fsync, rename, fsync of the directory and every new ancestor, index commit (promise 1).

        Atomic: after a crash there is the old state or the new. Verifies the digest of what was written (`IntegrityError`).
        Returns None, and changes nothing, when the path is no longer as `stage` was told to replace it (somebody was faster).
        """
        ...

    async def abort(self) -> None:
        """Drop it, leaving nothing behind. Does nothing after a commit or an abort."""
        ...


@dataclass(frozen=True, slots=True)
class Indexing:
    """How far the first hashing of the tree has come. `found_files` grows while the tree is walked; `done` when it has ended once.
    Examples are a few, escaped for showing."""

    done: bool
    hashed_files: int
    hashed_bytes: int
    found_files: int
    unreadable: int = 0
    """Folders and files that could not be read: they are not among those hashed."""
    unreadable_examples: tuple[str, ...] = ()
    unnameable: int = 0
    """Files and folders under names that Accord cannot use (no UTF-8, line breaks, backslashes, too long): they are left alone."""
    unnameable_examples: tuple[str, ...] = ()
    colliding: int = 0
    """Names that become another name of their folder on file systems that normalise Unicode or fold case."""
    colliding_examples: tuple[tuple[str, str], ...] = ()


class Store(Protocol):
    """One server's bytes. All methods may be called from the event loop's thread; only `async` ones wait."""

    def glance(self, path: FilePath) -> Copy | Absent | None:
        """What is there, without waiting: an open copy whose stat data vouch for its digest, or nothing there.

        None means "cannot say without the disk": not in the caches, not hashed yet, racy, damaged, or an error. Then `open`.
        """
        ...

    def glance_answer(self, path: FilePath) -> Answer | None:
        """Like `glance`, for those who want no bytes: nothing is left open. None as there."""
        ...

    async def open(self, path: FilePath, *, wait_s: float, reread: bool = False) -> Copy | Answer:
        """What is there, hashing first what has to be hashed (such a file jumps the queue).

        Waits up to `wait_s` for the digest, then answers `Checking` with the progress, the hashing going on. `reread` hashes the
        file even if its stat data vouch for it: a copy that no longer has its digest, under unchanged stat data, is `Damaged`.
        A file that may not be read (EACCES) is `Unreachable`, one that the disk cannot read (EIO) is `Damaged`.
        Never raises for the state of one file.
        """
        ...

    async def examine(self, path: FilePath, *, wait_s: float, reread: bool = False) -> Answer:
        """`open` for those who want no bytes."""
        ...

    async def find_damage(self, copy: Copy) -> Answer:
        """Called when the bytes of `copy` did not match: decide what it was, and record it.

        Unchanged stat data mean rot: the copy is marked `Damaged` (durably; it is never served again, and kept until a good one
        replaces it, then moved to quarantine). Otherwise it is an outside change and examined anew.
        """
        ...

    async def share(self, copy: Copy) -> None:
        """Called before bytes of `copy` go to another server; afterwards its version counts as held elsewhere, and no outside
        change on this disk supersedes it. Durable before it returns; idempotent. Only a version that an outside change made, and
        the first time, costs a commit; everything else returns without any I/O.

        Raises `ChangedWhileReading` when the version has been superseded meanwhile: its bytes must not get out any more.
        Raises `StoreFailed` or `DiskFull` when it cannot be made durable; then, too, no byte may go.
        """
        ...

    async def stage(self, path: FilePath, version: Version, clock: Clock, *, replacing: Answer) -> Staging:
        """Take in `version` (a known one: no event is made; `clock` is what the others know of the path).

        `replacing` is the local answer (`Absent` or `Damaged`) that the taker acted on. A damaged file is moved to quarantine by the
        commit. Raises `StoreFailed` / `DiskFull` when nothing can be staged, e.g. because of an obstacle at the path or an ancestor.
        """
        ...

    def walk(self, prefix: Prefix, after: FilePath | None) -> Iterator[list[Walked]]:
        """Pages (of at most `PAGE_PATHS`) of all regular files below `prefix` that sort after `after`, in the order of their UTF-8
        bytes; each with its answer from stat data and index (where nothing vouches yet, small files are hashed on the way for a
        bounded time, others are `Checking`, and queued). Tombstones and damaged copies are among them. Blocking: run each `next`
        in a thread. Memory is bounded by the largest folder. The private folder, symbolic links and names that are no paths are
        passed over. Raises `StoreFailed` where something cannot be read: what comes after is not known, and not absent.
        """
        ...

    def indexing(self) -> Indexing: ...

    def degraded(self) -> str | None:
        """What is wrong with the store, for people and for /ready, or None: it no longer takes anything in, its disk is full, its
        index cannot be written. Never what befell a single file or version."""
        ...

    def takes_in(self) -> bool:
        """Whether it is worth trying to `stage` anything at all: not after a failed fsync, nor while the folder is not in its
        place. A full disk is no reason: a version that does not fit is refused by itself (`DiskFull`)."""
        ...

    async def close(self) -> None: ...


def is_answer(held: Copy | Answer) -> TypeIs[Answer]:
    """Tells an answer from an open copy."""
    return isinstance(held, Present | Absent | Deleted | Damaged | Checking | Unreachable)
