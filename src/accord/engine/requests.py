"""What other servers, and people, may ask of this one's engine beside files: one place that passes it on to whoever does it.

Keeps `engine.peer_requests.PeerRequests`. What the work is, is left to `engine.scan`, `engine.scrub`, `engine.sync` and
`engine.heal_queue`; what is reported, to `engine.status`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from accord.engine.comparing import compared
from accord.engine.peer_requests import Work
from accord.errors import StillChecking
from accord.model.fingerprints import Reply, Summary
from accord.model.names import ServerName
from accord.store.inventory import Scope
from accord.store.port import Store

INDEXED_WAIT_S = 10.0
"""A comparison waits for the first hashing of the files here at most so long: whoever asks gives up later (`peers.calls.CALL_LIMIT_S`),
and asks again."""
INDEXING_PAUSE_S = 0.1

Begin = Callable[[int, Scope], str | None]
"""Begins work in the background, under a number and limited to a scope: None, or why it cannot."""


class Requests:
    """`begins` has what this server can be told to do; `reported` answers questions about its status."""

    def __init__(
        self, store: Store, *, begins: Mapping[Work, Begin], reported: Callable[[bytes], Awaitable[bytes]]
    ) -> None:
        self._store = store
        self._begins = begins
        self._reported = reported

    async def compare(self, sender: ServerName, asked: Sequence[Summary]) -> list[Reply]:
        """Raises `StillChecking` before all that is here was looked at once: a file that is named later would pass for one that is
        new, also with somebody who was away for so long that deletions are forgotten (`engine.strangers`)."""
        await self._indexed()
        return await compared(self._store, asked)

    async def _indexed(self) -> None:
        try:
            async with asyncio.timeout(INDEXED_WAIT_S):
                while not self._store.indexing().done:  # noqa: ASYNC110  # the store tells nobody
                    await asyncio.sleep(INDEXING_PAUSE_S)
        except TimeoutError:
            raise StillChecking("is still hashing its files") from None

    async def report(self, question: bytes = b"") -> bytes:
        return await self._reported(question)

    async def order(self, work: Work, scope: Scope, number: int) -> str | None:
        begin = self._begins.get(work)
        return f"does no such work ({work.value})" if begin is None else begin(number, scope)
