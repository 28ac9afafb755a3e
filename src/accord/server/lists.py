"""What all lists have in common: a page of them as JSON, or the whole as a stream of lines of which the last says that it is the last.

Entries come in batches, in the order of their places: an entry's place is the path to go on behind. Which entries there are is left to
`listing` and `status`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

import msgspec

from accord.server.rendering import JSON

T = TypeVar("T")


class ListedServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A server's part in a list: `answered`, or `unreachable` and why (from some path on, perhaps)."""

    name: str
    state: str
    reason: str | None = None


class ListingPage(msgspec.Struct, frozen=True):
    """The JSON of one page. `next` is what to give as `after` for the next one, or null at the end."""

    prefix: str
    entries: list[msgspec.Raw]
    next: str | None
    servers: list[ListedServer]


class ListingEnd(msgspec.Struct, frozen=True):
    """The last line of a stream: without it the list was cut off. `next` is null unless a limit was given, and reached."""

    end: bool
    entries: int
    next: str | None
    servers: list[ListedServer]


def listed(name: str, reason: str | None) -> ListedServer:
    """`reason`: why it could not be asked, None if it could."""
    return ListedServer(name, "answered" if reason is None else "unreachable", reason)


async def first(
    batches: AsyncGenerator[Sequence[T], None], place: Callable[[T], str], limit: int
) -> tuple[list[T], str | None]:
    """About `limit` entries, and the place to go on behind if there are more."""
    found: list[T] = []
    async with aclosing(batches):
        async for batch in batches:
            found += batch
            if len(found) > limit:
                break
    end = _whole_places(found, limit, place)
    return found[:end], str(place(found[end - 1])) if end < len(found) else None


async def lines(
    batches: AsyncGenerator[Sequence[T], None],
    place: Callable[[T], str],
    encoded: Callable[[T], bytes],
    servers: Callable[[], list[ListedServer]],
    limit: int | None,
) -> AsyncIterator[bytes]:
    """NDJSON, some lines at a time: all entries, or about `limit`. The last line is a `ListingEnd`, with what `servers` says then."""
    count = 0
    last = following = None
    async with aclosing(batches):
        async for batch in batches:
            told = batch if limit is None else batch[: _whole_places(batch, max(0, limit - count), place)]
            if told:
                count += len(told)
                last = str(place(told[-1]))
                yield b"\n".join([*map(encoded, told), b""])
            if len(told) < len(batch):
                following = last
                break
    yield JSON.encode_lines([ListingEnd(True, count, following, servers())])


def _whole_places(entries: Sequence[T], limit: int, place: Callable[[T], str]) -> int:
    """How many of these are told: entries of one place stay together, as one goes on behind a place."""
    end = min(limit, len(entries))
    while 0 < end < len(entries) and place(entries[end]) == place(entries[end - 1]):
        end += 1
    return end
