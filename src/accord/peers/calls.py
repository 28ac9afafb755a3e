"""Small requests to one peer beside the questions about paths: numbered, each with an answer of its own.

They travel on the connection for questions, never behind content. That the peer is there is watched over by `link`, which fails them
all when it is not; what they ask and what the answers mean is left to `cluster`, how they are answered to `server.peer_calls`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from accord.errors import PeerUnreachable
from accord.peers.answers import MAX_REASON_CHARS
from accord.peers.call_messages import Call, Compared, ComparedRange, Declined, Returned
from accord.peers.failures import not_asked_for

MAX_CALLS = 64
"""So many wait for one peer's answers."""
CALL_LIMIT_S = 30.0
"""So long an answer may take of a peer that shows signs of life: its disk may be busy."""

_T = TypeVar("_T")


class Calls:
    """The calls to one peer that are under way. `send` passes one on, or raises `PeerUnreachable`."""

    def __init__(self, send: Callable[[Call], None]) -> None:
        self._send = send
        self._pending: dict[int, _Call] = {}
        self._next_id = 1

    async def made(self, call: Callable[[int], Call], ranges: int = 0) -> Returned:
        """The answer to the call that is made with a number; one to a `Compare` has all its `ranges`. Raises `PeerUnreachable`."""
        if len(self._pending) >= MAX_CALLS:
            raise PeerUnreachable("too many requests are waiting for it")
        id = self._next_id
        self._next_id += 1
        waiting = self._pending[id] = _Call(ranges)
        try:
            self._send(call(id))
            async with asyncio.timeout(CALL_LIMIT_S):
                returned = await waiting.answered
        except TimeoutError:
            raise PeerUnreachable(f"did not answer within {CALL_LIMIT_S:g} s") from None
        finally:
            del self._pending[id]
        if isinstance(returned, Declined):
            raise PeerUnreachable(returned.reason[:MAX_REASON_CHARS])
        return returned

    def take(self, returned: Returned) -> None:
        """What comes late, after its call was given up, counts for nothing."""
        waiting = self._pending.get(returned.id)
        if waiting is not None and not waiting.answered.done():
            waiting.take(returned)

    def fail(self, reason: str) -> None:
        """The peer cannot be asked any more."""
        for waiting in self._pending.values():
            if not waiting.answered.done():
                waiting.answered.set_exception(PeerUnreachable(reason))


class _Call:
    def __init__(self, ranges: int) -> None:
        self.answered: asyncio.Future[Returned] = asyncio.get_running_loop().create_future()
        self._ranges = ranges
        self._compared: list[ComparedRange] = []

    def take(self, returned: Returned) -> None:
        match returned:
            case Compared(id, some):
                self._compared += some
                if len(self._compared) >= self._ranges:
                    self.answered.set_result(Compared(id, self._compared))
            case _:
                self.answered.set_result(returned)


def expected(returned: Returned, kind: type[_T]) -> _T:
    """Raises `PeerUnreachable` for an answer to something else."""
    if not isinstance(returned, kind):
        raise not_asked_for()
    return returned
