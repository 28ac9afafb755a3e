"""Coroutines over a transport that never suspends, run to their end in the calling thread; and what `accord.Client` hands out of such.

Why it is done this way: see `client.transport`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Generic, TypeVar

from accord.client.listing import Entry, Listing
from accord.client.results import Handover, ListedServer, Verdict
from accord.client.transfer import Transfer

Made = TypeVar("Made")


class BlockingStream:
    """A file's bytes in blocks as they arrive, checked as they pass; the verdict they came with is known before the first."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self.digest = transfer.digest
        self.size = transfer.size
        self.executable = transfer.executable

    @property
    def verdict(self) -> Verdict:
        """That of the last server that sent of it."""
        return self._transfer.verdict

    @property
    def handovers(self) -> tuple[Handover, ...]:
        return tuple(self._transfer.handovers)

    def __iter__(self) -> Iterator[bytes]:
        return each(self._transfer.blocks())


class BlockingListing(Generic[Entry]):
    """Iterate over it once. `servers` says who took part, and is known when the iteration has ended."""

    def __init__(self, listing: Listing[Entry]) -> None:
        self._listing: Listing[Entry] = listing

    def __iter__(self) -> Iterator[Entry]:
        return each(self._listing.entries())

    @property
    def servers(self) -> tuple[ListedServer, ...]:
        return self._listing.servers

    @property
    def silent(self) -> tuple[ListedServer, ...]:
        """Who could not be asked: their files are not all in the listing."""
        return self._listing.silent


def run(work: Coroutine[Any, Any, Made]) -> Made:
    """Run to the end a coroutine that never suspends."""
    try:
        work.send(None)
    except StopIteration as end:
        made: Made = end.value
        return made
    work.close()
    raise RuntimeError("the blocking transport suspended")


def each(items: AsyncIterator[Made]) -> Iterator[Made]:
    async def following() -> Made:
        return await anext(items)

    async def ending() -> None:
        await items.aclose()  # type: ignore[attr-defined]  # all of ours are generators

    try:
        while True:
            try:
                item = run(following())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(ending())
