"""`accord.Client`: the same client for programs without a loop.

Each method runs the coroutine that `AsyncClient` awaits, to its end, in the calling thread (`client.stepped`): over
`BlockingTransport` nothing in it ever suspends. Ctrl-C arrives where the thread waits, as it does in any blocking call.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Literal, Self

from accord.client import histories, reading, status, writing
from accord.client.download import Progress, Saving, download
from accord.client.listing import files, folded
from accord.client.results import (
    About,
    Download,
    File,
    Folder,
    History,
    Verdict,
    Version,
    Written,
)
from accord.client.servers import servers_or_default
from accord.client.session import Session
from accord.client.source import Content, source_of
from accord.client.status import DifferingPath, NameClash, OddCopy, Ordered
from accord.client.stepped import BlockingListing, BlockingStream, run
from accord.client.transfer import Wanted, checked_path, checked_prefix, open_transfer
from accord.client.transport import READ_TIMEOUT_S, BlockingTransport
from accord.client.writing import Options
from accord.engine.overview import Overview


class Client:
    """Like `AsyncClient`, which see; usable as a context manager, from one thread at a time."""

    def __init__(self, *servers: str, timeout_s: float = READ_TIMEOUT_S) -> None:
        addresses = servers_or_default(servers)
        tls = any(address.startswith("https:") for address in addresses)
        self._session = Session(BlockingTransport(timeout_s=timeout_s, tls=tls), addresses)

    @property
    def servers(self) -> tuple[str, ...]:
        """The addresses, in the order in which they are asked at first."""
        return self._session.servers

    def read(self, path: str, *, version: str | None = None, verify: str | None = None) -> File:
        """The whole file, in memory. Raises `RivalVersions` (its `extra["versions"]` lists them), `NotFound`, `Gone`,
        `NoSuchVersion`, `UnknownState`, `DamagedEverywhere`, and `IntegrityError` if what came is not what was announced."""
        return run(reading.read(self._session, Wanted(checked_path(path), version, verify)))

    @contextmanager
    def stream(self, path: str, *, version: str | None = None, verify: str | None = None) -> Iterator[BlockingStream]:
        """The file in blocks, however large it is; continues on another server when one breaks off. Raises what `read` does; while the
        blocks come, also `Unavailable` (no server could finish it) and `ChangedWhileReading` (the others have a newer version)."""
        transfer = run(open_transfer(self._session, Wanted(checked_path(path), version, verify)))
        try:
            yield BlockingStream(transfer)
        finally:
            run(transfer.close())

    def download(
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
        `progress` is told `(bytes so far, bytes in all or None)`. Raises what `stream` does, and `NotSaved` where this machine's disk
        refused.
        """
        wanted = Wanted(checked_path(path), version, verify)
        return run(download(self._session, Saving(wanted, destination, progress, resume, clobber)))

    def stat(self, path: str, *, verify: str | None = None) -> Verdict:
        """The verdict on a path, whatever it is; raises only if no server could say anything, or refused."""
        return run(reading.stat(self._session, Wanted(checked_path(path), verify=verify)))

    def about(self) -> About:
        """Who the server is that is asked first."""
        return run(reading.about(self._session))

    def rivals(self, path: str) -> tuple[Version, ...]:
        """The rival versions, newest first; none where the copies do not dispute. Raises what `stat` does."""
        return run(reading.rivals(self._session, Wanted(checked_path(path))))

    def list(self, prefix: str = "") -> BlockingListing[Verdict]:
        """Every file in a folder and the folders in it, sorted by path: `for verdict in client.list("folder")`. Raises
        `Unavailable` where it was cut off: what came is not all. The other listings do the same."""
        return BlockingListing(files(self._session, checked_prefix(prefix)))

    def look(self, prefix: str = "") -> BlockingListing[Verdict | Folder]:
        """The files in a folder, and each folder in it as one entry that counts what is there: far less to send than `list`."""
        return BlockingListing(folded(self._session, checked_prefix(prefix)))

    def put(
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
        """Create or replace a file. `content` is bytes, a path, an open file, or pieces of bytes.

        Without conditions it takes the place of what a verdict finds at that moment; on rivals it is refused. `context`: the token of
        the answer that the writer has seen (`Verdict.context`): what it has seen is superseded, anything else becomes a rival.
        `if_match` is a whole digest, several, or `*`; `if_none_match="*"` demands that there is no file. A file's modified time and
        executable bit travel with it. `progress` is told `(bytes so far, bytes in all or None)` after each block that went out, and
        from 0 again when another server gets the content.

        Raises `RivalVersions`, `PreconditionFailed`, `Conflict`, `DiskFull`; `TooFewCopies` (`min_copies` could not be reached: its
        `extra["stored"]` names who has it, and it is delivered to the others later, or nobody, if that was seen beforehand);
        `WriteUnclear` (the connection ended, and nobody knows: look before you try again); `IntegrityError` (what was stored is not
        what was sent).
        """
        options = Options(context, if_match, if_none_match, modified, executable, author, message, min_copies, progress)
        return run(writing.put(self._session, checked_path(path), source_of(content), options))

    def delete(
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
        return run(writing.delete(self._session, checked_path(path), options))

    def copy(
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
        return run(writing.copy(self._session, *places, options, version=version))

    def move(
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
        return run(writing.copy(self._session, *places, options, moves=True))

    def restore(
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
        return run(writing.copy(self._session, place, place, options, version=version))

    def history(self, path: str) -> History:
        """What happened to a path, newest first. Raises `NotFound` if nobody knows of it, `UnknownState` if somebody did not answer
        who might."""
        return run(histories.history(self._session, checked_path(path)))

    def status(self, prefix: str = "") -> Overview:
        """How the servers stand, and how many paths have which verdict, without a walk. Raises what every method does."""
        return run(status.status(self._session, checked_prefix(prefix)))

    def differences(self, prefix: str = "", *, kinds: Collection[str] = ()) -> BlockingListing[DifferingPath]:
        """Every path whose copies do not agree, as all servers together know it: `for path in client.differences()`. `kinds` are
        verdicts, and `estranged` (only a server that was away for too long has it)."""
        return BlockingListing(status.differences(self._session, checked_prefix(prefix), kinds))

    def findings(self, prefix: str = "", *, order: int = 0) -> BlockingListing[OddCopy]:
        """Every copy that a scan or a scrub found odd and that is so still; with the number of an `order`, all that that run found."""
        return BlockingListing(status.findings(self._session, checked_prefix(prefix), order))

    def clashes(self, prefix: str = "") -> BlockingListing[NameClash]:
        """Names that become one where file systems normalise Unicode or fold case."""
        return BlockingListing(status.clashes(self._session, checked_prefix(prefix)))

    def scan(self, scope: str = "", *, servers: Collection[str] = ()) -> Ordered:
        """Have the servers (all, or those named) look for what changed behind Accord's back. `scope` is a path, a folder with a slash
        at its end, or empty for everything. Returns when they have begun: `status` tells how far they are.
        Raises `Unavailable` if no server took the order, and `WriteUnclear` if the connection ended before that was known: it is given
        to nobody twice."""
        return run(status.order(self._session, "scan", scope, servers))

    def scrub(self, scope: str = "", *, servers: Collection[str] = ()) -> Ordered:
        """Have the servers read every byte anew. As `scan`."""
        return run(status.order(self._session, "scrub", scope, servers))

    def sync(self, scope: str = "", *, servers: Collection[str] = ()) -> Ordered:
        """Have the servers compare themselves with each other, and mend. As `scan`."""
        return run(status.order(self._session, "sync", scope, servers))

    def pause(self, *, servers: Collection[str] = ()) -> Ordered:
        """Have the servers begin no healing in the background until `resume`. Raises what `scan` does."""
        return run(status.order(self._session, "pause", "", servers))

    def resume(self, *, servers: Collection[str] = ()) -> Ordered:
        """Let the servers heal again. Raises what `scan` does."""
        return run(status.order(self._session, "resume", "", servers))

    def close(self) -> None:
        """Let go of the connections. The client is of no use afterwards; closing it once more does nothing."""
        run(self._session.transport.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
