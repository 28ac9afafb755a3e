"""One connection of another server: the handshake, and then whatever is asked on it.

`server.protocol` hands a connection over once its HTTP header asked for the upgrade. Until the caller has proven to know the cluster
key it may send a few small frames within a time limit (what is said meanwhile is `peer_handshake`'s). What is answered is left to
`peer_checks`, `peer_calls`, `peer_transfers` and `peer_changes`; what all connections share, to `peer_service`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from enum import Enum
from typing import TYPE_CHECKING, cast

import structlog

from accord.errors import PeerFailed, PeerUnreachable
from accord.model.names import ServerName
from accord.peers import handshake
from accord.peers.call_messages import Compare, Order, Report
from accord.peers.framing import MAX_FRAME_BYTES, MAX_GREETING_BYTES, Deframer, framed
from accord.peers.handshake import Reason
from accord.peers.inbox import Inbox
from accord.peers.message import Message
from accord.peers.wire import (
    UPGRADE_TOKEN,
    Adopt,
    Check,
    Doubt,
    Failed,
    Failure,
    Ping,
    Pong,
    Put,
    PutEnd,
    Suggest,
    Transfer,
    Update,
    decode,
    requests,
)
from accord.server.peer_calls import Calls
from accord.server.peer_changes import Conversation, discard, update
from accord.server.peer_checks import Checks, path_of
from accord.server.peer_handshake import Greeting
from accord.server.peer_intake import ChangeInbox, ContentIntake, LongInbox
from accord.server.peer_transfers import send_transfer
from accord.store.port import BLOCK_BYTES

if TYPE_CHECKING:
    from accord.server.peer_service import PeerService

IDLE_LIMIT_S = 60.0
STALL_LIMIT_S = 600.0
"""So long an asker may take nothing of a transfer: its own client may be slow."""
WRITE_BUFFER_BYTES = 2 * 1024 * 1024

_SWITCH = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {UPGRADE_TOKEN}\r\n\r\n".encode()

_log = structlog.get_logger("accord.peers")


class _Phase(Enum):
    GREETING = "greeting"
    """The handshake is not over."""
    READY = "ready"
    """Both have proven themselves; requests are answered."""
    ENDED = "ended"
    """Nothing is listened to any more."""


class PeerEndpoint(asyncio.Protocol):
    """One connection of another server. `connection_made` answers the upgrade."""

    def __init__(self, service: PeerService) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._phase = _Phase.GREETING
        self._deframer = Deframer(MAX_GREETING_BYTES)
        self._greeting = Greeting(service.me, service.known, service.random_bytes)
        self._tasks: set[asyncio.Task[None]] = set()
        self._transferring = False
        self._inbox: ChangeInbox | None = None
        """Takes everything that comes, during a change."""
        self._is_full = False
        self._reading = True
        self._writable = asyncio.Event()
        self._writable.set()
        self._heard = False
        self._checks = Checks(service.store, self.send, self._spawn, max_wait_s=service.hash_wait_s)
        self._calls = Calls(service.requests, self.send, self.drain, self._spawn)
        self.ended = asyncio.Event()

    # --- the connection ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._service.unproven.add(self)
        self._timer = self._loop.call_later(self._service.greeting_limit_s, self._greeting_overdue)
        self._transport.write(_SWITCH)
        if self._service.is_busy:
            self._refuse(Reason.BUSY)

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = _Phase.ENDED
        self._timer.cancel()
        self._writable.set()
        for task in self._tasks:
            task.cancel()
        self._service.unproven.discard(self)
        self._service.proven.discard(self)
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            for is_data, payload in self._deframer.feed(data):
                if self._inbox is not None:
                    self._inbox.data(payload) if is_data else self._inbox.message(payload)
                elif is_data:
                    raise PeerUnreachable("sent content that nobody asked for")
                else:
                    self._take(payload)
                if self._phase is _Phase.ENDED:
                    return
        except PeerFailed as error:
            self._broken(error)

    def pause_writing(self) -> None:
        # Whoever does not take answers gets no more questions read. A lost connection shows when it is written to.
        self._writable.clear()
        self._regulate()

    def resume_writing(self) -> None:
        self._writable.set()
        self._regulate()

    def _hold(self, reading: bool) -> None:
        """Whether the inbox has room."""
        self._is_full = not reading
        self._regulate()

    def _regulate(self) -> None:
        reading = self._writable.is_set() and not self._is_full
        if reading is not self._reading and self._phase is not _Phase.ENDED:
            self._reading = reading
            self._transport.resume_reading() if reading else self._transport.pause_reading()

    def abort(self) -> None:
        self._phase = _Phase.ENDED
        self._transport.abort()

    # --- the handshake ---

    def _take(self, payload: bytes) -> None:
        match self._phase:
            case _Phase.READY:
                self._answer(payload)
            case _Phase.GREETING:
                self._greet(payload)
            case _Phase.ENDED:
                ...

    def _greet(self, payload: bytes) -> None:
        said = self._greeting.hear(payload)
        if isinstance(said, Reason):
            self._refuse(said)
            return
        if self._greeting.caller is not None:
            self._service.unproven.discard(self)
            self._service.proven.add(self)
            self._deframer.limit_bytes = MAX_FRAME_BYTES
            self._phase = _Phase.READY
            self._timer.cancel()
            self._timer = self._loop.call_later(IDLE_LIMIT_S, self._look_for_life)
        self.send(said)

    def _refuse(self, reason: Reason) -> None:
        _log.warning("peer connection refused", reason=reason.value, address=self._transport.get_extra_info("peername"))
        self.send(handshake.refusal(self._service.me, reason))
        self._phase = _Phase.ENDED
        self._transport.close()

    def _broken(self, error: PeerFailed) -> None:
        if self._phase is not _Phase.READY:
            self._refuse(Reason.GREETING)
            return
        _log.warning("peer connection broken off", peer=self._greeting.caller, reason=error.detail)
        self.abort()

    def _greeting_overdue(self) -> None:
        if self._phase is _Phase.ENDED:
            self._transport.abort()
        else:
            self._refuse(Reason.GREETING)
            self._timer = self._loop.call_later(self._service.greeting_limit_s, self._transport.abort)

    def _look_for_life(self) -> None:
        if not self._heard and not self._transferring:
            self.abort()
            return
        self._heard = False
        self._timer = self._loop.call_later(IDLE_LIMIT_S, self._look_for_life)

    # --- requests ---

    def _answer(self, payload: bytes) -> None:
        match decode(requests, payload):
            case Check() as check:
                self._checks.take(check)
            case Ping(id):
                self.send(Pong(id))
            case (Compare() | Report() | Order()) as call:
                self._calls.take(call, cast(ServerName, self._greeting.caller))
            case Suggest(path):
                self._service.suggested(path_of(path))
            case Doubt(path):
                self._service.doubts.take(path_of(path))
            case PutEnd():
                raise PeerUnreachable("said 'PutEnd' where it means nothing")
            case request:
                self._begin(request)

    def _begin(self, request: Transfer | Put | Adopt) -> None:
        """What has the connection to itself until it ends."""
        if self._transferring:
            raise PeerUnreachable("asked for a second transfer during the first")
        stopping = self._service.is_finishing
        if stopping:
            self.send(Failed(Failure.STOPPING.value, "is stopping"))
        if isinstance(request, Put | Adopt):
            self._inbox = inbox = self._inbox_for(request)
            self._transferring = True
            self._spawn(self._conducted(self._changed(inbox, None if stopping else request)))
        elif not stopping:
            self._transferring = True
            self._spawn(self._conducted(self._transfer(request)))

    def _inbox_for(self, request: Put | Adopt) -> ChangeInbox:
        if isinstance(request, Adopt) or request.size is None or request.size < BLOCK_BYTES:
            return Inbox(self._hold)
        inbox = LongInbox(self._hold)
        self._transport.set_protocol(ContentIntake(self, self._deframer, inbox))
        return inbox

    async def _conducted(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except PeerFailed as error:
            self._broken(error)
        except ConnectionResetError:
            self.abort()
        finally:
            self._transferring = False
            if isinstance(self._inbox, LongInbox):
                self._inbox.close()
                self._transport.set_protocol(self)
            self._inbox = None
            self._hold(reading=True)

    async def _transfer(self, request: Transfer) -> None:
        service = self._service
        with service.transferring():
            if isinstance(request, Update):
                await update(service.receiving, self, request)
            else:
                await send_transfer(self, service.store, request, hash_wait_s=service.hash_wait_s)

    async def _changed(self, inbox: ChangeInbox, request: Put | Adopt | None) -> None:
        """Take over a change that begins with `request`; None: it was refused already."""
        if request is not None:
            sender = cast(ServerName, self._greeting.caller)
            with self._service.transferring():
                if await Conversation(self._service.receiving, self, inbox, sender).conduct(request):
                    return
        await discard(inbox)

    def send(self, message: Message) -> None:
        if self._phase is not _Phase.ENDED:
            self._transport.write(framed(message))

    def write(self, header: bytes, block: bytes) -> None:
        if self._phase is not _Phase.ENDED:
            self._transport.writelines((header, block))

    async def drain(self) -> None:
        """Wait while the asker is behind; one turn of the event loop in any case. Raises `ConnectionResetError`."""
        if self._writable.is_set():
            await asyncio.sleep(0)
        while not self._writable.is_set():
            before = self._transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(STALL_LIMIT_S):
                    await self._writable.wait()
            except TimeoutError:
                if self._transport.get_write_buffer_size() >= before:
                    raise ConnectionResetError("the asker has stopped reading") from None
        if self._phase is _Phase.ENDED:
            raise ConnectionResetError("the asker has gone")

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("answering a peer failed", exc_info=error)
            self.abort()
