"""PUT and DELETE of /files/{path}: parse, have the engine write, and say who has it, on the thin path of `server.protocol`.

What a write may do and what it supersedes is decided in `model.writing`, what its fields mean in `server.wishes`. Here is the order of
things: whatever can be refused is refused before the body is asked for; a body that ends early, is not what it was announced to be,
or cannot be kept leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from accord.engine.deciding import Refused, Wish
from accord.engine.write import Writing, Written
from accord.errors import AccordError, UsageError
from accord.model.history import Deed
from accord.model.names import FilePath
from accord.server.body import RequestBody
from accord.server.exchange import Exchange
from accord.server.media import Form, negotiate
from accord.server.metrics import Outcome
from accord.server.outcomes import written_answer
from accord.server.problems import render, write_refused
from accord.server.rendering import render_head
from accord.server.services import Services
from accord.server.wishes import (
    Checks,
    Fields,
    Sums,
    check_form,
    read_checks,
    read_source,
    read_wish,
    write_target,
)

HASHED_HERE_BYTES = 16 * 1024
"""A block up to this size is hashed at once: going to a thread would take longer."""

_ERROR_FORMS = (Form.JSON, Form.HTML)


class WriteRoute:
    """Answers exchanges for one server. `now_s` tells the time in seconds since the epoch."""

    def __init__(self, services: Services, *, now_s: Callable[[], float] = time.time) -> None:
        self._writer = services.writer
        self._copier = services.copier
        self._metrics = services.metrics
        self._now_s = now_s

    def __call__(self, exchange: Exchange) -> None:
        exchange.spawn(self._answer(exchange))

    async def _answer(self, exchange: Exchange) -> None:
        """Raises `ConnectionResetError` when the client has gone before it had sent everything."""
        try:
            written = await self._written(exchange)
        except AccordError as error:
            self._metrics.wrote(Outcome.of_error(error))
            self._refuse(exchange, error)
        except ConnectionResetError:
            self._metrics.wrote(Outcome.CUT_OFF)
            raise
        else:
            self._metrics.wrote(Outcome.of_written(written))
            exchange.respond(*written_answer(written, now_s=int(self._now_s())))

    async def _written(self, exchange: Exchange) -> Written:
        body = exchange.body
        assert body is not None, "the protocol gives every write one"
        fields = Fields(exchange.headers)
        path, min_copies = write_target(exchange.target)
        try:
            if exchange.method == b"DELETE":
                wish = read_wish(fields, path, min_copies=min_copies, deed=Deed.DELETE)
                return await self._writer.delete(path, wish)
            check_form(fields, body.announced_bytes)
            wish = read_wish(fields, path, min_copies=min_copies)
            source, checks = read_source(fields), read_checks(fields)
            if source is None:
                _require_content(fields)
                return await self._take(body, path, wish, checks)
            if body.announced_bytes != 0:
                raise UsageError("With Accord-Source there is nothing else to send: the body must be empty.")
            return await self._copier.copy(source.path, source.version, path, wish, moves=source.moves)
        except Refused as refused:
            raise write_refused(refused.refusal, refused.verdict) from refused
        except AccordError as error:
            error.path = error.path or path
            raise

    async def _take(self, body: RequestBody, path: FilePath, wish: Wish, checks: Checks) -> Written:
        writing = await self._writer.begin(path, wish, size=body.announced_bytes, is_here=body.is_complete)
        sums, taken_bytes = Sums(checks), 0
        try:
            while block := await body.read():
                taken_bytes += len(block)
                self._metrics.received(len(block))
                await _write(writing, sums, block)
            if body.announced_bytes not in (None, taken_bytes):
                raise ConnectionResetError("the content is not as long as it was announced to be")
            sums.verify()
        except BaseException:
            await writing.abort()
            raise
        return await writing.finish(digest=checks.digest)

    def _refuse(self, exchange: Exchange, error: AccordError) -> None:
        problem = render(error, form=negotiate(exchange.header(b"accept"), _ERROR_FORMS))
        exchange.respond(render_head(problem.status, problem.fields, now_s=int(self._now_s())), problem.body)


def _require_content(fields: Fields) -> None:
    """A request that announces nothing has the meaning of an empty file, and is mostly a slip that would empty one."""
    if b"content-length" not in fields and b"transfer-encoding" not in fields:
        raise UsageError("The request announces no content. For an empty file say so: Content-Length: 0.")


async def _write(writing: Writing, sums: Sums, block: bytes | memoryview) -> None:
    if not sums or len(block) <= HASHED_HERE_BYTES:
        sums.update(block)
        await writing.write(block)
        return
    hashing = asyncio.ensure_future(asyncio.to_thread(sums.update, block))
    try:
        await writing.write(block)
    finally:
        await hashing
