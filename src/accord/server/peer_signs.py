"""Signs of life: another server that waits for an answer is told, some times within its patience, that the work goes on.

For how long it is worth waiting is said by who does the work; what the other side makes of a sign is left to `peers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, Protocol, TypeVar

from accord.peers.message import Message
from accord.peers.wire import Working

SIGNS_WITHIN_PATIENCE: Final = 3
SHORTEST_PATIENCE_S: Final = 0.03
"""Whoever says that it waits no longer than less is taken to wait so long."""

_T = TypeVar("_T")


class Outlet(Protocol):
    """Where signs are sent to: they are small."""

    def send(self, message: Message) -> None: ...


def sign_interval_s(patience_ms: int) -> float:
    return max(patience_ms / 1000, SHORTEST_PATIENCE_S) / SIGNS_WITHIN_PATIENCE


async def awaited(waiting: Awaitable[_T], outlet: Outlet, every_s: float) -> _T:
    """What one piece of work comes to, with signs for as long as it takes."""
    task = asyncio.ensure_future(waiting)
    try:
        while not (await asyncio.wait([task], timeout=every_s))[0]:
            outlet.send(Working())
    except asyncio.CancelledError:
        task.cancel()
        raise
    return task.result()


class Signs:
    """Signs for the work of a whole conversation: between `begin` and `rest`, for `limit_s` at most. `end` it in any case."""

    def __init__(self, outlet: Outlet, patience_ms: int) -> None:
        self._outlet = outlet
        self._every_s = sign_interval_s(patience_ms)
        self._loop = asyncio.get_running_loop()
        self._until_s = 0.0
        self._timer = self._loop.call_later(self._every_s, self._tick)

    def begin(self, limit_s: float) -> None:
        self._until_s = self._loop.time() + limit_s

    def rest(self) -> None:
        self._until_s = 0.0

    def end(self) -> None:
        self._timer.cancel()

    def _tick(self) -> None:
        if self._loop.time() < self._until_s:
            self._outlet.send(Working())
        self._timer = self._loop.call_later(self._every_s, self._tick)
