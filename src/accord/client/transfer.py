"""One version's bytes in order, whichever servers they come from, hashed on their way (promise 3, seen from the client).

When a server breaks off, the next one continues at the same byte under `If-Range`, so that two versions are never spliced. The last
bytes are handed out only once the digest of the whole was right. Where the bytes go is left to the caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from blake3 import blake3

from accord.client.answers import digest_of, is_executable, size_of, verdict_of_headers
from accord.client.fields import read_content_range
from accord.client.results import Handover, Verdict
from accord.client.session import Answered, Session, files_target
from accord.client.transport import ServerUnusable
from accord.errors import AccordError, ChangedWhileReading, ForeignError, IntegrityError, InvalidPath, Unavailable
from accord.model.names import Digest, DigestPrefix, FilePath, Prefix

MAX_BREAKS: Final = 100
"""How often one transfer may break off before it is given up, even if each piece brought it forward."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: `version` is a digest or a prefix of one, `verify` one of `stat`, `content`, `none`."""

    path: FilePath
    version: str | None = None
    verify: str | None = None

    @property
    def target(self) -> str:
        return files_target(self.path, version=self.version, verify=self.verify)


def checked_path(path: str) -> FilePath:
    """Raises `InvalidPath`, also for what is no text at all."""
    return FilePath(_text(path))


def checked_prefix(prefix: str) -> Prefix:
    return Prefix(_text(prefix))


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise InvalidPath(f"A path is text, and not of the type {type(given).__name__}.")
    return given


@dataclass(slots=True)
class Held:
    """The beginning of a version that an earlier attempt left behind: `size` bytes, fed to `hasher`."""

    digest: Digest
    size: int
    hasher: Any


class Transfer:
    """Opened by `open_transfer`. Close it in any case.

    `start` is where its blocks begin: 0, or what was held already. `offset` is how far they have come. `verdict` is what the server
    said that is sending now; `handovers` tell of those that broke off before it.
    """

    def __init__(self, session: Session, wanted: Wanted, answered: Answered, held: Held | None) -> None:
        self._session, self._wanted, self._answered = session, wanted, answered
        reply = answered.reply
        self.digest = digest_of(reply.headers)
        self.size = size_of(reply.status, reply.headers)
        self.verdict: Verdict = verdict_of_headers(wanted.path, reply.status, reply.headers)
        self.modified = self.verdict.versions[0].modified
        self.executable = is_executable(reply.headers)
        self.handovers: list[Handover] = []
        resumed = held is not None and reply.status == 206
        self.start = held.size if held is not None and resumed else 0
        self._hasher = held.hasher if held is not None and resumed else blake3()
        self.offset = self.start
        self._broke_at = -1
        self._idle_breaks = self._breaks = 0
        if resumed and (held is None or held.digest != self.digest):
            raise ForeignError("The server continued another version than it was asked for.", worth_another=True)
        if wanted.version is not None and not DigestPrefix(wanted.version).matches(self.digest):
            raise ForeignError("The server sent another version than it was asked for.", worth_another=True)

    @property
    def server(self) -> str:
        """The address of the server that is sending now."""
        return self._answered.server

    async def blocks(self) -> AsyncIterator[bytes]:
        """Raises `IntegrityError`, `Unavailable` (no server could finish it), `ChangedWhileReading` (that version is gone)."""
        skipping = 0
        while True:
            reason = "the connection ended early"
            chunks = self._answered.reply.chunks()
            try:
                async for chunk in chunks:
                    block, skipping = chunk[skipping:], max(0, skipping - len(chunk))
                    if block:
                        self._take(block)
                        yield block
            except ServerUnusable as error:
                reason = str(error)
            if self.size is None or self.offset == self.size:
                break
            skipping = await self._carry_on(reason)
        self._prove()

    async def close(self) -> None:
        await self._answered.reply.close()

    def _take(self, block: bytes) -> None:
        self._hasher.update(block)
        self.offset += len(block)
        if self.size is not None and self.offset >= self.size:
            self._prove()

    def _prove(self) -> None:
        if (self.size is not None and self.offset != self.size) or self._hasher.digest() != self.digest:
            raise IntegrityError(
                f"What {self.server} sent of {self._wanted.path} does not match its digest; it was not used.",
                path=self._wanted.path,
                extra={"digest": str(self.digest), "server": self.server},
            )

    async def _carry_on(self, reason: str) -> int:
        """Go on at the same byte, on the next server. Returns how many bytes of the new reply to pass over."""
        broken = self.server
        self._breaks += 1
        self._idle_breaks = 1 if self.offset > self._broke_at else self._idle_breaks + 1
        self._broke_at = self.offset
        if self._idle_breaks > len(self._session.servers) or self._breaks > MAX_BREAKS:
            raise Unavailable(
                f"The transfer of {self._wanted.path} broke off after {self.offset} of {self.size} bytes "
                f"({reason}); tried {', '.join(self._session.servers)}.",
                path=self._wanted.path,
                extra={"tried": [{"server": server} for server in self._session.servers]},
            )
        await self._answered.reply.close()
        self._session.avoid(broken)
        self._answered = await _ask(self._session, self._wanted, self.digest, self.offset)
        reply = self._answered.reply
        if digest_of(reply.headers) != self.digest:
            raise ChangedWhileReading(
                f"{self._wanted.path} was changed while it was read; nothing was mixed.", path=self._wanted.path
            )
        self.verdict = verdict_of_headers(self._wanted.path, reply.status, reply.headers)
        self.handovers.append(Handover(broken, self.offset, self.server))
        return 0 if reply.status == 206 else self.offset


async def open_transfer(session: Session, wanted: Wanted, held: Held | None = None) -> Transfer:
    """Ask for the bytes. A server that no longer has the held version answers with the current one, from its beginning.

    Raises what the verdict amounts to: `RivalVersions`, `NotFound`, `Gone`, `UnknownState`, `DamagedEverywhere`.
    """
    answered = await _ask(session, wanted, held.digest if held else None, held.size if held else 0)
    try:
        return Transfer(session, wanted, answered, held)
    except AccordError:
        await answered.reply.close()
        raise


async def _ask(session: Session, wanted: Wanted, digest: Digest | None, offset: int) -> Answered:
    headers = {} if not offset else {"Range": f"bytes={offset}-", "If-Range": f'"{digest}"'}
    answered = await session.ask("GET", wanted.target, headers, accept=(200, 206), path=wanted.path)
    reply = answered.reply
    if reply.status == 206:
        span = read_content_range(reply.headers.get("content-range"))
        if not offset or span is None or span.first != offset:
            await reply.close()
            raise ForeignError("The server sent another range than it was asked for.", worth_another=True)
    return answered
