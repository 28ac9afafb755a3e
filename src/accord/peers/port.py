"""The contract of the other servers: ask them all about a path, fetch a version's bytes from one, list with one.

Every way of failing is a value or a `PeerFailed`; nothing here retries, but `ask` on a peer that is known to be down costs nothing
(a circuit breaker answers for it). What the answers amount to is left to `model.verdict`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from accord.model.chunks import Chunk
from accord.model.fingerprints import Reply, Summary
from accord.model.history import Event, Remembered
from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.verdict import Answer
from accord.model.versions import Clock


class PeerState(Enum):
    """What this server knows of its connection to a peer."""

    CONNECTING = "connecting"
    """No connection yet; questions wait for it, up to their time limit."""
    UP = "up"
    """Connected and authenticated."""
    DOWN = "down"
    """It failed lately: questions are answered `Unreachable` at once, while the connection is tried again in the background."""
    REFUSED = "refused"
    """It answers, but not to us: wrong key, other protocol version, other cluster. Tried again, more slowly."""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """`down_s`: for how many seconds the peer has not been reachable, where it is not."""

    name: ServerName
    url: str
    state: PeerState
    reason: str | None = None
    down_s: float | None = None


class Upload(Protocol):
    """Content on its way to one peer, and the change that it belongs to. One call at a time; `close` it in any case."""

    async def write(self, block: bytes | memoryview) -> None:
        """Send a block, waiting while the peer is behind. Memory that may change is left as it is until another block of no less has
        been written, or this has ended. Raises `PeerUnreachable` when it takes nothing for `peer_timeout`, or broke
        off; `PeerFailed` with its reason when it cannot take it in."""
        ...

    def finish_later(self, digest: Digest) -> bool:
        """That was all of one content, where none of it is on its way yet: it goes along with the change. False where some is, or
        nothing was written, or it failed: then `finish`."""
        ...

    async def finish(self, digest: Digest) -> None:
        """That was all of one content: returns once the peer has it (a long one: durably). Raises as `write`. More
        content may follow."""
        ...

    async def adopt(self, path: FilePath, clock: Clock, events: Sequence[Event]) -> Answer:
        """The peer merges the clock, with the contents that were finished, and gets elsewhere what else it needs: returns its answer
        about the path once that is durable. Raises as `write`, also `Conflict` where something is in the way there."""
        ...

    async def close(self) -> None:
        """What was not adopted is dropped by the peer. Never raises."""
        ...


class Peers(Protocol):
    """The other servers of the cluster."""

    @property
    def names(self) -> Sequence[ServerName]: ...

    def ask(
        self, path: FilePath, *, reread: bool = False, wait_s: float | None = None
    ) -> asyncio.Future[Mapping[ServerName, Answer]]:
        """Ask every peer what it holds at `path`. The future never fails: it has one answer for each of `names`.

        Questions asked in one turn of the event loop travel in one frame. A peer that has not answered after `peer_timeout` is
        `Unreachable`, and its breaker counts it. With `reread` the peer hashes its copy anew; `wait_s` is how long it may take to
        hash before it answers `Checking` (the time limit is that much longer).
        Cancelling the future is allowed, and stops nothing at the peers.
        """
        ...

    def fetch(
        self, server: ServerName, path: FilePath, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes [start, stop) of that version from that server, in pieces, in order; `stop` None is the end of the content.

        The bytes are raw: the caller proves them. A sender that sends the whole hashes it too, and knows by the end whether its copy
        is damaged. Raises `PeerUnreachable` (also when no byte came for `peer_timeout`), `NoSuchVersion` when it no longer holds
        that, `IntegrityError` when it found its copy damaged, perhaps after the last byte. Reading stops the sender's reading (flow
        control); leaving the iterator early closes the connection it used.

        As everywhere in this port, the details of errors are reasons: they read well after the server's name ("cannot be connected
        to", "its copy is damaged"), have no name in front and no full stop behind.
        """
        ...

    def list(self, server: ServerName, prefix: Prefix, after: FilePath | None) -> AsyncIterator[Sequence[Walked]]:
        """The peer's `Store.walk`, page by page, flow-controlled. Raises `PeerUnreachable`. Listings take no turn from fetches."""
        ...

    def suggest(self, server: ServerName, path: FilePath) -> None:
        """Let a server know that it lacks a good copy that others have, so that it may heal itself.

        Never waits, never fails, promises nothing: a server that is not connected now is not told.
        """
        ...

    def doubt(self, server: ServerName, path: FilePath) -> None:
        """Let a server know that what it sent of this file was wrong, so that it reads its copy anew. As `suggest`."""
        ...

    def upload(self, server: ServerName, size: int | None) -> Upload:
        """Begin a change at a peer: its content (of `size` bytes where that is known) is written to what is returned, or none at all.
        Never waits; connecting is part of the first `write`, `finish` or `adopt`. Content is announced with the first `write`, or
        with a `finish` that none came before (nothing is content, too)."""
        ...

    async def recall(self, server: ServerName, path: FilePath) -> Sequence[Remembered]:
        """What a peer remembers of the path. Raises `PeerUnreachable`."""
        ...

    async def update(self, server: ServerName, paths: Sequence[FilePath]) -> Sequence[str | None]:
        """Have a peer bring paths up to date, in this order: for each, None or the reason why it is not. At most
        `wire.MAX_PATHS_PER_FRAME` paths. Raises `PeerUnreachable`."""
        ...

    async def compare(self, server: ServerName, asked: Sequence[Summary]) -> Sequence[Reply]:
        """What a peer has in each of the ranges (`model.fingerprints`), compared with this server's fingerprints of them; at most
        `call_messages.MAX_RANGES_PER_FRAME` of them. One round trip. Raises `PeerUnreachable`."""
        ...

    async def report(self, server: ServerName, question: bytes = b"") -> bytes:
        """A peer's own part of the status, or of what `question` asks for, as JSON (`engine.status`, `engine.questions`). Raises
        `PeerUnreachable`."""
        ...

    async def order(self, server: ServerName, work: str, scope: str, number: int) -> str | None:
        """Have a peer begin work in the background (`engine.peer_requests.Work`): None, or why it cannot. Raises `PeerUnreachable`."""
        ...

    async def chunks(self, server: ServerName, path: FilePath, digest: Digest) -> Sequence[Chunk]:
        """How a peer would cut that version into chunks by its content, in order (`model.chunks`). They are as it says: what is
        fetched is proven against them, and the whole against `digest`. Raises as `fetch`."""
        ...

    def on_up(self, told: Callable[[ServerName], None]) -> None:
        """`told` is called whenever a peer can be asked (again). Before `start`."""
        ...

    def statuses(self) -> Sequence[PeerStatus]: ...

    async def close(self) -> None: ...
