"""One request about a file: what was asked, its body while it arrives, and the way to answer it on its connection.

`server.files` and `server.writing` answer exchanges; `server.protocol` makes them, decides whose turn it is, and keeps the client's
pace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import ParamSpec, Protocol

import structlog
from uvicorn.protocols.http.flow_control import FlowControl

from accord.errors import AccordError
from accord.server.body import RequestBody
from accord.server.problems import render
from accord.server.rendering import render_head

Headers = list[tuple[bytes, bytes]]
P = ParamSpec("P")

_log = structlog.get_logger("accord.http")


class Connection(Protocol):
    """What an exchange needs of its connection. `url` and `headers` are those of the request that was parsed last."""

    url: bytes
    headers: Headers
    transport: asyncio.Transport
    flow: FlowControl

    def on_response_complete(self) -> None:
        """The next request's turn has come."""
        ...

    def linger(self) -> None:
        """Close it, but not before the client can have read the answer."""
        ...

    def spawn(self, work: Coroutine[object, object, None]) -> None: ...


class FileAnswerer(Protocol):
    """`server.files`, `server.writing`: answers one request by writing to its exchange, at once or from what it spawns there."""

    def __call__(self, exchange: Exchange) -> None: ...


class _Ignored:
    """Stands in for the event by which uvicorn tells a request's application that something came: a read has nothing to wait for."""

    def set(self) -> None: ...


class _Lost(_Ignored):
    """The same for a request with a body. The protocol passes on what arrives; only the loss of the connection is told this way."""

    def __init__(self, body: RequestBody) -> None:
        self._body = body

    def set(self) -> None:
        self._body.lose()


class Exchange:
    """One request about a file and the way to answer it. uvicorn's protocol treats it as one of its request cycles.

    `body` is None for a read: what such a request carries is thrown away.
    """

    __slots__ = (
        "_answerer",
        "_connection",
        "body",
        "disconnected",
        "headers",
        "keep_alive",
        "message_event",
        "method",
        "more_body",
        "on_response",
        "response_complete",
        "started",
        "target",
        "wants_body",
    )

    def __init__(
        self,
        connection: Connection,
        answerer: FileAnswerer,
        method: bytes,
        keep_alive: bool,
        body: RequestBody | None = None,
    ) -> None:
        self._connection = connection
        self._answerer = answerer
        self.method = method
        self.target = connection.url
        self.headers = connection.headers
        self.wants_body = method != b"HEAD"
        self.keep_alive = keep_alive
        self.started = False
        self.response_complete = False
        self.disconnected = False
        self.body = body
        self.more_body = True
        self.message_event = _Ignored() if body is None else _Lost(body)

    def header(self, name: bytes) -> bytes | None:
        """The value of a header, given in lower case; several of one name joined by a comma (RFC 9110, section 5.2)."""
        values = [value for key, value in self.headers if key == name]
        return b", ".join(values) if values else None

    def respond(self, head: bytes, body: bytes = b"") -> None:
        """The whole answer at once. `head` ends with the empty line; see `rendering.render_head`."""
        self.begin(head if not body or not self.wants_body else head + body)
        self.finish()

    def begin(self, head: bytes) -> None:
        """Send the head. Raises `ConnectionResetError` when the client has gone, or sent what made the connection be closed."""
        if self._connection.transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self.started = True
        if self.body is not None and not self.body.can_be_drained():
            self.keep_alive = False
        if not self.keep_alive:
            head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        self._connection.transport.write(head)

    async def write(self, block: bytes) -> None:
        """Send a block, waiting while the client is behind. Raises `ConnectionResetError` when it has gone or stalled."""
        if self.disconnected or self._connection.transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._connection.transport.write(block)
        await self._connection.flow.drain()
        if self.disconnected:
            raise ConnectionResetError("the client has gone")

    def finish(self) -> None:
        self.response_complete = True
        self._let_go()
        if not self.keep_alive:
            if self.body is not None and not self.body.is_complete:
                self._connection.linger()
                return
            self._connection.transport.close()
        self._connection.on_response_complete()

    def abort(self) -> None:
        """Break the answer off so that nobody can take it for complete."""
        self.response_complete = True
        self._let_go()
        self.keep_alive = False
        self._connection.transport.abort()

    def _let_go(self) -> None:
        if self.body is not None:
            self.body.let_go()

    def start(self) -> None:
        """It is this request's turn."""
        self.attempt(self._answerer, self)

    def attempt(self, work: Callable[P, None], *args: P.args, **options: P.kwargs) -> None:
        """Do some of the answering; whatever is raised, the client is answered."""
        try:
            work(*args, **options)
        except Exception as error:  # noqa: BLE001 - the last line of defence
            self._failed(error)

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Do the rest in a task; whatever it raises, the client is answered."""
        self._connection.spawn(self._run(work))

    async def _run(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the last line of defence
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, AccordError | ConnectionResetError):
            _log.error("a read failed" if self.body is None else "a write failed", exc_info=error)
        if self.started or isinstance(error, ConnectionResetError):
            self.abort()
        else:
            known = error if isinstance(error, AccordError) else None
            problem = render(known or AccordError("The server made a mistake. Its log says more."))
            self.respond(render_head(problem.status, problem.fields, now_s=int(time.time())), problem.body)
