"""What other servers, and people, may ask of this one's engine beside files: one place that passes it on to whoever does it.

Keeps `engine.peer_requests.PeerRequests`. What the work is, is left to `engine.scan`, `engine.scrub`, `engine.sync` and
`engine.heal_queue`; what is reported, to `engine.status`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from accord.engine.comparing import compared
from accord.engine.peer_requests import Work
from accord.model.fingerprints import Reply, Summary
from accord.model.names import ServerName
from accord.store.inventory import Inventory, Scope

Begin = Callable[[int, Scope], str | None]
"""Begins work in the background, under a number and limited to a scope: None, or why it cannot."""


class Requests:
    """`begins` has what this server can be told to do; `reported` answers questions about its status."""

    def __init__(
        self, store: Inventory, *, begins: Mapping[Work, Begin], reported: Callable[[bytes], Awaitable[bytes]]
    ) -> None:
        self._store = store
        self._begins = begins
        self._reported = reported

    async def compare(self, sender: ServerName, asked: Sequence[Summary]) -> list[Reply]:
        return await compared(self._store, asked)

    async def report(self, question: bytes = b"") -> bytes:
        return await self._reported(question)

    async def order(self, work: Work, scope: Scope, number: int) -> str | None:
        begin = self._begins.get(work)
        return f"does no such work ({work.value})" if begin is None else begin(number, scope)
