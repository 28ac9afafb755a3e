"""The small reads: a whole file in memory, the verdict without the bytes, the rivals.

Each is a coroutine over a session, written once for both faces of the client. Saving to disk is `client.download`'s, listing
`client.listing`'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from accord.client.answers import (
    error_of,
    verdict_of_headers,
    verdict_of_json,
    verdict_of_problem,
    worth_asking_another,
)
from accord.client.results import About, File, Handover, Verdict, Version, decode
from accord.client.session import Session, exhausted, read_document
from accord.client.transfer import Transfer, Wanted, open_transfer
from accord.client.transport import Reply, ServerUnusable
from accord.errors import AccordError, NobodyAnswered
from accord.model.names import Digest
from accord.model.verdict import Kind

_JSON: Final = {"Accept": "application/json"}
_VERDICT_STATUS: Final = frozenset({200, 300, 404, 410})


class Stream:
    """A file's bytes in blocks as they arrive, checked as they pass; the verdict they came with is known before the first."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self.digest: Digest = transfer.digest
        self.size: int | None = transfer.size
        self.executable: bool = transfer.executable

    @property
    def verdict(self) -> Verdict:
        """That of the last server that sent of it."""
        return self._transfer.verdict

    @property
    def handovers(self) -> tuple[Handover, ...]:
        return tuple(self._transfer.handovers)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._transfer.blocks()


async def read(session: Session, wanted: Wanted) -> File:
    transfer = await open_transfer(session, wanted)
    try:
        content = b"".join([block async for block in transfer.blocks()])
    finally:
        await transfer.close()
    return File(wanted.path, content, transfer.digest, transfer.verdict)


async def stat(session: Session, wanted: Wanted) -> Verdict:
    """The verdict, whatever it is: `missing`, `deleted`, `unknown` and `damaged` are answers here, not errors.

    A HEAD says it all for one current version; for everything else a GET fetches the JSON, which a HEAD's answer lacks.
    """
    try:
        answered = await session.ask("HEAD", wanted.target, _JSON, accept=_VERDICT_STATUS, path=wanted.path)
    except NobodyAnswered:
        raise
    except AccordError:
        return await _asked_in_full(session, wanted)
    await answered.reply.close()
    if answered.reply.status == 200:
        return verdict_of_headers(wanted.path, 200, answered.reply.headers)
    return await _asked_in_full(session, wanted)


async def about(session: Session) -> About:
    """Who the first server that answers is; also of one whose store is out of order."""
    answered = await session.ask("GET", "/ready", _JSON, accept=(200, 503))
    try:
        return decode(About, await read_document(answered.reply))
    except ServerUnusable as unusable:
        raise AccordError(f"{answered.server} broke off its answer: {unusable}.") from unusable


async def rivals(session: Session, wanted: Wanted) -> tuple[Version, ...]:
    """The rival versions, newest first; none where the copies do not dispute."""
    verdict = await stat(session, wanted)
    return verdict.versions if verdict.verdict is Kind.DIVERGED else ()


async def _asked_in_full(session: Session, wanted: Wanted) -> Verdict:
    """The first answer with a verdict: a server that is out of order has none to give, and the next one may."""
    failures: list[tuple[str, str | AccordError]] = []
    for server in session.in_turn:
        try:
            verdict = await _verdict_of(await session.transport.send("GET", server + wanted.target, _JSON), wanted)
        except ServerUnusable as unusable:
            failures.append((server, str(unusable)))
        except AccordError as error:
            if not worth_asking_another(error):
                session.prefer(server)
                raise
            failures.append((server, error))
        else:
            session.prefer(server)
            return verdict
    raise exhausted(failures, wanted.path)


async def _verdict_of(reply: Reply, wanted: Wanted) -> Verdict:
    """Raises what the answer says where it has no verdict, and `ServerUnusable` where it breaks off."""
    if reply.status == 200:
        await reply.close()
        return verdict_of_headers(wanted.path, 200, reply.headers)
    body = await read_document(reply)
    if reply.status == 300:
        return verdict_of_json(wanted.path, body)
    error = error_of(reply.status, reply.headers, body, wanted.path)
    verdict = verdict_of_problem(wanted.path, reply.headers, error)
    if verdict is None:
        raise error
    return verdict
