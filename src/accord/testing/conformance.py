"""The words that the store conformance suite is written in: the disk under test, and what servers and people do to it.

What is expected is left to the suite (`store_conformance` and the modules it is made of).
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from accord.errors import AccordError
from accord.model.history import Deed, Event, Remembered, superseded_by
from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.verdict import Known, Present, is_known
from accord.model.versions import EMPTY_CLOCK, Actor, Clock, Context, Dot, Version, server_actor, write
from accord.store import port
from accord.store.port import Change, Committed, Copy, Incoming, Store, is_answer
from accord.testing.memory_bytes import digest_of

HELLO = FilePath("hello.txt")
WAIT_S = 30.0
MODIFIED_NS = 1_600_000_000_000_000_000
OTHER = server_actor(ServerName("server2"), "life")
"""The actor of what another server writes."""
KEEP_VERSIONS = 10
KEEP_NS = 30 * 24 * 3600 * 1_000_000_000


class Disk(Protocol):
    """The directory of one store, as other programs reach it. Its store keeps `KEEP_VERSIONS` superseded versions for `KEEP_NS`."""

    @property
    def store(self) -> Store:
        """It may be another one after `reopen`."""
        ...

    def write(self, path: str, content: bytes, *, modified_ns: int | None = None) -> None:
        """Create or replace a file, behind the store's back."""
        ...

    def rewrite(self, path: str, content: bytes) -> None:
        """Write into the file that is there."""
        ...

    def touch(self, path: str) -> None:
        """The same content, newly dated."""
        ...

    def remove(self, path: str) -> None: ...

    def rot(self, path: str) -> None:
        """The first bit flips; nothing tells but the content."""
        ...

    def rot_version(self, path: str, digest: Digest) -> None:
        """The same to the bytes of a version that is kept apart from the path."""
        ...

    def make_folder(self, path: str) -> None:
        """An empty one."""
        ...

    def content(self, path: str) -> bytes | None: ...

    def pass_time(self, duration_ns: int) -> None: ...

    def now_ns(self) -> int:
        """By the store's clock."""
        ...

    async def reopen(self, *, lose_index: bool = False) -> None:
        """The server stops and starts again; without its index, perhaps."""
        ...


def version_of(content: bytes, *, modified_ns: int = MODIFIED_NS, executable: bool = False) -> Version:
    return Version(digest_of(content), len(content), modified_ns, "somebody", executable)


DELETION = Version(None, 0, MODIFIED_NS, "somebody")


async def opened(store: Store, path: FilePath = HELLO) -> Copy:
    held = await store.open(path, wait_s=WAIT_S)
    assert not is_answer(held), held
    return held


async def looked(store: Store, path: FilePath = HELLO) -> Known:
    answer = await store.examine(path, wait_s=WAIT_S)
    assert is_known(answer), answer
    return answer


async def present(store: Store, path: FilePath = HELLO) -> Present:
    answer = await looked(store, path)
    assert isinstance(answer, Present), answer
    return answer


def contents(answer: Known) -> set[Digest | None]:
    """What the clock says is current."""
    return {version.digest for _, version in answer.clock.current()}


def digests(*all_content: bytes) -> set[Digest | None]:
    return {digest_of(content) for content in all_content}


def listed(store: Store, prefix: str = "", after: str | None = None) -> list[Walked]:
    cursor = None if after is None else FilePath(after)
    return [one for page in store.walk(Prefix(prefix), cursor) for one in page]


async def bytes_of(store: Store, digest: Digest, path: FilePath = HELLO) -> bytes | None:
    """The content of a version, wherever it is kept."""
    copy = await store.open_version(path, digest)
    if copy is None:
        return None
    try:
        assert (copy.path, copy.answer.digest) == (path, digest)
        content = await copy.read(0, copy.answer.size + 1)
        assert len(content) == copy.answer.size
        return content
    finally:
        copy.close()


