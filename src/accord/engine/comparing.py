"""What a server answers when another one compares ranges of paths with it (`model.fingerprints`): from its index, without any look at a
file.

Who asks, and what is done about differences, is `engine.sync`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from accord.model.fingerprints import MAX_NAMED_ITEMS, PARTS, Cut, Named, Reply, Same, Span, Summary
from accord.store.inventory import Inventory


async def compared(store: Inventory, asked: Sequence[Summary]) -> list[Reply]:
    """What is here in each of the ranges, compared with the asker's fingerprints of them."""
    mine = await store.summaries([one.span for one in asked])
    replies: dict[Span, Reply] = {}
    short: list[Span] = []
    for (span, theirs), own in zip(asked, mine, strict=True):
        if (own.paths, own.total) == (theirs.paths, theirs.total):
            replies[span] = Same()
        elif own.paths <= MAX_NAMED_ITEMS:
            short.append(span)
    if short:
        replies |= await _named(store, short)
    long = [one.span for one in asked if one.span not in replies]
    if long:
        cuts = await store.cut(long, PARTS)
        replies |= {span: Cut(tuple(parts)) for span, parts in zip(long, cuts, strict=True)}
    return [replies[one.span] for one in asked]


async def _named(store: Inventory, spans: Sequence[Span]) -> dict[Span, Reply]:
    """Without those that have become too many since they were counted."""
    items = await store.items(spans, MAX_NAMED_ITEMS + 1)
    return {span: Named(tuple(some)) for span, some in zip(spans, items, strict=True) if len(some) <= MAX_NAMED_ITEMS}
