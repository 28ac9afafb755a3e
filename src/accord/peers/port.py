"""The contract of the other servers: ask them all about a path, fetch a version's bytes from one, list with one.

Every way of failing is a value or a `PeerFailed`; nothing here retries, but `ask` on a peer that is known to be down costs nothing
(a circuit breaker answers for it). What the answers amount to is left to `model.verdict`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.verdict import Answer


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
    name: ServerName
    url: str
    state: PeerState
    reason: str | None = None


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
    ) -> AsyncIterator[bytes]:
        """The bytes [start, stop) of that version from that server, in blocks, in order; `stop` None is the end of the content.

        To the end of the content the bytes are raw (the caller proves them against the digest); a range that ends before is
        proven by the sender, block by block. Raises `PeerUnreachable` (also when no byte came for `peer_timeout`),
        `NoSuchVersion` when it no longer holds that, `IntegrityError` when it found its copy damaged on the way. Reading stops
        the sender's reading (flow control); leaving the iterator early closes the connection it used.
        """
        ...

    def list(self, server: ServerName, prefix: Prefix, after: FilePath | None) -> AsyncIterator[Sequence[Walked]]:
        """The peer's `Store.walk`, page by page, flow-controlled. Raises `PeerUnreachable`."""
        ...

    def suggest(self, server: ServerName, path: FilePath) -> None:
        """Let a server know that it lacks a good copy that others have, so that it may heal itself.

        Never waits, never fails, promises nothing: a server that is not connected now is not told.
        """
        ...

    def statuses(self) -> Sequence[PeerStatus]: ...

    async def close(self) -> None: ...
