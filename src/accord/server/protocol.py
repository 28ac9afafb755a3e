"""One connection: uvicorn's HTTP/1.1 protocol with what a public file server needs besides.

Added to it: limits on the address and the header, deadlines for slow senders and for readers that have stopped, a thin path for
reading files (no ASGI messages, no routing), and the hand-over of connections between servers. Everything else goes through uvicorn
to the ASGI application as ever. What a file answer looks like is left to `server.files`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from accord.errors import AccordError, HeadersTooLarge, RequestTooSlow, UriTooLong, UsageError
from accord.server.problems import render
from accord.server.rendering import render_head

MAX_TARGET_BYTES = 16 * 1024
"""A path of 4,096 bytes, every one percent-encoded, and a query."""
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
HEAD_DEADLINE_S = 10.0
"""From a connection's or a request's first byte until its header is complete."""
WRITE_STALL_S = 60.0
"""How long a reader may take nothing at all before the connection is given up."""
WRITE_BUFFER_BYTES = 1024 * 1024

FILES_PREFIX = b"/files/"
PEER_TARGET = b"/peer/stream"
PEER_PROTOCOL = b"accord-peer"

_log = structlog.get_logger("accord.http")

Headers = list[tuple[bytes, bytes]]
P = ParamSpec("P")


class FileAnswerer(Protocol):
    """`server.files`: answers one request by writing to its exchange, at once or from what it spawns there."""

    def __call__(self, exchange: Exchange) -> None: ...


@dataclass(frozen=True, slots=True)
class Handlers:
    """Whom a connection hands its requests to."""

    files: FileAnswerer
    peer_endpoint: Callable[[], asyncio.Protocol]


class _Ignored:
    """Stands in for the event by which uvicorn tells a request's application that something came: a read has nothing to wait for."""

    def set(self) -> None: ...


