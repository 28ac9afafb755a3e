"""A listing as it streams in, one entry a line; a stream that was cut is never taken for a short listing.

Entries come in the order of their paths' UTF-8 bytes, which lets another server go on where one broke off. What else than files is
listed is told in `client.status`; how entries are shown is left to the caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
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

Entry = TypeVar("Entry")


class Listing(Generic[Entry]):
    """Iterate over it once. `servers` says who took part, and is known when the iteration has ended."""

    def __init__(
        self, session: Session, target: str, read: Callable[[bytes], Entry], place: Callable[[Entry], bytes]
    ) -> None:
        """`read` makes an entry of a line, `place` says where it is in the order."""
        self._session = session
        self._target = target
        self._read = read
        self._place = place
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
                    place = self._place(entry)
                    if place > last:
                        last = place
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
                    yield self._read(line)
        if rest.startswith(_END) and rest.rstrip().endswith(b"}"):
            self._end(decode(ListingEnd, rest), entries)
            return
        raise ServerUnusable("the listing stopped before its end")

    def _end(self, end: ListingEnd, entries: int) -> None:
        if not end.end or end.entries != entries:
            raise ServerUnusable(f"the listing has {entries} entries where {end.entries} were announced")
        if end.next is not None:
            # No limit was asked for: what is there is not to pass for all there is.
            raise ServerUnusable(f"the listing ended after {entries} entries, and there are more")
        self.servers = end.servers


def files(session: Session, prefix: Prefix) -> Listing[Verdict]:
    """Every file below the prefix."""
    return Listing(session, "/list/" + quote(prefix), lambda line: decode(Verdict, line), _place)


def folded(session: Session, prefix: Prefix) -> Listing[Verdict | Folder]:
    """The files in a folder, and one entry for each folder in it."""
    return Listing(session, "/list/" + quote(prefix) + "?depth=1", _file_or_folder, _place)


def _file_or_folder(line: bytes) -> Verdict | Folder:
    return decode(Folder, line) if line.startswith(_FOLDER) else decode(Verdict, line)


def _place(entry: Verdict | Folder) -> bytes:
    return (entry.folder if isinstance(entry, Folder) else entry.path).encode()
