"""Long content from another server: read from the socket straight into blocks, in place of the connection's own protocol.

`server.peer_endpoint` puts a `ContentIntake` in its place when a long content is announced, and comes back when the change is over.
Frames are cut by the endpoint's own deframer all the time, so nothing is lost between the two.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from accord.peers.framing import Deframer
from accord.peers.inbox import MAX_BUFFERED_BYTES, Arrival
from accord.server.blocks import Blocks
from accord.server.stand_in import StandIn

SCRATCH_BYTES = 64 * 1024
"""For what is not content: headers of frames, and messages, piece by piece."""


class ChangeInbox(Protocol):
    """What comes for one change: `peers.inbox.Inbox`, or a `LongInbox`."""

    @property
    def is_empty(self) -> bool: ...

    def message(self, payload: bytes) -> None: ...

    def data(self, piece: bytes) -> None: ...

    async def next(self, patience_s: float) -> tuple[bool, bytes | memoryview]: ...


class LongInbox:
    """As `peers.inbox.Inbox`, but content comes out of it in whole blocks, however it arrived; the last one of a content may be
    shorter. A block stays as it is until the second one after it is taken."""

    def __init__(self, hold: Callable[[bool], None]) -> None:
        self._hold = hold
        self._blocks = Blocks()
        self._items: deque[bytes | None] = deque()
        """Messages; None stands for a block."""
        self._queued_blocks = 0
        self._message_bytes = 0
        self._arrival = Arrival(self._items)

    @property
    def is_empty(self) -> bool:
        return not self._items

    def message(self, payload: bytes) -> None:
        self._blocks.cut()
        self._queue_blocks()
        self._items.append(payload)
        self._message_bytes += len(payload)
        self._regulate()
        self._arrival.tell()

    def data(self, piece: bytes) -> None:
        """Content that was read together with what announced it: less than there is room for at the beginning."""
        rest = self._blocks.put(memoryview(piece))
        assert not rest, "nothing is read where there is no room"
        self._queue_blocks()

    def room(self) -> memoryview:
        """Where the next bytes of content belong."""
        room = self._blocks.room()
        assert room is not None, "nothing is read where there is no room"
        return room

    def filled(self, count: int) -> None:
        """So many of them are there."""
        if self._blocks.filled(count):
            self._queue_blocks()

    def close(self) -> None:
        """Let go of the blocks. An event loop may hold on to a protocol that was replaced, and so to all that it knows."""
        self._blocks = Blocks()

    async def next(self, patience_s: float) -> tuple[bool, bytes | memoryview]:
        """(is it content, block or message). Raises as `Inbox.next`."""
        await self._arrival.wait(patience_s)
        message = self._items.popleft()
        taken: tuple[bool, bytes | memoryview]
        if message is None:
            self._queued_blocks -= 1
            taken = True, self._blocks.take()
        else:
            self._message_bytes -= len(message)
            taken = False, message
        self._regulate()
        return taken

    def _queue_blocks(self) -> None:
        while self._queued_blocks < self._blocks.count:
            self._items.append(None)
            self._queued_blocks += 1
        self._regulate()
        self._arrival.tell()

    def _regulate(self) -> None:
        self._hold(self._message_bytes <= MAX_BUFFERED_BYTES and self._blocks.room() is not None)


class ContentIntake(StandIn):
    """Puts content into the inbox; the rest of what arrives is fed to `home`, whose deframer tells which is which."""

    def __init__(self, home: asyncio.Protocol, deframer: Deframer, inbox: LongInbox) -> None:
        super().__init__(home)
        self._deframer = deframer
        self._inbox = inbox
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._is_content = False

    def get_buffer(self, sizehint: int) -> memoryview:
        self._is_content, length = self._deframer.expected()
        room = self._inbox.room() if self._is_content else self._scratch
        return room[:length]

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_content:
            self._deframer.passed(nbytes)
            self._inbox.filled(nbytes)
        else:
            self._home.data_received(bytes(self._scratch[:nbytes]))
