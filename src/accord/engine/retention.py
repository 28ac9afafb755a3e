"""Letting go of old versions in the background: one bounded unit of work after the other, then a pause.

What is old is decided in `model.history`; how it is let go, by the store.
"""

from __future__ import annotations

import asyncio

import structlog

from accord.errors import AccordError
from accord.store.port import Store

PAUSE_S = 60.0
BETWEEN_UNITS_S = 0.05
"""The disk belongs to whoever reads and writes."""

_log = structlog.get_logger("accord.history")


class Retention:
    """Keeps one store's history within its bounds, from `start` until `close`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work(), name="retention")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        while True:
            let_go = 0
            while more := await self._unit():
                let_go += more
                await asyncio.sleep(BETWEEN_UNITS_S)
            if let_go:
                _log.info("old versions were let go", versions=let_go)
            await asyncio.sleep(PAUSE_S)

    async def _unit(self) -> int:
        try:
            return await self._store.expire()
        except AccordError as error:
            _log.warning("old versions could not be let go", reason=error.detail)
            return 0
