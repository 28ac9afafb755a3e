"""`accord.AsyncClient`: the client for programs that run an asyncio loop.

The work is in `client.reading`, `client.download`, `client.listing`, `client.writing`, `client.histories`; `client.blocking` is the
same over a blocking transport.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Literal, Self

from accord.client import histories, reading, status, writing
from accord.client.download import Progress, Saving, download
from accord.client.listing import Listing, files, folded
from accord.client.reading import Stream
from accord.client.results import About, Download, File, Folder, History, Verdict, Version, Written
from accord.client.servers import servers_or_default
from accord.client.session import Session
from accord.client.source import Content, source_of
from accord.client.status import DifferingPath, NameClash, OddCopy, Ordered
from accord.client.transfer import Wanted, checked_path, checked_prefix, open_transfer
from accord.client.transport import READ_TIMEOUT_S, AsyncTransport
from accord.client.writing import Options
from accord.engine.overview import Overview


class AsyncClient:
    """Asks the servers at the given addresses, the next one when one is down; without addresses, those of `ACCORD_SERVERS`.

    `timeout_s` is how long a server may keep silent. Every method raises `accord.errors.AccordError` or one of its children,
    nothing else: whatever is asked, `UsageError` (it makes no sense as given), `NotAuthorised`, `NobodyAnswered` (no server could be
    used), `Unavailable`, `StoreFailed` and `ForeignError` (of servers that are unwell, or none of Accord's), and beyond these what it
    says itself. `path` is an Accord path (`folder/name`); `version` a digest or its first 12 or more hex digits; `verify` is
    `stat` (default), `content` (every copy is read anew) or `none` (no other server is asked).
    """

    def __init__(self, *servers: str, timeout_s: float = READ_TIMEOUT_S) -> None:
        addresses = servers_or_default(servers)
        tls = any(address.startswith("https:") for address in addresses)
        self._session = Session(AsyncTransport(timeout_s=timeout_s, tls=tls), addresses)

    @property
    def servers(self) -> tuple[str, ...]:
        """The addresses, in the order in which they are asked at first."""
        return self._session.servers

    async def read(self, path: str, *, version: str | None = None, verify: str | None = None) -> File:
        """The whole file, in memory. Raises `RivalVersions` (its `extra["versions"]` lists them), `NotFound`, `Gone`,
        `NoSuchVersion`, `UnknownState`, `DamagedEverywhere`, and `IntegrityError` if what came is not what was announced."""
        return await reading.read(self._session, Wanted(checked_path(path), version, verify))

    @asynccontextmanager
    async def stream(
        self, path: str, *, version: str | None = None, verify: str | None = None
    ) -> AsyncIterator[Stream]:
        """The file in blocks, however large it is; continues on another server when one breaks off. Raises what `read` does; while the
        blocks come, also `Unavailable` (no server could finish it) and `ChangedWhileReading` (the others have a newer version)."""
        transfer = await open_transfer(self._session, Wanted(checked_path(path), version, verify))
        try:
            yield Stream(transfer)
        finally:
            await transfer.close()

    async def download(
        self,
        path: str,
        destination: str | os.PathLike[str],
        *,
        version: str | None = None,
        verify: str | None = None,
        progress: Progress | None = None,
        resume: bool = True,
        clobber: bool = True,
    ) -> Download:
        """Save a file, atomically; into `destination` if that is a folder. A device or a pipe is written to as it is.

        An interrupted download leaves what came beside the destination (`.NAME.DIGEST.accord-part`): with `resume` the next one goes on
        from there, without it all is fetched anew. Without `clobber` a file that is there is left alone, and that is `AlreadyThere`.
        `progress` is told `(bytes so far, bytes in all or None)`, on the loop. Raises what `stream` does, and `NotSaved` where this
        machine's disk refused.
        """
        wanted = Wanted(checked_path(path), version, verify)
        return await download(self._session, Saving(wanted, destination, progress, resume, clobber))

    async def stat(self, path: str, *, verify: str | None = None) -> Verdict:
        """The verdict on a path, whatever it is; raises only if no server could say anything, or refused."""
        return await reading.stat(self._session, Wanted(checked_path(path), verify=verify))

    async def about(self) -> About:
        """Who the server is that is asked first."""
        return await reading.about(self._session)

    async def rivals(self, path: str) -> tuple[Version, ...]:
        """The rival versions, newest first; none where the copies do not dispute. Raises what `stat` does."""
        return await reading.rivals(self._session, Wanted(checked_path(path)))

    def list(self, prefix: str = "") -> Listing[Verdict]:
        """Every file in a folder and the folders in it, sorted by path: `async for verdict in client.list("folder")`. Raises
        `Unavailable` where it was cut off: what came is not all. The other listings do the same."""
        return files(self._session, checked_prefix(prefix))

    def look(self, prefix: str = "") -> Listing[Verdict | Folder]:
        """The files in a folder, and each folder in it as one entry that counts what is there: far less to send than `list`."""
        return folded(self._session, checked_prefix(prefix))

    async def put(
        self,
        path: str,
        content: Content,
        *,
        context: str | None = None,
        if_match: str | Collection[str] | None = None,
        if_none_match: Literal["*"] | None = None,
        modified: datetime | str | None = None,
        executable: bool | None = None,
        author: str | None = None,
        message: str | None = None,
        min_copies: int | None = None,
        progress: Progress | None = None,
    ) -> Written:
        """Create or replace a file. `content` is bytes, a path, an open file, or pieces of bytes (also asynchronous ones).

        Without conditions it takes the place of what a verdict finds at that moment; on rivals it is refused. `context`: the token of
        the answer that the writer has seen (`Verdict.context`): what it has seen is superseded, anything else becomes a rival.
        `if_match` is a whole digest, several, or `*`; `if_none_match="*"` demands that there is no file. A file's modified time and
        executable bit travel with it. `progress` is told `(bytes so far, bytes in all or None)` after each block that went out, and
        from 0 again when another server gets the content: on the loop for asynchronous pieces, else in the thread that reads the next
        block.

        Raises `RivalVersions`, `PreconditionFailed`, `Conflict`, `DiskFull`; `TooFewCopies` (`min_copies` could not be reached: its
        `extra["stored"]` names who has it, and it is delivered to the others later, or nobody, if that was seen beforehand);
        `WriteUnclear` (the connection ended, and nobody knows: look before you try again); `IntegrityError` (what was stored is not
        what was sent).
        """
        options = Options(context, if_match, if_none_match, modified, executable, author, message, min_copies, progress)
        return await writing.put(self._session, checked_path(path), source_of(content), options)

    async def delete(
        self,
        path: str,
        *,
        context: str | None = None,
        if_match: str | Collection[str] | None = None,
        author: str | None = None,
        message: str | None = None,
        min_copies: int | None = None,
    ) -> Written:
        """Delete a file, on all servers. Raises `NotFound`, `Gone`, `UnknownState`, and what `put` does."""
        options = Options(context, if_match, author=author, message=message, min_copies=min_copies)
        return await writing.delete(self._session, checked_path(path), options)

    async def copy(
        self,
        source: str,
        path: str,
        *,
        version: str | None = None,
        context: str | None = None,
        if_match: str | Collection[str] | None = None,
        if_none_match: Literal["*"] | None = None,
        author: str | None = None,
        message: str | None = None,
        min_copies: int | None = None,
    ) -> Written:
        """Copy on the servers' side: no content travels that they hold already. `version` may be a former or a rival one. Raises what
        `put` does, and for the source what `read` does."""
        options = Options(context, if_match, if_none_match, None, None, author, message, min_copies)
        places = checked_path(source), checked_path(path)
        return await writing.copy(self._session, *places, options, version=version)

    async def move(
        self,
        source: str,
        path: str,
        *,
        context: str | None = None,
        if_match: str | Collection[str] | None = None,
        if_none_match: Literal["*"] | None = None,
        author: str | None = None,
        message: str | None = None,
        min_copies: int | None = None,
    ) -> Written:
        """Move on the servers' side, in one operation. The history of both paths tells of it. Raises what `copy` does."""
        options = Options(context, if_match, if_none_match, None, None, author, message, min_copies)
        places = checked_path(source), checked_path(path)
        return await writing.copy(self._session, *places, options, moves=True)

    async def restore(
        self,
        path: str,
        version: str,
        *,
        context: str | None = None,
        if_match: str | Collection[str] | None = None,
        author: str | None = None,
        message: str | None = None,
        min_copies: int | None = None,
    ) -> Written:
        """Make a former version (its digest, or 12 or more hex digits of it) the current one again, as a new version. Raises what `put`
        does, and `NoSuchVersion` if nobody who answered keeps it."""
        options = Options(context, if_match, author=author, message=message, min_copies=min_copies)
        place = checked_path(path)
        return await writing.copy(self._session, place, place, options, version=version)

    async def history(self, path: str) -> History:
        """What happened to a path, newest first. Raises `NotFound` if nobody knows of it, `UnknownState` if somebody did not answer
        who might."""
        return await histories.history(self._session, checked_path(path))

    async def status(self, prefix: str = "") -> Overview:
        """How the servers stand, and how many paths have which verdict, without a walk. Raises what every method does."""
        return await status.status(self._session, checked_prefix(prefix))

    def differences(self, prefix: str = "", *, kinds: Collection[str] = ()) -> Listing[DifferingPath]:
        """Every path whose copies do not agree, as all servers together know it: `async for path in client.differences()`. `kinds` are
        verdicts, and `estranged` (only a server that was away for too long has it)."""
        return status.differences(self._session, checked_prefix(prefix), kinds)

    def findings(self, prefix: str = "", *, order: int = 0) -> Listing[OddCopy]:
        """Every copy that a scan or a scrub found odd and that is so still; with the number of an `order`, all that that run found."""
        return status.findings(self._session, checked_prefix(prefix), order)

    def clashes(self, prefix: str = "") -> Listing[NameClash]:
        """Names that become one where file systems normalise Unicode or fold case."""
        return status.clashes(self._session, checked_prefix(prefix))

    async def scan(self, scope: str = "", *, servers: Collection[str] = ()) -> Ordered:
        """Have the servers (all, or those named) look for what changed behind Accord's back. `scope` is a path, a folder with a slash
        at its end, or empty for everything. Returns when they have begun: `status` tells how far they are.
        Raises `Unavailable` if no server took the order, and `WriteUnclear` if the connection ended before that was known: it is given
        to nobody twice."""
        return await status.order(self._session, "scan", scope, servers)

    async def scrub(self, scope: str = "", *, servers: Collection[str] = ()) -> Ordered:
        """Have the servers read every byte anew. As `scan`."""
        return await status.order(self._session, "scrub", scope, servers)

    async def sync(self, scope: str = "", *, servers: Collection[str] = ()) -> Ordered:
        """Have the servers compare themselves with each other, and mend. As `scan`."""
        return await status.order(self._session, "sync", scope, servers)

    async def pause(self, *, servers: Collection[str] = ()) -> Ordered:
        """Have the servers begin no healing in the background until `resume`. Raises what `scan` does."""
        return await status.order(self._session, "pause", "", servers)

    async def resume(self, *, servers: Collection[str] = ()) -> Ordered:
        """Let the servers heal again. Raises what `scan` does."""
        return await status.order(self._session, "resume", "", servers)

    async def close(self) -> None:
        """Let go of the connections. The client is of no use afterwards; closing it once more does nothing."""
        await self._session.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
