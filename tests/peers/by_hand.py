"""A caller that greets as it should and then sends whatever frames a test likes; and a peer that answers like that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from accord.model.names import ServerName
from accord.peers import handshake
from accord.peers.framing import MAX_FRAME_BYTES, Deframer, framed
from accord.peers.handshake import Role
from accord.peers.message import Message
from accord.peers.wire import (
    PROTOCOL_VERSION,
    Challenge,
    Hello,
    Proof,
    Welcome,
    decode,
    encode,
    greetings,
    replies,
    requests,
)
from tests.peers.loopback import KEY, ME, OTHER

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: accord-peer\r\n\r\n"
UPGRADE = b"GET /peer/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: accord-peer\r\n\r\n"


class Frames:
    """One end of a connection, in frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._deframer = Deframer(MAX_FRAME_BYTES)
        self._received: list[tuple[bool, bytes]] = []

    def say(self, *messages: Message) -> None:
        self.writer.write(b"".join(map(framed, messages)))

    async def next(self) -> tuple[bool, bytes]:
        """(is it data, payload or piece). Raises `ConnectionResetError` at the end."""
        while not self._received:
            raw = await self._reader.read(65536)
            if not raw:
                raise ConnectionResetError
            self._received += self._deframer.feed(raw)
        return self._received.pop(0)

    async def reply(self) -> object:
        """The next message, or None at the end."""
        try:
            return decode(replies, (await self.next())[1])
        except ConnectionError:
            return None

    async def request(self) -> object:
        """The next message, content passed over."""
        while True:
            is_data, payload = await self.next()
            if not is_data:
                return decode(requests, payload)


@asynccontextmanager
async def calling(port: int, name: ServerName = ME) -> AsyncIterator[Frames]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    frames = Frames(reader, writer)
    hello = Hello(PROTOCOL_VERSION, "home", str(name), str(OTHER), b"n" * 32)
    frames.say(hello)
    _, challenge = await frames.next()
    frames.say(Proof(handshake.proof(KEY, Role.CALLER, encode(hello), challenge)))
    assert isinstance(decode(greetings, (await frames.next())[1]), Welcome)
    try:
        yield frames
    finally:
        writer.transport.abort()


Doing = Callable[[Frames], Awaitable[None]]


def answering(doing: Doing) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A behaviour (see `loopback.behaving`): greets, and then does as it is told."""

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH)
        frames = Frames(reader, writer)
        _, hello = await frames.next()
        challenge = Challenge(PROTOCOL_VERSION, b"c" * 32)
        frames.say(challenge)
        assert isinstance(decode(greetings, (await frames.next())[1]), Proof)
        frames.say(Welcome(handshake.proof(KEY, Role.CALLEE, hello, encode(challenge))))
        await doing(frames)

    return behaviour
