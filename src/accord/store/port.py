"""The contract of one server's store, for everything that reads from it or heals into it.

A store answers what it holds (`glance`, `examine`), hands out copies whose bytes can be proven (`Copy`), takes bytes in (`receive`) and
makes them current (`commit`), keeps what was superseded (`history`, `open_version`), and lists (`walk`). Every adapter passes
`accord.testing.store_conformance`. What follows from the answers is left to `model.verdict`; how proven bytes are streamed, to
`engine.transfer`; what a change is, to `engine.write` and `engine.update`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import TypeIs

from accord.model.chunks import Chunk
from accord.model.history import Event, Remembered
from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.verdict import Absent, Answer, Checking, Damaged, Deleted, Known, Present, Unreachable
from accord.model.versions import Actor, Clock
from accord.store.inventory import Inventory

SMALL_CONTENT_BYTES = 64 * 1024
"""Content up to this size need not be finished before its commit, which makes it durable in the same turn of a thread. To sync a
longer one would keep other commits waiting."""

BLOCK_BYTES = 1024 * 1024
"""Content is read, hashed and sent in blocks of this size; a transfer holds a few of them, never more."""


MAX_KEPT_BASES = 2
"""So many of the versions that are kept of a path are offered as bases of another, beside the file at the path."""


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

    def again(self) -> Copy:
        """A second open copy of the same file, for what goes on when this one is closed. Raises `StoreFailed`."""
        ...

    async def block_digests(self) -> Sequence[Digest]:
        """The BLAKE3 digests of the blocks of `BLOCK_BYTES`, proven together against `answer.digest`; kept, so that the second
        call costs nothing. One pass over the file, which those who ask at the same time share. Takes as long as that takes.

        Raises `IntegrityError` if the whole does not match, `ChangedWhileReading` if the file was rewritten meanwhile, `StoreFailed` if
        the disk cannot read it, and `Unavailable` when the store is closed meanwhile.
        """
        ...

    async def chunks(self) -> Sequence[Chunk]:
        """The chunks that the content falls into (`model.chunks`), proven together and kept as block digests are. Raises as those."""
        ...

    def close(self) -> None: ...


class Base(Protocol):
    """An open file that may share content with another version of its path, damaged or not. Nothing that it says or gives is proven:
    whoever uses a chunk of it hashes that first. Close exactly once; closing twice does nothing."""

    @property
    def size(self) -> int: ...

    async def chunks(self) -> Sequence[Chunk]:
        """The chunks that it falls into, or fell into when it was recorded. May cost one pass. Raises `StoreFailed`."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """As `Copy.read`."""
        ...

    def close(self) -> None: ...


class Incoming(Protocol):
    """Bytes being taken in that are nobody's copy yet: a temporary file, hashed while it is written. One call at a time."""

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...

    @property
    def digest(self) -> Digest:
        """Of the bytes written so far, durable or not. Costs no I/O; not while a `write` is under way."""
        ...

    async def write(self, block: bytes | memoryview) -> None:
        """Append. Memory that may change is left as it is until another block of no less has been written, or this has ended. Raises
        `DiskFull` or `StoreFailed`; it is then of no more use, and `abort` it."""
        ...

    async def finish(self) -> Digest:
        """No more is written: make the bytes durable (fsync of the file) and tell their digest. A second call tells it again.
        Raises `DiskFull` or `StoreFailed`."""
        ...

    async def abort(self) -> None:
        """Drop it, leaving nothing behind. Does nothing once a commit has used it, or after an abort."""
        ...


@dataclass(frozen=True)
class Change:
    """What one commit does to one path. `before` is the clock that the local answer told when the change was decided on (`EMPTY_CLOCK`
    where it had none); `clock` is merged into it. `incoming`: the bytes of versions that are current in `clock` and not here yet
    (others are dropped); the commit makes those durable that were not finished. `events` tell of the versions, for the history.
    `owed`: the servers that are to get the change; remembered until `settle_debts`. `deleted_age_s`: for how long those have known of a
    deletion that it is taken over from."""

    path: FilePath
    before: Clock
    clock: Clock
    incoming: tuple[Incoming, ...] = ()
    events: tuple[Event, ...] = ()
    owed: tuple[ServerName, ...] = ()
    deleted_age_s: int = 0


@dataclass(frozen=True, slots=True)
class Committed:
    """A change that is durable. `answer` is the path's now, `debt` a number that `settle_debts` takes (greater for later changes)."""

    answer: Known
    debt: int


@dataclass(frozen=True, slots=True)
class Debts:
    """What one server is owed. `lost`: there were too many, and the oldest were let go; a comparison of everything will find them."""

    paths: int
    lost: bool


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


