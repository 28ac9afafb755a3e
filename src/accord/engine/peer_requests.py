"""What another server may ask of this one's engine beside changes: to compare ranges, to report on itself, to begin work.

The contract between the answering side (`server.peer_endpoint`) and the engine, like `engine.changes`. What travels is left to
`peers.wire`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from accord.model.fingerprints import Reply, Summary
from accord.model.names import FilePath, Prefix, ServerName
from accord.store.inventory import Scope


class Work(Enum):
    """What a server can be told to do in the background."""

    SCAN = "scan"
    """Look for what changed behind Accord's back."""
    SCRUB = "scrub"
    """Read every byte and compare it with its digest."""
    SYNC = "sync"
    """Compare with all other servers, and mend."""
    PAUSE = "pause"
    """Begin no healing until told to go on."""
    RESUME = "resume"
    """Heal again."""


def read_scope(text: str) -> Scope:
    """A path, a folder's path with a slash at its end, or nothing for everything. Raises `InvalidPath`."""
    return FilePath(text) if text and not text.endswith("/") else Prefix(text)


class PeerRequests(Protocol):
    async def compare(self, sender: ServerName, asked: Sequence[Summary]) -> list[Reply]:
        """What this server has in each of the ranges, compared with the sender's fingerprints."""
        ...

    async def report(self, question: bytes = b"") -> bytes:
        """This server's own part of the status (`engine.status.ServerStatus` as JSON), or of what the question asks for
        (`engine.questions`). Raises `InvalidQuery` for one that makes no sense."""
        ...

    async def order(self, work: Work, scope: Scope, number: int) -> str | None:
        """Begin the work, or go on with it where it is under way; None, or why it cannot be. Never waits for its end: `report` tells of
        it. `number` is the sender's name for the run, told again in reports, so that whoever ordered it can tell that it has ended."""
        ...
