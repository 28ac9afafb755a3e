"""What the store's records alone say is to be mended, fed to the heal queue: copies that were lost or damaged, bytes that never came.

Comparing with the other servers does not find these: a lost copy has the clock that it always had. There may be a million of them, so
that they are read in portions, as fast as the queue has room.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from accord.background import begun, ended
from accord.engine.heal_queue import HealQueue, Urgency
from accord.errors import AccordError
from accord.model.names import FilePath
from accord.store.inventory import Inventory

PORTION_PATHS = 256

_log = structlog.get_logger("accord.heal")


class Heals(Protocol):
    """Takes the paths whose copies were found odd, and is told when there may be more to be mended than it was told of."""

    def suggest(self, path: FilePath, urgency: Urgency) -> None: ...

    def look(self) -> None: ...


class Mender:
    """Keeps `Heals`. Fed whenever somebody says that there may be something: at start, after scans and scrubs."""

    def __init__(self, store: Inventory, healing: HealQueue) -> None:
        self._store = store
        self._healing = healing
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def suggest(self, path: FilePath, urgency: Urgency) -> None:
        self._healing.suggest(path, urgency)

    def look(self) -> None:
        """There may be something. Never waits; looks once more after a pass that is under way."""
        self._again = True
        if self._task is None or self._task.done():
            self._task = begun(self._feed(), name="mending")

    async def close(self) -> None:
        await ended(self._task)

    async def _feed(self) -> None:
        while self._again:
            self._again = False
            after: FilePath | None = None
            try:
                while paths := await self._store.unmended(after, PORTION_PATHS):
                    for path in paths:
                        await self._healing.enqueue(path, Urgency.SCAN)
                    after = paths[-1]
            except AccordError as error:
                _log.warning("what is to be mended cannot be looked up", reason=error.detail)