class Exchange:
    """One GET or HEAD of a file and the way to answer it. uvicorn's protocol treats it as one of its request cycles."""

    __slots__ = (
        "_handlers",
        "_protocol",
        "body",
        "disconnected",
        "headers",
        "keep_alive",
        "message_event",
        "more_body",
        "on_response",
        "response_complete",
        "started",
        "target",
        "wants_body",
    )

    def __init__(self, protocol: AccordProtocol, handlers: Handlers, method: bytes, keep_alive: bool) -> None:
        self._protocol = protocol
        self._handlers = handlers
        self.target: bytes = protocol.url
        self.headers: Headers = protocol.headers
        self.wants_body = method == b"GET"
        self.keep_alive = keep_alive
        self.started = False
        self.response_complete = False
        self.disconnected = False
        self.body = bytearray()
        self.more_body = True
        self.message_event = _Ignored()

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
        if self._protocol.transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self.started = True
        if not self.keep_alive:
            head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        self._protocol.transport.write(head)

    async def write(self, block: bytes) -> None:
        """Send a block, waiting while the client is behind. Raises `ConnectionResetError` when it has gone or stalled."""
        if self.disconnected or self._protocol.transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._protocol.transport.write(block)
        if self._protocol.flow.write_paused:
            await self._protocol.drained()
        if self.disconnected:
            raise ConnectionResetError("the client has gone")

    def finish(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self._protocol.transport.close()
        self._protocol.on_response_complete()

    def abort(self) -> None:
        """Break the answer off so that nobody can take it for complete."""
        self.response_complete = True
        self.keep_alive = False
        self._protocol.transport.abort()

    def start(self) -> None:
        """It is this request's turn."""
        self.attempt(self._handlers.files, self)

    def attempt(self, work: Callable[P, None], *args: P.args, **options: P.kwargs) -> None:
        """Do some of the answering; whatever is raised, the client is answered."""
        try:
            work(*args, **options)
        except Exception as error:  # noqa: BLE001 - the last line of defence
            self._failed(error)

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Do the rest in a task; whatever it raises, the client is answered."""
        self._protocol.spawn(self._run(work))

    async def _run(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the last line of defence
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, AccordError | ConnectionResetError):
            _log.error("a read failed", exc_info=error)
        if self.started or isinstance(error, ConnectionResetError):
            self.abort()
        else:
            known = error if isinstance(error, AccordError) else None
            problem = render(known or AccordError("The server made a mistake. Its log says more."))
            self.respond(render_head(problem.status, problem.fields, now_s=int(time.time())), problem.body)


class AccordProtocol(HttpToolsProtocol):
    """See the module. `handlers` comes first so that `functools.partial` can bind it for uvicorn."""

    def __init__(
        self,
        handlers: Handlers,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._handlers = handlers
        self._in_head = True
        self._head_bytes = 0
        """Received since the header began, as far as it is not complete; what came with its first byte is not counted."""
        self._field_bytes = 0
        self._head_deadline: asyncio.TimerHandle | None = None
        self._idle_since_s = 0.0
        self._refusal: AccordError | None = None
        self._is_peer = False

    # --- the connection ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._idle_since_s = self.loop.time()
        self._watch_idle()
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch_head()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._is_peer:
                self._hand_over(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(self._refusal or UsageError("This is not an HTTP/1.1 request."))
            return
        if not self._in_head:
            self._unwatch_head()
        elif self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadersTooLarge(f"The request's header is larger than {MAX_HEAD_BYTES} bytes."))
        elif self._head_bytes and self._head_deadline is None:
            self._watch_head()

    def on_response_complete(self) -> None:
        """As uvicorn's, without a timer for every answer: one for the connection looks now and then how long it has been idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            # In a turn of its own: a long pipeline answered at once would be a deep recursion.
            self.loop.call_soon(self._start_next)
        else:
            self._idle_since_s = self.loop.time()

    def _start_next(self) -> None:
        cycle, app = self.pipeline.pop()
        exchange: object = cycle
        if isinstance(exchange, Exchange):
            exchange.start()
        else:
            self._start_asgi_task(cycle, app)

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """In a task that uvicorn knows of, and waits for when it stops."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        # uvicorn's scope is made only for what goes to the ASGI application: see `on_headers_complete`.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head = True
        self._head_bytes = 0
        self._field_bytes = 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > MAX_TARGET_BYTES:
            raise self._stop(UriTooLong(f"The address is longer than {MAX_TARGET_BYTES} bytes."))

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        self._field_bytes += len(name) + len(value)
        if len(self.headers) > MAX_HEADERS:
            raise self._stop(HeadersTooLarge(f"The request has more than {MAX_HEADERS} header fields."))
        if self._field_bytes > MAX_HEAD_BYTES:
            raise self._stop(HeadersTooLarge(f"The request's header is larger than {MAX_HEAD_BYTES} bytes."))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if not self.url.startswith(b"/"):
            self._take_absolute_target()
        method = self.parser.get_method()
        if self.parser.should_upgrade() and self._should_upgrade():
            self._is_peer = True
        elif self.url.startswith(FILES_PREFIX) and method in (b"GET", b"HEAD"):
            self._begin_exchange(method)
        else:
            self._begin_scope()
            super().on_headers_complete()

    def _begin_scope(self) -> None:
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expect
        self.scope["headers"] = headers

    def _should_upgrade(self) -> bool:
        return self.url == PEER_TARGET and self._get_upgrade() == PEER_PROTOCOL

    def _take_absolute_target(self) -> None:
        """`GET http://host/files/x` is asked for like `GET /files/x` (RFC 9112, section 3.2.2)."""
        try:
            url = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            raise self._stop(UsageError("The address cannot be read.")) from None
        self.url = (url.path or b"/") + (b"?" + url.query if url.query else b"")

    def _begin_exchange(self, method: bytes) -> None:
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        existing = self.cycle
        exchange = Exchange(self, self._handlers, method, keep_alive)
        self.cycle = exchange  # type: ignore[assignment]
        if existing is None or existing.response_complete:
            exchange.start()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]

    # --- between servers ---

    def _hand_over(self, rest: bytes) -> None:
        """From here on the connection is the peers': see `server.peer_endpoint`."""
        self._unwatch_head()
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        endpoint = self._handlers.peer_endpoint()
        self.transport.set_protocol(endpoint)
        endpoint.connection_made(self.transport)
        if rest:
            endpoint.data_received(rest)

    # --- limits and deadlines ---

    async def drained(self) -> None:
        """Wait for the client to take what was written. Raises `ConnectionResetError` when it takes nothing at all."""
        while self.flow.write_paused:
            before = self.transport.get_write_buffer_size()
            try:
                await asyncio.wait_for(self.flow.drain(), WRITE_STALL_S)
            except TimeoutError:
                if self.transport.get_write_buffer_size() >= before:
                    raise ConnectionResetError("the client has stopped reading") from None

    def send_400_response(self, msg: str) -> None:
        self._refuse(UsageError(msg))

    def _unsupported_upgrade_warning(self) -> None:
        """An upgrade that Accord does not know is answered as if it had not been asked for (RFC 9110, section 7.8)."""

    def _stop(self, refusal: AccordError) -> AccordError:
        self._refusal = refusal
        return refusal

    def _refuse(self, refusal: AccordError) -> None:
        self._unwatch_head()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            problem = render(refusal, fields=[(b"connection", b"close")])
            self.transport.write(render_head(problem.status, problem.fields, now_s=int(time.time())) + problem.body)
        self.transport.close()

    def _watch_idle(self) -> None:
        """Close the connection once it has been idle for uvicorn's keep-alive time, give or take as much again."""
        idle_s = self.loop.time() - self._idle_since_s
        is_idle = self._head_deadline is None and (self.cycle is None or self.cycle.response_complete)
        if is_idle and idle_s >= self.timeout_keep_alive:
            self.timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._watch_idle)

    def _watch_head(self) -> None:
        self._head_deadline = self.loop.call_later(HEAD_DEADLINE_S, self._head_overdue)

    def _unwatch_head(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_overdue(self) -> None:
        self._head_deadline = None
        if self._in_head and (self.cycle is None or self.cycle.response_complete):
            self._refuse(RequestTooSlow(f"The request's header did not come within {HEAD_DEADLINE_S:.0f} seconds."))
