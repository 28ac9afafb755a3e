"""What a server answers when another one compares ranges of paths with it (`model.fingerprints`): from its index, without any look at a
file.

Who asks, and what is done about differences, is `engine.sync`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from accord.model.fingerprints import MAX_NAMED_ITEMS, PARTS, Cut, Fingerprint, Named, Reply, Same, Summary
from accord.store.inventory import Inventory


async def compared(store: Inventory, asked: Sequence[Summary]) -> list[Reply]:
    """What is here in each of the ranges, compared with the asker's fingerprints of them."""
    mine = await store.summaries([one.span for one in asked])
    return [await _reply(store, one, fingerprint) for one, fingerprint in zip(asked, mine, strict=True)]


async def _reply(store: Inventory, asked: Summary, mine: Fingerprint) -> Reply:
    if (mine.paths, mine.total) == (asked.fingerprint.paths, asked.fingerprint.total):
        return Same()
    if mine.paths <= MAX_NAMED_ITEMS:
        items = await store.items(asked.span, MAX_NAMED_ITEMS + 1)
        if len(items) <= MAX_NAMED_ITEMS:  # there were fewer a moment ago
            return Named(tuple(items))
    return Cut(tuple(await store.cut(asked.span, PARTS)))
