"""One read: ask the store and the peers at once, compare, and say where the bytes are.

How the bytes are proven on their way out is in `engine.transfer`; how a verdict looks in HTTP is left to `server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from accord.model.names import FilePath, ServerName
from accord.model.verdict import Answer, Unreachable, Verdict, compare
from accord.peers.port import Peers
from accord.store.port import Copy, Store, is_answer

NOT_ASKED = Unreachable("not asked (verify=none)")


class Verify(Enum):
    """How much a read asks of the copies."""

    STAT = "stat"
    """Stat data vouch for the replicas; the copy that is sent is hashed. The default."""
    CONTENT = "content"
    """Every copy is read and hashed anew."""
    NONE = "none"
    """No other server is asked: the verdict is `unverified` at best."""


@dataclass(slots=True)
class Reading:
    """The outcome of a read. `mine` is this server's open copy, where it has a good one; close the reading in any case."""

    verdict: Verdict
    local: Answer
    mine: Copy | None

    def close(self) -> None:
        if self.mine is not None:
            self.mine.close()


class Reader:
    """Reads for one server; `name` is its own, the primary's."""

    def __init__(self, name: ServerName, store: Store, peers: Peers, *, hash_wait_s: float) -> None:
        self.name = name
        self._store = store
        self._peers = peers
        self._hash_wait_s = hash_wait_s

    async def read(self, path: FilePath, verify: Verify = Verify.STAT) -> Reading:
        """The verdict on `path`, taken now. Never raises for the state of a file or of a server."""
        asked = self._ask(path, verify)
        held: Copy | Answer | None = self._store.glance(path) if verify is not Verify.CONTENT else None
        if held is None:
            held = await self._store.open(path, wait_s=self._hash_wait_s, reread=verify is Verify.CONTENT)
        mine, local = (None, held) if is_answer(held) else (held, held.answer)
        try:
            answers = {**(await asked), self.name: local} if asked is not None else self._alone(local)
        except BaseException:
            if mine is not None:
                mine.close()
            raise
        return Reading(compare(path, answers), local, mine)

    def _ask(self, path: FilePath, verify: Verify) -> asyncio.Future[Mapping[ServerName, Answer]] | None:
        if verify is Verify.NONE:
            return None
        if verify is Verify.CONTENT:
            return self._peers.ask(path, reread=True, wait_s=self._hash_wait_s)
        return self._peers.ask(path)

    def _alone(self, local: Answer) -> dict[ServerName, Answer]:
        return {**dict.fromkeys(self._peers.names, NOT_ASKED), self.name: local}
