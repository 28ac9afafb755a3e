"""How the servers stand, what is not the same everywhere, which copies are odd; and ordering work in the background.

The values of the status are the servers' own (`engine.overview`). How things are shown, and waiting for work to end, is left to the
caller.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from accord.client.answers import error_of
from accord.client.given import checked_text
from accord.client.listing import Listing
from accord.client.results import Verdict, decode
from accord.client.session import Session, exhausted, read_document
from accord.client.transfer import checked_path, checked_prefix
from accord.client.transport import ServerUnusable
from accord.engine.overview import Overview
from accord.errors import AccordError, WriteUnclear
from accord.model.findings import Oddity
from accord.model.names import Digest, FilePath, Prefix, ServerName

CLASH: Final = "clash"
_JSON: Final = {"Accept": "application/json"}
_ORDER: Final = {**_JSON, "Accord-Order": "?1", "Content-Length": "0"}
_TAKEN: Final = 202
_UNAVAILABLE: Final = 503


class DifferingPath(Verdict, frozen=True):
    """A path whose copies do not agree, with the verdict taken now. `since` is when that was seen first; `estranged`: only a server
    that was away for longer than deletions are remembered has it, so that it is not spread."""

    since: str | None = None
    estranged: bool = False


class OddCopy(msgspec.Struct, frozen=True):
    """A copy of one server that a scan or a scrub found odd. `there` is the digest of what is at the path, `recorded` of what should
    be there, where they are known."""

    server: ServerName
    path: FilePath
    oddity: Oddity
    since: str
    there: Digest | None = None
    recorded: Digest | None = None
    detail: str = ""


class NameClash(msgspec.Struct, frozen=True):
    """Two names on one server that become one where file systems normalise Unicode or fold case."""

    clash: str
    other: str
    server: ServerName


class OrderedServer(msgspec.Struct, frozen=True):
    """What a server made of an order: `reason` says why it does not do it, and `reached` whether it could be asked at all."""

    name: ServerName
    reached: bool
    reason: str | None = None


class Ordered(msgspec.Struct, frozen=True):
    """Work that has begun. `number` is its name in the `order` of the servers' reports."""

    work: str
    scope: str
    number: int
    servers: tuple[OrderedServer, ...]


async def status(session: Session, prefix: Prefix) -> Overview:
    target = "/status" + (f"?prefix={quote(prefix)}" if prefix else "")
    answered = await session.ask("GET", target, _JSON)
    try:
        return decode(Overview, await read_document(answered.reply))
    except ServerUnusable as unusable:
        raise AccordError(f"{answered.server} broke off its answer: {unusable}.") from unusable


async def order(session: Session, work: str, scope: str, servers: Collection[str]) -> Ordered:
    """Given once: to the next server only where one was never reached, or could not take it, as work begun twice is done twice. Raises
    `Unavailable` where no server took the order, `WriteUnclear` where that cannot be known."""
    checked_text("scope", scope)
    place = checked_prefix(scope) if not scope or scope.endswith("/") else checked_path(scope)
    names = [ServerName(checked_text("server's name", name)) for name in servers]
    query = ({"scope": place} if place else {}) | ({"on": ",".join(names)} if names else {})
    target = f"/status/{work}" + ("?" + urlencode(query, quote_via=quote) if query else "")
    failures: list[tuple[str, str | AccordError]] = []
    for server in session.in_turn:
        try:
            reply = await session.transport.submit("POST", server + target, _ORDER, None, 0.0)
            body = await read_document(reply)
        except ServerUnusable as unusable:
            if not unusable.is_untouched:
                raise _unclear(server, work, str(unusable)) from unusable
            failures.append((server, str(unusable)))
            continue
        if reply.status == _UNAVAILABLE:
            failures.append((server, error_of(reply.status, reply.headers, body, None)))
            continue
        session.prefer(server)
        if reply.status != _TAKEN:
            raise error_of(reply.status, reply.headers, body, None)
        return decode(Ordered, body)
    raise exhausted(failures, None)


def _unclear(server: str, work: str, reason: str) -> WriteUnclear:
    done = {"pause": "healing is paused", "resume": "healing goes on"}.get(work, f"the {work} has begun")
    return WriteUnclear(
        f"{server} did not say whether {done} ({reason}). Look with `accord status` before you try again."
    )


def differences(session: Session, prefix: Prefix, kinds: Collection[str]) -> Listing[DifferingPath]:
    """`kinds` are verdicts, and `estranged`; without any, all."""
    target = "/status/paths" + _query(prefix=prefix, kind=",".join(checked_text("kind", kind) for kind in kinds))
    return Listing(session, target, lambda line: decode(DifferingPath, line), lambda one: one.path.encode())


def findings(session: Session, prefix: Prefix, number: int = 0) -> Listing[OddCopy]:
    """What is odd now; with the `number` of an order, what that run found, mended or not."""
    target = "/status/findings" + _query(prefix=prefix, order=str(number) if number else "")
    return Listing(session, target, lambda line: decode(OddCopy, line), _place)


def clashes(session: Session, prefix: Prefix) -> Listing[NameClash]:
    target = "/status/paths" + _query(prefix=prefix, kind=CLASH)
    return Listing(
        session,
        target,
        lambda line: decode(NameClash, line),
        lambda one: f"{one.clash}\0{one.server}\0{one.other}".encode(),
    )


def _place(one: OddCopy) -> bytes:
    return f"{one.path}\0{one.server}\0{one.oddity.value}".encode()


def _query(**given: str) -> str:
    said = {name: value for name, value in given.items() if value}
    return "?" + urlencode(said, quote_via=quote) if said else ""
