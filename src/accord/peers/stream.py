"""The caller's end of one connection to a peer: bytes in, frames out to whoever receives them now.

It begins as HTTP (the answer to an upgrade) and goes on as frames. What is greeted, asked, fetched and uploaded is left to `dial`,
`link`, `transfers` and `uploads`, each of which is the receiver in its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from accord.errors import PeerFailed, PeerRefused, PeerUnreachable
from accord.peers.framing import MAX_GREETING_BYTES, Deframer, framed
from accord.peers.message import Message
from accord.peers.wire import UPGRADE_TOKEN

MAX_HEAD_BYTES = 8192
WRITE_BUFFER_BYTES = 1024 * 1024
"""A stream with more than this unsent is not `writable`."""
GRACE_S = 0.005
"""A timer that fires in a busy process may do so before what came in time is read: look once more."""
_HEAD_END = b"\r\n\r\n"
_SWITCHING = 101
_SERVER_ERRORS = range(500, 600)


class Receiver(Protocol):
    """Called on the event loop, in the order of the stream. Raising a `PeerFailed` ends the stream with that reason."""

    def message(self, payload: bytes) -> None: ...

    def data(self, piece: bytes) -> None: ...

    def lost(self, error: PeerFailed) -> None:
        """The stream has ended; called once, as the last thing."""
        ...


class Stream(asyncio.Protocol):
    """One connection. `first_words` are said as soon as the far end has switched from HTTP. `receiver` may be exchanged between two
    frames; `ended` is set after the transport was let go of. Whoever sends much waits while it is not `writable`; `resumed` is called
    when it is so again."""

    def __init__(self, receiver: Receiver, first_words: bytes = b"") -> None:
        self.receiver = receiver
        self._first_words = first_words
        self.ended = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._head: bytearray | None = bytearray()
        self._deframer = Deframer(MAX_GREETING_BYTES)
        self._error: PeerFailed | None = None
        self._reading = True
        self.writable = True
        self.resumed: Callable[[], None] | None = None

    @property
    def open(self) -> bool:
        return self._transport is not None and self._error is None

    def allow(self, limit_bytes: int) -> None:
        """From now on frames may be that large."""
        self._deframer.limit_bytes = limit_bytes

    @property
    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def write(self, raw: bytes) -> None:
        """Never waits. How much is sent is bounded by whoever sends: questions are small, and content looks at `writable`."""
        if self._transport is not None and self._error is None:
            self._transport.write(raw)

    def write_all(self, parts: Sequence[bytes | memoryview]) -> None:
        """Like `write`, together."""
        if self._transport is not None and self._error is None:
            self._transport.writelines(parts)

    def send(self, message: Message) -> None:
        self.write(framed(message))

    def hold(self, reading: bool) -> None:
        """Stop reading, or go on: the flow control towards the peer."""
        if self.open and reading is not self._reading:
            self._reading = reading
            transport = cast(asyncio.Transport, self._transport)
            transport.resume_reading() if reading else transport.pause_reading()

    def end(self, error: PeerFailed) -> None:
        """Drop the connection. The receiver is told at once."""
        if self._error is not None:
            return
        self._error = error
        if self._transport is not None:
            self._transport.abort()
        self.receiver.lost(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        if self._error is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(PeerUnreachable("connection lost"))
        self._transport = None
        self.ended.set()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self.resumed is not None:
            self.resumed()

    def data_received(self, data: bytes) -> None:
        if self._error is not None:
            return
        try:
            if self._head is not None:
                data = self._read_head(data)
            for is_data, payload in self._deframer.feed(data):
                if is_data:
                    self.receiver.data(payload)
                else:
                    self.receiver.message(payload)
                if not self.open:
                    return
        except PeerFailed as error:
            self.end(error)

    def _read_head(self, data: bytes) -> bytes:
        """Take in the answer to the upgrade; returns what came after it. Raises `PeerRefused` for any other answer."""
        assert self._head is not None
        self._head += data
        head, found, rest = bytes(self._head).partition(_HEAD_END)
        if not head.startswith(b"HTTP/1."[: len(head)]) or (not found and len(head) > MAX_HEAD_BYTES):
            raise PeerRefused("answers, but is no Accord server")
        if not found:
            return b""
        self._head = None
        _check_head(head.decode("latin-1"))
        self.write(self._first_words)
        return rest


def _check_head(head: str) -> None:
    status_line, *fields = head.split("\r\n")
    status = status_line.split(" ")[1] if " " in status_line else ""
    code = int(status) if len(status) == 3 and status.isascii() and status.isdigit() else 0
    if code in _SERVER_ERRORS:
        raise PeerUnreachable(f"answers HTTP {code}")
    if code != _SWITCHING:
        raise PeerRefused(f"answers, but is no Accord server (HTTP {code or 'of no kind'})")
    upgrades = [
        value.strip() for name, _, value in (line.partition(":") for line in fields) if name.lower() == "upgrade"
    ]
    if upgrades != [UPGRADE_TOKEN]:
        raise PeerRefused("answers, but is no Accord server (it switched to another protocol)")
