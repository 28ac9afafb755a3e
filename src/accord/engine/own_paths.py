"""Which paths this server knows not to be the same everywhere: from the index, in order, a page at a time.

Four sources, each of which may know of a path alone: verdicts that were no agreement, rivals in the own clocks, what the own record
says is lacking here, and what only a stranger has. What other servers know is left to `known_paths`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from accord.engine.questions import KnownPath
from accord.model.names import FilePath, Prefix
from accord.store.port import Store

_After = Callable[[FilePath | None, int], Awaitable[list[FilePath]]]


async def known_here(store: Store, prefix: Prefix, after: FilePath | None, limit: int) -> list[KnownPath]:
    """The first `limit` of them below `prefix` and behind `after`."""
    found: dict[str, KnownPath] = {}
    for path in await store.rivals(prefix, after, limit):
        found[path] = KnownPath(str(path))
    for path in await _below(store.unmended, prefix, after, limit):
        found[path] = KnownPath(str(path))
    for one in await store.differences(prefix, after, limit):
        found[one.path] = KnownPath(str(one.path), one.kind.value, one.since_ns)
    for path in await _below(store.estranged, prefix, after, limit):
        found[path] = msgspec.structs.replace(found.get(path, KnownPath(str(path))), estranged=True)
    # Each source gave its first ones, so that up to the first `limit` of all nothing can be lacking.
    return [found[path] for path in sorted(found)[:limit]]


async def _below(source: _After, prefix: Prefix, after: FilePath | None, limit: int) -> list[FilePath]:
    """Of a source that knows no prefixes, what is below `prefix`."""
    if not prefix:
        return await source(after, limit)
    start = FilePath(prefix.removesuffix("/"))
    at = start if after is None else max(start, after)
    found: list[FilePath] = []
    while len(found) < limit:
        page = await source(at, limit)
        found += [path for path in page if path.startswith(prefix)]
        # Between a folder's own name and what is in it there may be others: 'a', 'a-b', 'a/b'.
        if len(page) < limit or (page[-1] > prefix and not page[-1].startswith(prefix)):
            break
        at = page[-1]
    return found[:limit]
