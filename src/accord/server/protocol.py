"""One connection: uvicorn's HTTP/1.1 protocol with what a public file server needs besides.

Added to it: limits on the address and the header, deadlines for slow senders and for readers that have stopped, a thin path for
reading and writing files (no ASGI messages, no routing), and the hand-over of connections between servers. Everything else goes
through uvicorn to the ASGI application as ever. What an answer looks like is left to `server.files` and `server.writing`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from accord.errors import AccordError, HeadersTooLarge, RequestTooSlow, UriTooLong, UsageError
from accord.server.body import BodyReader, RequestBody
from accord.server.exchange import Exchange, FileAnswerer
from accord.server.problems import render
from accord.server.rendering import render_head
from accord.server.request_head import announced_bytes, check_head, origin_form, without_upgrade

MAX_TARGET_BYTES = 16 * 1024
"""A path of 4,096 bytes, every one percent-encoded, and a query."""
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
HEAD_DEADLINE_S = 10.0
"""From a connection's or a request's first byte until its header is complete."""
WRITE_STALL_S = 60.0
"""How long a reader may take nothing at all before the connection is given up."""
WRITE_BUFFER_BYTES = 1024 * 1024
LINGER_S = 2.0
"""How long a client that was refused while it still sends has to read the answer."""
MAX_PIPELINED = 64
"""So many requests of one connection wait for their turn; what comes beyond them is not answered, and the connection is closed."""

FILES_PREFIX = b"/files/"
PEER_TARGET = b"/peer/stream"
PEER_PROTOCOL = b"accord-peer"


@dataclass(frozen=True, slots=True)
class Handlers:
    """Whom a connection hands its requests to."""

    files: FileAnswerer
    peer_endpoint: Callable[[], asyncio.Protocol]
    writes: FileAnswerer


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
        self._is_deaf = False
        """Nothing more is answered than what is under way: what came after it made no sense, or was too much."""
        self._stall_watch: asyncio.TimerHandle | None = None
        self._turn: object = None
        """The cycle that is being answered, or was last; uvicorn's `cycle` is the one that was parsed last."""
        self._is_peer = False
        self._head_again = b""
        """The header of a request that the parser took for an upgrade, without that."""

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
        self._unwatch_stall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            if self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete:
                self.transport.close()  # in the middle of a body: whoever waits for the rest learns that none will come
                return
            self._refuse(self._refusal or UsageError("This is not an HTTP/1.1 request."))
            return
        if not self._in_head:
            self._unwatch_head()
        elif self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadersTooLarge(f"The request's header is larger than {MAX_HEAD_BYTES} bytes."))
        elif self._head_bytes and self._head_deadline is None:
            self._watch_head()

    def _feed(self, data: bytes) -> None:
        """Parse. An upgrade that Accord does not know is none (RFC 9110, section 7.8), but the parser takes such a request's content
        for the other protocol: it is given the header anew, without the field that misled it."""
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                head, self._head_again = self._head_again, b""
                data = head + data[upgrade.args[0] :]
                if self._is_peer:
                    self._hand_over(data)
                    return

    def on_response_complete(self) -> None:
        """As uvicorn's, without a timer for every answer: one for the connection looks now and then how long it has been idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            # In a turn of its own: a long pipeline answered at once would be a deep recursion.
            self.loop.call_soon(self._start_next)
        elif self._is_deaf:
            self.transport.close()
        else:
            self._idle_since_s = self.loop.time()
            if not self.flow.write_paused:
                self.flow.resume_reading()

    def pause_writing(self) -> None:
        # Whoever does not take answers is not asked for more requests, and none that wait are begun.
        super().pause_writing()
        self.flow.pause_reading()
        self._watch_stall()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unwatch_stall()
        if self.pipeline:
            self.loop.call_soon(self._start_next)
        elif not self._is_deaf and not self._has_full_body:
            self.flow.resume_reading()

    @property
    def _has_full_body(self) -> bool:
        """Of the request that was parsed last; it goes on reading once somebody has read of it."""
        cycle: object = self.cycle
        return isinstance(cycle, Exchange) and cycle.body is not None and cycle.body.is_full

    @property
    def _is_answering(self) -> bool:
        return self._turn is not None and not self._turn.response_complete  # type: ignore[attr-defined]

    def _start_next(self) -> None:
        if not self.pipeline or self._is_answering or self.flow.write_paused:
            return
        cycle, app = self.pipeline.pop()
        self._turn = cycle
        exchange: object = cycle
        if isinstance(exchange, Exchange):
            exchange.start()
        else:
            self._start_asgi_task(cycle, app)

    def read_past_parser(self, body: RequestBody) -> None:
        self.transport.set_protocol(BodyReader(self, body))

    def parse_on(self) -> None:
        self.transport.set_protocol(self)
        self.parser = httptools.HttpRequestParser(self)
        self.on_message_complete()

    def linger(self) -> None:
        """Close a connection whose client still sends what nobody wants: after the answer, and not before the client can have read
        it. Closed at once, with bytes unread, the connection would be reset, and the answer lost."""
        self._is_deaf = True
        self.transport.set_protocol(self)
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.transport.write_eof()
            self.flow.resume_reading()
            self.loop.call_later(LINGER_S, self.transport.close)

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
        if self._is_deaf or not self._has_room():
            return
        method, version = self.parser.get_method(), self.parser.get_http_version()
        try:
            check_head(version, self.headers)
            if not self.url.startswith(b"/"):
                self.url = origin_form(self.url)
        except UsageError as refusal:
            raise self._stop(refusal) from None
        if self.parser.should_upgrade() and self._should_upgrade():
            self._is_peer = True
        elif self.parser.should_upgrade() and method != b"CONNECT":
            self._head_again = without_upgrade(method, self.url, version, self.headers)
        elif self.url.startswith(FILES_PREFIX) and method in (b"GET", b"HEAD"):
            self._begin_exchange(method, self._handlers.files)
        elif self.url.startswith(FILES_PREFIX) and method in (b"PUT", b"DELETE"):
            body = RequestBody(self, announced_bytes(self.headers), expects_continue=self.expect_100_continue)
            self._begin_exchange(method, self._handlers.writes, body)
        else:
            self._begin_scope()
            waiting = len(self.pipeline)
            super().on_headers_complete()
            if len(self.pipeline) == waiting:
                self._turn = self.cycle

    def on_body(self, body: bytes) -> None:
        cycle: object = self.cycle
        if self._is_deaf:
            return
        if not isinstance(cycle, Exchange):
            super().on_body(body)
        elif cycle.body is not None and not cycle.response_complete:
            cycle.body.take(body)

    def on_message_complete(self) -> None:
        cycle: object = self.cycle
        if self._is_deaf or self._head_again:
            return
        if not isinstance(cycle, Exchange):
            super().on_message_complete()
            return
        cycle.more_body = False
        if cycle.body is not None:
            cycle.body.end()

    def _has_room(self) -> bool:
        """Whether another request may wait for its turn. If not, the connection ends after those that do."""
        if len(self.pipeline) < MAX_PIPELINED:
            return True
        self._end_after_answers()
        return False

    def _begin_scope(self) -> None:
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expect
        self.scope["headers"] = headers

    def _should_upgrade(self) -> bool:
        return self.url == PEER_TARGET and self._get_upgrade() == PEER_PROTOCOL

    def _begin_exchange(self, method: bytes, answerer: FileAnswerer, body: RequestBody | None = None) -> None:
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        exchange = Exchange(self, answerer, method, keep_alive, body)
        self.cycle = exchange  # type: ignore[assignment]
        if not (self._is_answering or self.pipeline or self.flow.write_paused):
            self._turn = exchange
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

    def send_400_response(self, msg: str) -> None:
        self._refuse(UsageError(msg))

    def _stop(self, refusal: AccordError) -> AccordError:
        self._refusal = refusal
        return refusal

    def _refuse(self, refusal: AccordError) -> None:
        """Answer what came last with `refusal`, and nothing after it; what is under way is answered first, and then nothing more."""
        self._unwatch_head()
        if self.transport.is_closing():
            return
        if self._is_answering or self.pipeline:
            self._end_after_answers()
        else:
            problem = render(refusal, fields=[(b"connection", b"close")])
            self.transport.write(render_head(problem.status, problem.fields, now_s=int(time.time())) + problem.body)
            self.transport.close()

    def _end_after_answers(self) -> None:
        self._is_deaf = True
        self.flow.pause_reading()

    def _watch_idle(self) -> None:
        """Close the connection once it has been idle for uvicorn's keep-alive time, give or take as much again."""
        idle_s = self.loop.time() - self._idle_since_s
        is_idle = self._head_deadline is None and not self._is_answering and not self.pipeline
        if is_idle and idle_s >= self.timeout_keep_alive:
            self.timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._watch_idle)

    def _watch_stall(self) -> None:
        waiting_bytes = self.transport.get_write_buffer_size()

        def look() -> None:
            if self.transport.get_write_buffer_size() >= waiting_bytes:
                self.transport.abort()
            else:
                self._watch_stall()

        self._stall_watch = self.loop.call_later(WRITE_STALL_S, look)

    def _unwatch_stall(self) -> None:
        if self._stall_watch is not None:
            self._stall_watch.cancel()
            self._stall_watch = None

    def _watch_head(self) -> None:
        self._head_deadline = self.loop.call_later(HEAD_DEADLINE_S, self._head_overdue)

    def _unwatch_head(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_overdue(self) -> None:
        self._head_deadline = None
        if self._in_head and not self._is_answering:
            self._refuse(RequestTooSlow(f"The request's header did not come within {HEAD_DEADLINE_S:.0f} seconds."))
