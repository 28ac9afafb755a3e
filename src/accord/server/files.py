"""GET and HEAD of /files/{path}: parse, read, and send what the verdict says, on the thin path of `server.protocol`.

Everything it decides with is elsewhere: the verdict in `model`, conditions, ranges and rendering in their own modules, the bytes in
`engine`. Here is the order of things, and that nothing unproven leaves.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import cast

from accord.engine.read import Begun, Reading
from accord.engine.repr_digest import Sha256
from accord.engine.transfer import CopyFailed
from accord.errors import (
    AccordError,
    ChangedWhileReading,
    PeerFailed,
    PreconditionFailed,
    RangeNotSatisfiable,
    StillChecking,
    Unavailable,
)
from accord.model.verdict import Checking, HeldVersion, Kind, State, Verdict
from accord.server.conditional import FIELDS, Decision, Outcome, evaluate
from accord.server.exchange import Exchange
from accord.server.media import Form, content_type, negotiate
from accord.server.multipart import BOUNDARY_BYTES
from accord.server.paths import FileTarget, read_target
from accord.server.problems import problem_of, render, rivals_refused
from accord.server.ranges import Selection, Span, byteranges, content_range, select
from accord.server.rendering import etag, file_head, last_modified_s, render_head, server_bodies, verdict_fields
from accord.server.rivals import FORMS, as_json, as_multipart, as_page, parts, rivals_head
from accord.server.services import Services

ATTEMPTS_ON_CHANGE = 4
"""How often a read starts anew when its file turns out changed or damaged under it, before it says so."""
CHECKING_RETRY_S = 2

_ERROR_FORMS = (Form.JSON, Form.HTML)
_CONDITIONS = FIELDS | {b"want-repr-digest"}
"""A request with one of these may want something else than the whole."""


class FileRoute:
    """Answers exchanges for one server. `now_s` tells the time in seconds since the epoch."""

    def __init__(self, services: Services, *, now_s: Callable[[], float] = time.time) -> None:
        self._reader = services.reader
        self._historian = services.historian
        self._metrics = services.metrics
        self._now_s = now_s
        self._sha256 = Sha256()

    def __call__(self, exchange: Exchange) -> None:
        """Answer. A small file that is at hand is answered from the callback of the peers' answers, without a task."""
        try:
            target = read_target(exchange.target)
        except AccordError as error:
            self._refuse(exchange, error)
            return
        query = target.query
        begun = self._reader.begin(target.path, query.verify) if query.version is None else None
        if begun is None:
            exchange.spawn(self._answer(exchange, target))
        elif begun.asked is None:
            self._conclude(exchange, target, begun)
        else:
            begun.asked.add_done_callback(lambda _: exchange.attempt(self._conclude, exchange, target, begun))

    def _conclude(self, exchange: Exchange, target: FileTarget, begun: Begun) -> None:
        reading = self._reader.conclude(begun)
        try:
            answered = _Answer(self, exchange, target, reading).send_now()
        except CopyFailed:
            answered = False
        except BaseException:
            reading.close()
            raise
        if answered:
            reading.close()
        else:
            exchange.spawn(self._answer(exchange, target, reading))

    async def _answer(self, exchange: Exchange, target: FileTarget, reading: Reading | None = None) -> None:
        """Answer, from `reading` if there is one, however long it takes. Raises `ConnectionResetError` when the client has gone."""
        try:
            await self._answered(exchange, target, reading)
        except AccordError as error:
            if exchange.started:
                self._metrics.broken_off()
                exchange.abort()
            else:
                self._refuse(exchange, error)

    async def _answered(self, exchange: Exchange, target: FileTarget, reading: Reading | None) -> None:
        kind: Kind | None = None
        try:
            for _ in range(ATTEMPTS_ON_CHANGE):
                if reading is None:
                    reading = await self._reader.read(target.path, target.query.verify)
                kind = reading.verdict.kind
                if await self._attempt(exchange, target, reading):
                    return
                reading = None
        finally:
            if kind is not None:
                self._metrics.read(kind)
        raise ChangedWhileReading("The file is being changed faster than it can be read.", path=target.path)

    async def _attempt(self, exchange: Exchange, target: FileTarget, reading: Reading) -> bool:
        """Whether that was the answer; if not, nothing was sent, and the read begins anew. The reading is closed."""
        try:
            await _Answer(self, exchange, target, reading).send()
            return True
        except CopyFailed as failure:
            await self._reader.copy_failed(failure)
            if exchange.started:
                raise
        except ChangedWhileReading:
            if exchange.started:
                raise
        except AccordError as error:
            raise _explained(error, reading.verdict) from error
        finally:
            reading.close()
        return False

    def _refuse(self, exchange: Exchange, error: AccordError) -> None:
        form = negotiate(exchange.header(b"accept"), _ERROR_FORMS)
        problem = render(error, form=form)
        exchange.respond(render_head(problem.status, problem.fields, now_s=self.now_s()), problem.body)

    def now_s(self) -> int:
        return int(self._now_s())


