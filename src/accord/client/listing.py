"""A listing as it streams in, one verdict a line; a stream that was cut is never taken for a short listing.

Paths come in the order of their UTF-8 bytes, which lets another server go on where one broke off. How entries are shown is left to
the caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Generic, TypeVar
from urllib.parse import quote

from accord.client.results import Folder, ListedServer, ListingEnd, Verdict, decode
from accord.client.session import Session
from accord.client.transport import Reply, ServerUnusable
from accord.errors import AccordError, Unavailable
from accord.model.names import Prefix

MAX_LINE_BYTES: Final = 1024 * 1024
_NDJSON: Final = {"Accept": "application/x-ndjson"}
_END: Final = b'{"end"'
_FOLDER: Final = b'{"folder"'

Entry = TypeVar("Entry", Verdict, Verdict | Folder)


class Listing(Generic[Entry]):
    """Iterate over it once. `servers` says who took part, and is known when the iteration has ended."""

    def __init__(self, session: Session, prefix: Prefix, *, folded: bool = False) -> None:
        self._session = session
        self._target = "/list/" + quote(prefix) + ("?depth=1" if folded else "")
        self.servers: tuple[ListedServer, ...] = ()

    def __aiter__(self) -> AsyncIterator[Entry]:
        return self.entries()

    @property
    def silent(self) -> tuple[ListedServer, ...]:
        """Who could not be asked: their files are not all in the listing."""
        return tuple(server for server in self.servers if server.is_silent)

    async def entries(self) -> AsyncIterator[Entry]:
        """Raises `Unavailable` when every server broke off without getting further."""
        last: bytes = b""
        failures: list[str] = []
        while len(failures) < len(self._session.servers):
            before = last
            answered = await self._session.ask("GET", self._target, _NDJSON)
            try:
                async for entry in self._lines(answered.reply):
                    encoded = (entry.folder if isinstance(entry, Folder) else entry.path).encode()
                    if encoded > last:
                        last = encoded
                        yield entry
                return
            except ServerUnusable as unusable:
                reason = str(unusable)
            finally:
                await answered.reply.close()
            failures = failures if last == before else []
            failures.append(f"{answered.server} ({reason})")
            self._session.avoid(answered.server)
        raise Unavailable(f"The listing was cut off; what was shown is not all. Servers tried: {'; '.join(failures)}.")

    async def _lines(self, reply: Reply) -> AsyncIterator[Entry]:
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
                    yield decode(Folder if line.startswith(_FOLDER) else Verdict, line)  # type: ignore[misc]
        if rest.startswith(_END) and rest.rstrip().endswith(b"}"):
            self._end(decode(ListingEnd, rest), entries)
            return
        raise ServerUnusable("the listing stopped before its end")

    def _end(self, end: ListingEnd, entries: int) -> None:
        if not end.end or end.entries != entries:
            raise ServerUnusable(f"the listing has {entries} entries where {end.entries} were announced")
        self.servers = end.servers
