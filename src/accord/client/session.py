"""Several servers as one: a request goes to the one that worked last, and to the next where a server is down or unwell.

What an answer means is `client.answers`'; bytes and their digests are `client.transfer`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from accord.client.answers import error_of, has_verdict, worth_asking_another
from accord.client.given import checked_text
from accord.client.transport import Reply, ServerUnusable, Transport
from accord.errors import AccordError, NobodyAnswered, UsageError
from accord.model.names import DigestPrefix, FilePath

MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
"""The largest JSON answer that is read into memory."""

DEFAULT_SERVER: Final = "http://127.0.0.1:65001"


@dataclass(slots=True)
class Answered:
    """A reply, and who gave it."""

    server: str
    reply: Reply


class Session:
    """The servers of one cluster over one transport. Remembers which one worked; not to be shared between threads."""

    def __init__(self, transport: Transport, servers: Sequence[str]) -> None:
        if not servers:
            raise UsageError("At least one server is needed.")
        self.transport = transport
        self.servers = tuple(dict.fromkeys(_server_url(text) for text in servers))
        self._first = 0

    @property
    def current(self) -> str:
        """The server that is asked first."""
        return self.servers[self._first]

    @property
    def in_turn(self) -> tuple[str, ...]:
        """All of them, as they are asked one after the other."""
        return self.servers[self._first :] + self.servers[: self._first]

    def prefer(self, server: str) -> None:
        """Ask this one first from now on."""
        self._first = self.servers.index(server)

    def avoid(self, server: str) -> None:
        """Ask the others first from now on."""
        if self.servers[self._first] == server:
            self._first = (self._first + 1) % len(self.servers)

    async def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        *,
        accept: Collection[int] = (200,),
        path: str | None = None,
    ) -> Answered:
        """The first server's reply whose status is in `accept`; the caller closes it.

        Raises the error that a server answered with, once no other server is likely to know better; `NobodyAnswered` if none
        of them could be used. Both name every server that was tried.
        """
        failures: list[tuple[str, str | AccordError]] = []
        for server in self.in_turn:
            try:
                reply = await self.transport.send(method, server + target, headers or {})
                if reply.status in accept:
                    self.prefer(server)
                    return Answered(server, reply)
                error = error_of(reply.status, reply.headers, await read_document(reply), path)
            except ServerUnusable as unusable:
                failures.append((server, str(unusable)))
                continue
            if not worth_asking_another(error):
                self.prefer(server)
                raise error
            failures.append((server, error))
        raise exhausted(failures, path)


async def read_document(reply: Reply) -> bytes:
    """A JSON answer, whole; the reply is closed. Raises `ServerUnusable`, and `AccordError` for one without bounds."""
    try:
        parts: list[bytes] = []
        size = 0
        async for chunk in reply.chunks():
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_DOCUMENT_BYTES:
                raise AccordError(f"The server's answer is longer than {MAX_DOCUMENT_BYTES} bytes.")
        return b"".join(parts)
    finally:
        await reply.close()


def exhausted(failures: Sequence[tuple[str, str | AccordError]], path: str | None) -> AccordError:
    """The error once every server was tried: the verdict of one that has one, or else what the first said that said anything; with the
    fate of the others."""
    tried = [{"server": server, "reason": _said(reason)} for server, reason in failures]
    errors = [reason for _, reason in failures if isinstance(reason, AccordError)]
    spoken = next(filter(has_verdict, errors), errors[0] if errors else None)
    if spoken is None:
        story = "; ".join(f"{one['server']} ({one['reason']})" for one in tried)
        return NobodyAnswered(f"No server could be asked: {story}.", path=path, extra={"tried": tried})
    if len(failures) > 1:
        reasons = (("as said" if one["reason"] == spoken.detail else one["reason"].rstrip(".")) for one in tried)
        story = "; ".join(f"{one['server']} ({reason})" for one, reason in zip(tried, reasons, strict=True))
        spoken.detail = f"{spoken.detail} Servers tried: {story}."
        spoken.args = (spoken.detail,)
        spoken.extra = {**spoken.extra, "tried": tried}
    return spoken


def files_target(path: FilePath, *, version: str | None = None, verify: str | None = None) -> str:
    """The address of a file on any server. Raises `InvalidQuery` for a version that names none."""
    query = {}
    if version is not None:
        query["version"] = "blake3:" + DigestPrefix(checked_text("version", version))
    if verify is not None and verify != "stat":
        query["verify"] = checked_text("kind of verification", verify)
    return "/files/" + quote(path) + ("?" + urlencode(query) if query else "")


def _said(reason: str | AccordError) -> str:
    return reason if isinstance(reason, str) else reason.detail


def _server_url(text: str) -> str:
    stripped = checked_text("server address", text).strip().rstrip("/")
    try:
        parts = urlsplit(stripped)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise UsageError(f"'{text}' is no server address: write it like {DEFAULT_SERVER}.")
    return stripped