async def received(store: Store, content: bytes) -> Incoming:
    incoming = await store.receive(len(content))
    for start in range(0, len(content), port.BLOCK_BYTES):
        await incoming.write(content[start : start + port.BLOCK_BYTES])
    assert (incoming.size, incoming.digest) == (len(content), digest_of(content))
    assert await incoming.finish() == digest_of(content)
    return incoming


def event_of(before: Clock, after: Clock, actor: Actor, version: Version, *, at_ns: int, deed: Deed) -> Event:
    dot = Dot(actor, after.context()[actor])
    return Event(dot, version, at_ns, deed, tuple(one for one, _ in superseded_by(before, after)))


def change_to(
    before: Clock,
    version: Version,
    actor: Actor = OTHER,
    *,
    seen: Context | None = None,
    path: FilePath = HELLO,
    incoming: Sequence[Incoming] = (),
    owed: Sequence[ServerName] = (),
    at_ns: int = MODIFIED_NS,
) -> Change:
    """`version` becomes current, and supersedes what `seen` covers: everything, if nothing else is said."""
    after = write(before, before.context() if seen is None else seen, actor, version)
    deed = Deed.DELETE if version.is_tombstone else Deed.PUT
    event = event_of(before, after, actor, version, at_ns=at_ns, deed=deed)
    return Change(path, before, after, tuple(incoming), (event,), tuple(owed))


async def committed(store: Store, *changes: Change) -> list[Committed]:
    done = await store.commit(changes)
    assert done is not None
    assert [one.answer for one in done] == [await looked(store, change.path) for change in changes]
    return done


async def put(
    store: Store,
    content: bytes,
    path: FilePath = HELLO,
    *,
    seen: Context | None = None,
    owed: Sequence[ServerName] = (),
    at_ns: int = MODIFIED_NS,
) -> Present:
    """One write by this server's own actor."""
    before = (await looked(store, path)).clock
    incoming = await received(store, content)
    change = change_to(
        before,
        version_of(content),
        store.actor,
        seen=seen,
        path=path,
        incoming=(incoming,),
        owed=owed,
        at_ns=at_ns,
    )
    (done,) = await committed(store, change)
    assert isinstance(done.answer, Present)
    return done.answer


async def delete(store: Store, path: FilePath = HELLO, *, seen: Context | None = None) -> Known:
    before = (await looked(store, path)).clock
    (done,) = await committed(store, change_to(before, DELETION, store.actor, seen=seen, path=path))
    return done.answer


async def take_in(store: Store, clock: Clock, *all_content: bytes, path: FilePath = HELLO) -> Known:
    """The clock and the bytes that came from another server."""
    before = (await looked(store, path)).clock
    incoming = tuple([await received(store, content) for content in all_content])
    (done,) = await committed(store, Change(path, before, clock, incoming))
    return done.answer


def theirs(content: bytes, over: Clock = EMPTY_CLOCK, *, seen: Context | None = None) -> Clock:
    """The clock of another server after a write of its own."""
    return write(over, over.context() if seen is None else seen, OTHER, version_of(content))


async def story(store: Store, path: FilePath = HELLO) -> list[tuple[Digest | None, bool, bool]]:
    """The history, oldest first: digest, whether it is current, whether its bytes are kept."""
    return [(one.event.version.digest, one.is_current, one.is_kept) for one in reversed(await store.history(path))]


async def remembered(store: Store, content: bytes | None, path: FilePath = HELLO) -> Remembered:
    wanted = None if content is None else digest_of(content)
    (one,) = [one for one in await store.history(path) if one.event.version.digest == wanted]
    return one


async def error_of(doing: Awaitable[object]) -> AccordError | None:
    try:
        await doing
    except AccordError as error:
        return error
    return None


async def expire_all(store: Store) -> int:
    """Until there is nothing to do. Bounded: each call has to let go of something."""
    total = 0
    for _ in range(1000):
        count = await store.expire()
        if not count:
            return total
        total += count
    raise AssertionError("it never ends")