class Store(Inventory, Protocol):
    """One server's bytes. All methods may be called from the event loop's thread; only `async` ones wait."""

    def glance(self, path: FilePath) -> Copy | Absent | None:
        """What is there, without waiting: an open copy whose stat data vouch for its digest, or nothing there.

        None means "cannot say without the disk": not in the caches, not hashed yet, racy, damaged, or an error. Then `open`.
        """
        ...

    def glance_answer(self, path: FilePath) -> Answer | None:
        """Like `glance`, for those who want no bytes: nothing is left open. None as there."""
        ...

    def is_likely_new(self, path: FilePath) -> bool:
        """Whether nothing that is at hand tells of the path. For those who find out later: it may be there all the same."""
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

    @property
    def actor(self) -> Actor:
        """The actor of the events that are made here: new whenever the index is, so that no counter is used twice. Ask each time."""
        ...

    @property
    def floor(self) -> int:
        """The greatest counter of an event made here, of a path that was forgotten since: where nothing is known, the next one is
        above (see `model.versions.write`). Ask each time."""
        ...

    def locked(self, *paths: FilePath) -> AbstractAsyncContextManager[None]:
        """Whoever decides on a change of `paths` holds this from its last look until the commit: one after the other. Not re-entrant;
        any order of the paths will do. Only engines take it: commits of other paths are not held up, nor are reads."""
        ...

    async def receive(self, size: int | None, *, is_read_soon: bool = True) -> Incoming:
        """Take bytes in; `size` is how many are announced, None if nobody knows. Raises `DiskFull` at once where they cannot fit,
        `StoreFailed` where the store takes nothing in. `is_read_soon` is only a hint: what nobody is about to read here need not take
        up memory that others read from."""
        ...

    async def duplicate(self, path: FilePath | None, digest: Digest) -> Incoming | None:
        """The bytes of `digest` that this server has already (at `path` or, where that is None, at any path; aside; or in history) as
        a finished `Incoming` of their own: cloned where the file system can, copied otherwise, and hashed. None if it has none, or
        none that still match. Raises `DiskFull` or `StoreFailed`."""
        ...

    async def commit(self, changes: Sequence[Change]) -> list[Committed] | None:
        """Make the changes, durably, before it returns (promise 1), by the one recipe: what is current goes where `model.placement`
        says, what is superseded into history; what is damaged, into quarantine. All changes together or none, also across a crash:
        once the index holds them, start-up completes what is missing.

        The clock that a crash leaves behind always holds every event that anybody was told of: nobody is, before this returns.
        Returns None, with nothing changed and the incoming still usable, when a path is no longer as `before` has it, or its file was
        changed behind Accord's back meanwhile: examine again. Raises `Conflict` where something that is no file is in the way at the
        path or above it: then nothing has changed. After `DiskFull` or another `StoreFailed` the changes may be promised all the
        same, and are then completed later; what is owed stands.
        """
        ...

    async def open_version(self, path: FilePath, digest: Digest) -> Copy | None:
        """The bytes of a version of `path`, wherever they are kept (at the path, aside, in history), or None. `answer.size` and
        `answer.digest` are those of the version. Unproven, as all copies."""
        ...

    async def bases(self, path: FilePath) -> Sequence[Base]:
        """What a version of `path` that is not here may be made out of: the file at the path, whatever became of it, and the newest
        `MAX_KEPT_BASES` of the versions that are kept of it. Never raises for the state of one file."""
        ...

    async def history(self, path: FilePath) -> list[Remembered]:
        """What this server remembers of the path, newest first. Superseded versions whose bytes were let go may still be listed."""
        ...

    async def learn(self, path: FilePath, events: Sequence[Event]) -> None:
        """Remember what others remember. Idempotent; not waited for by anybody, durable with the next commit."""
        ...

    async def expire(self) -> int:
        """Let go of superseded versions beyond `keep_versions` and `keep_days`, one bounded unit of work; says how many were let go,
        0 when there is nothing to do for now. Rivals and current versions never are."""
        ...

    def debts(self) -> Mapping[ServerName, Debts]:
        """What the other servers are owed, where it is not nothing. From memory."""
        ...

    async def owed(self, server: ServerName, limit: int, *, after: int = 0) -> list[tuple[FilePath, int]]:
        """The oldest debts to `server` with a number above `after`, in the order of the changes, each with its number."""
        ...

    def settle_debts(self, server: ServerName, settled: Sequence[tuple[FilePath, int]]) -> None:
        """`server` has these changes (of each path, up to that number). Written with the next commit; forgetting it in a
        crash means that the server is told once more, which does no harm."""
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
        """Whether it is worth trying to `receive` anything at all: not after a failed fsync, nor while the folder is not in its
        place. A full disk is no reason: a version that does not fit is refused by itself (`DiskFull`)."""
        ...

    async def close(self) -> None: ...


def is_answer(held: Copy | Answer) -> TypeIs[Answer]:
    """Tells an answer from an open copy."""
    return isinstance(held, Present | Absent | Deleted | Damaged | Checking | Unreachable)