def _explained(error: AccordError, verdict: Verdict) -> AccordError:
    """An error of a read, with what is known of the file: its path, and what each server said."""
    if isinstance(error, PeerFailed):
        error = Unavailable(f"The copy could not be fetched from another server. {error.detail}", extra=error.extra)
    error.path = error.path or verdict.path
    error.extra.setdefault("servers", server_bodies(verdict.servers))
    error.fields = (*error.fields, *verdict_fields(verdict))
    return error


class _Answer:
    """One answer to one reading."""

    __slots__ = ("_exchange", "_now_s", "_query", "_reading", "_route")

    def __init__(self, route: FileRoute, exchange: Exchange, target: FileTarget, reading: Reading) -> None:
        self._route = route
        self._exchange = exchange
        self._query = target.query
        self._reading = reading
        self._now_s = route.now_s()

    def send_now(self) -> bool:
        """Send the everyday answer: all of one small version that this server has at hand. False, and nothing sent, for any other.

        Raises `CopyFailed`.
        """
        reading, exchange = self._reading, self._exchange
        mine, versions = reading.mine, reading.verdict.versions
        if mine is None or len(versions) != 1 or versions[0].version.digest != mine.answer.digest:
            return False
        if any(name in _CONDITIONS for name, _ in exchange.headers):
            return False
        if self._route._sha256.known(mine.answer.digest) is not None:
            return False
        content = self._route._reader.body(reading, versions[0]).whole_now() if exchange.wants_body else b""
        if content is None:
            return False
        size = versions[0].version.size
        exchange.respond(self._head(200, versions[0], size), content)
        self._route._metrics.read(reading.verdict.kind)
        self._route._metrics.sent(len(content))
        return True

    async def send(self) -> None:
        reading = self._reading
        verdict = reading.verdict
        if isinstance(reading.local, Checking):
            raise self._still_checking(reading.local)
        if self._query.version is not None:
            await self._send_version(await self._route._historian.find(reading, self._query.version))
            return
        problem = problem_of(verdict)
        if problem is not None:
            raise problem
        if verdict.kind is not Kind.DIVERGED:
            await self._send_version(verdict.versions[0])
        elif self._query.fail_on_rivals:
            raise rivals_refused(verdict)
        else:
            await self._send_rivals()

    def _still_checking(self, local: Checking) -> StillChecking:
        return StillChecking(
            f"This server's copy is being hashed ({local.hashed_bytes} of {local.total_bytes} bytes).",
            extra={"hashed_bytes": local.hashed_bytes, "total_bytes": local.total_bytes},
            retry_after_s=CHECKING_RETRY_S,
        )

    # --- one version ---

    async def _send_version(self, held: HeldVersion) -> None:
        exchange, version, verdict = self._exchange, held.version, self._reading.verdict
        decision = self._conditions(held)
        if decision.outcome is Outcome.NOT_MODIFIED:
            exchange.respond(file_head(304, verdict, version, now_s=self._now_s, length=None))
            return
        if decision.outcome is Outcome.PRECONDITION_FAILED:
            raise PreconditionFailed("The file is not the version that the request is about.", path=verdict.path)
        selected = select(decision.range, version.size)
        if selected is Selection.NOT_SATISFIABLE:
            refusal = RangeNotSatisfiable(f"The file has {version.size} bytes.", path=verdict.path)
            refusal.fields = ((b"content-range", content_range(None, version.size)),)
            raise refusal
        if isinstance(selected, Selection):
            await self._send_whole(held)
        elif len(selected) == 1:
            await self._send_span(held, selected[0])
        else:
            await self._send_spans(held, selected)

    def _conditions(self, held: HeldVersion) -> Decision:
        digest = held.version.digest
        assert digest is not None
        return evaluate(
            self._exchange.headers,
            method=b"GET" if self._exchange.wants_body else b"HEAD",
            etag=etag(digest),
            modified_s=last_modified_s(held.version, self._now_s),
            now_s=self._now_s,
        )

    async def _send_whole(self, held: HeldVersion) -> None:
        exchange, size = self._exchange, held.version.size
        extra = await self._repr_digest(held)
        if not exchange.wants_body:
            exchange.respond(self._head(200, held, size, extra=extra))
            return
        body = self._route._reader.body(self._reading, held)
        content = body.whole_now()
        if content is not None:
            exchange.respond(self._head(200, held, size, extra=extra), content)
            self._route._metrics.sent(size)
            return
        await self._stream(self._head(200, held, size, extra=extra), [(b"", body.blocks())])

    async def _send_span(self, held: HeldVersion, span: Span) -> None:
        extra = b"Content-Range: %b\r\n" % content_range(span, held.version.size)
        head = self._head(206, held, span.stop - span.start, extra=extra)
        body = self._route._reader.body(self._reading, held)
        await self._stream(head, [(b"", body.part(span.start, span.stop))])

    async def _send_spans(self, held: HeldVersion, spans: Sequence[Span]) -> None:
        media_type = content_type(self._reading.verdict.path.name).encode()
        framing = byteranges(spans, held.version.size, media_type, secrets.token_hex(BOUNDARY_BYTES))
        head = self._head(206, held, framing.total_bytes, media_type=framing.content_type)
        body = self._route._reader.body(self._reading, held)
        pieces = zip(framing.heads, [body.part(span.start, span.stop) for span in spans], strict=True)
        await self._stream(head, pieces, framing.closing)

    def _head(
        self, status: int, held: HeldVersion, length: int, *, media_type: bytes | None = None, extra: bytes = b""
    ) -> bytes:
        verdict, version = self._reading.verdict, held.version
        return file_head(status, verdict, version, now_s=self._now_s, length=length, media_type=media_type, extra=extra)

    async def _repr_digest(self, held: HeldVersion) -> bytes:
        """The Repr-Digest line (RFC 9530), where it was asked for or is known already."""
        wanted = self._exchange.header(b"want-repr-digest")
        digest = held.version.digest
        assert digest is not None
        field = self._route._sha256.known(digest)
        if field is None and wanted is not None and self._route._sha256.is_wanted(wanted):
            field = await self._route._sha256.of(self._route._reader.body(self._reading, held))
        return b"" if field is None else b"Repr-Digest: %b\r\n" % field

    # --- rivals ---

    async def _send_rivals(self) -> None:
        exchange, verdict = self._exchange, self._reading.verdict
        form = negotiate(exchange.header(b"accept"), FORMS)
        if form is Form.MULTIPART:
            await self._send_rival_bodies()
            return
        body = as_page(verdict) if form is Form.HTML else as_json(verdict)
        exchange.respond(rivals_head(verdict, form, now_s=self._now_s, length=len(body)), body)

    async def _send_rival_bodies(self) -> None:
        verdict = self._reading.verdict
        framing = as_multipart(verdict, secrets.token_hex(BOUNDARY_BYTES))
        head = rivals_head(
            verdict,
            Form.MULTIPART,
            now_s=self._now_s,
            length=framing.total_bytes,
            media_type=framing.content_type,
        )
        if not self._exchange.wants_body:
            self._exchange.respond(head)
            return
        bodies = [
            self._route._reader.body(self._reading, rival.held).blocks() if rival.state is State.RIVAL else _nothing()
            for rival in parts(verdict)
        ]
        await self._stream(head, zip(framing.heads, bodies, strict=True), framing.closing)

    # --- bytes ---

    async def _stream(
        self, head: bytes, pieces: Iterable[tuple[bytes, AsyncIterator[bytes]]], closing: bytes = b""
    ) -> None:
        """Send `head`, the pieces (what stands before a body, and the body) and `closing`.

        The head waits for the first block of the first body, so that what fails before it is a clean refusal.
        """
        exchange = self._exchange
        if not exchange.wants_body:
            exchange.respond(head)
            return
        pending = [head]
        for before, body in pieces:
            pending.append(before)
            # Every body is an async generator; it is closed here and now when the client goes away.
            async with aclosing(cast("AsyncGenerator[bytes]", body)) as blocks:
                async for block in blocks:
                    await self._write(pending, block)
        await self._write(pending, closing)
        exchange.finish()

    async def _write(self, pending: list[bytes], block: bytes) -> None:
        exchange = self._exchange
        if pending:
            start, pending[:] = b"".join(pending), []
            if exchange.started:
                await exchange.write(start)
            else:
                exchange.begin(start)
        if block:
            await exchange.write(block)
            self._route._metrics.sent(len(block))


async def _nothing() -> AsyncIterator[bytes]:
    """The bytes of a rival of which there are none."""
    empty: tuple[bytes, ...] = ()
    for block in empty:
        yield block
