"""A listing as it streams in, one verdict a line; a stream that was cut is never taken for a short listing.

Paths come in the order of their UTF-8 bytes, which lets another server go on where one broke off. How entries are shown is left to
the caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from accord.client.results import ListedServer, ListingEnd, Verdict, decode
from accord.client.session import Session
from accord.client.transport import Reply, ServerUnusable
from accord.errors import AccordError, Unavailable
from accord.model.names import Prefix

MAX_LINE_BYTES: Final = 1024 * 1024
_NDJSON: Final = {"Accept": "application/x-ndjson"}
_END: Final = b'{"end"'


class Listing:
    """Iterate over it once. `servers` says who took part, and is known when the iteration has ended."""

    def __init__(self, session: Session, prefix: Prefix) -> None:
        self._session = session
        self._prefix = prefix
        self.servers: tuple[ListedServer, ...] = ()

    def __aiter__(self) -> AsyncIterator[Verdict]:
        return self.entries()

    @property
    def silent(self) -> tuple[ListedServer, ...]:
        """Who could not be asked: their files are not all in the listing."""
        return tuple(server for server in self.servers if server.is_silent)

    async def entries(self) -> AsyncIterator[Verdict]:
        """Raises `Unavailable` when every server broke off without getting further."""
        last: bytes = b""
        failures: list[str] = []
        while len(failures) < len(self._session.servers):
            before = last
            answered = await self._session.ask("GET", "/list/" + quote(self._prefix), _NDJSON)
            try:
                async for verdict in self._lines(answered.reply):
                    encoded = verdict.path.encode()
                    if encoded > last:
                        last = encoded
                        yield verdict
                return
            except ServerUnusable as unusable:
                reason = str(unusable)
            finally:
                await answered.reply.close()
            failures = failures if last == before else []
            failures.append(f"{answered.server} ({reason})")
            self._session.avoid(answered.server)
        raise Unavailable(f"The listing was cut off; what was shown is not all. Servers tried: {'; '.join(failures)}.")

    async def _lines(self, reply: Reply) -> AsyncIterator[Verdict]:
        entries = 0
        rest = b""
        async for chunk in reply.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                raise AccordError("The server's listing has a line without end.")
            for line in lines:
                if line.startswith(_END):
                    self._end(decode(ListingEnd, line), entries)
                    return
                if line.strip():
                    entries += 1
                    yield decode(Verdict, line)
        if rest.startswith(_END) and rest.rstrip().endswith(b"}"):
            self._end(decode(ListingEnd, rest), entries)
            return
        raise ServerUnusable("the listing stopped before its end")

    def _end(self, end: ListingEnd, entries: int) -> None:
        if not end.end or end.entries != entries:
            raise ServerUnusable(f"the listing has {entries} entries where {end.entries} were announced")
        self.servers = end.servers
