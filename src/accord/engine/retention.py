"""Letting go of old versions and old deletions in the background: one bounded unit of work after the other, then a pause.

Which versions are old is decided in `model.history`; how all is let go, by the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from accord.background import begun, ended
from accord.errors import AccordError
from accord.quantities import NS_PER_S
from accord.store.port import Store

PAUSE_S = 60.0
BETWEEN_UNITS_S = 0.05
"""The disk belongs to whoever reads and writes."""

TOMBSTONES_AT_ONCE = 200
"""For the milliseconds that this takes nobody else gets at the index."""
_S_PER_DAY = 86_400

_log = structlog.get_logger("accord.history")


def tombstones_kept_s(keep_tombstones_days: int, keep_days: int) -> float:
    """A deletion is known at least for as long as the versions before it may be restored."""
    return float(max(keep_tombstones_days, keep_days) * _S_PER_DAY)


class Retention:
    """Keeps one store's history within its bounds, from `start` until `close`. Deletions are forgotten after `keep_tombstones_s`."""

    def __init__(self, store: Store, *, keep_tombstones_s: float, now_ns: Callable[[], int]) -> None:
        self._store = store
        self._keep_tombstones_ns = int(keep_tombstones_s * NS_PER_S)
        self._now_ns = now_ns
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = begun(self._work(), name="retention")

    async def close(self) -> None:
        await ended(self._task)

    async def _work(self) -> None:
        while True:
            for what, unit in (("versions", self._store.expire), ("deletions", self._drop_tombstones)):
                let_go = 0
                while more := await self._done(what, unit):
                    let_go += more
                    await asyncio.sleep(BETWEEN_UNITS_S)
                if let_go:
                    _log.info(f"old {what} were let go", **{what: let_go})
            await asyncio.sleep(PAUSE_S)

    async def _drop_tombstones(self) -> int:
        return await self._store.drop_tombstones(self._now_ns() - self._keep_tombstones_ns, TOMBSTONES_AT_ONCE)

    async def _done(self, what: str, unit: Callable[[], Awaitable[int]]) -> int:
        try:
            return await unit()
        except AccordError as error:
            _log.warning(f"old {what} could not be let go", reason=error.detail)
            return 0
