"""Differences that are known, looked at again and again: they may be none now.

Of the paths whose last verdict was a difference the verdict is taken anew, some at a time, those that have waited longest first; the
verdict itself notes what it is now. What is to be mended by the records is looked through again too. Finding differences is left to
`engine.sync` and to reads.
"""

from __future__ import annotations

import asyncio

import structlog

from accord.background import begun, ended
from accord.engine.mending import Mender
from accord.engine.read import Reader
from accord.engine.strangers import Strangers
from accord.errors import AccordError
from accord.model.names import FilePath, Prefix, ServerName
from accord.store.inventory import Inventory

RECHECK_EVERY_S = 60.0
RECHECKED_AT_ONCE = 1_000
"""So many verdicts are taken anew each time."""
PAGE_PATHS = 256

_log = structlog.get_logger("accord.sync")


class Recheck:
    """For one server, from `start` until `close`."""

    def __init__(self, store: Inventory, reader: Reader, mender: Mender, strangers: Strangers) -> None:
        self._store = store
        self._reader = reader
        self._mender = mender
        self._strangers = strangers
        self._after: FilePath | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = begun(self._work(), name="recheck")

    async def close(self) -> None:
        await ended(self._task)

    def up(self, server: ServerName) -> None:
        """`server` can be asked (again): it may have what is lacking."""
        self._mender.look()

    async def recheck(self) -> None:
        """The next of the differences; from the beginning again, after the last."""
        left = RECHECKED_AT_ONCE
        while left > 0:
            page = await self._store.differences(Prefix(""), self._after, min(left, PAGE_PATHS))
            for difference in page:
                await self._reader.look_again(difference.path)
            self._after = page[-1].path if page else None
            left = left - len(page) if page else 0

    async def _work(self) -> None:
        while True:
            self._mender.look()
            self._strangers.still_here()
            try:
                await self.recheck()
            except AccordError as error:
                _log.warning("known differences cannot be looked up", reason=error.detail)
            await asyncio.sleep(RECHECK_EVERY_S)
