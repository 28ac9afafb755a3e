"""Peers that answer garbage, half an answer, slowly, or never."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from accord.errors import PeerUnreachable
from accord.model.names import FilePath, Prefix
from accord.model.verdict import Unreachable
from accord.peers import handshake
from accord.peers.framing import Deframer, data_header, framed
from accord.peers.handshake import Role
from accord.peers.port import PeerState
from accord.peers.wire import (
    PROTOCOL_VERSION,
    Answers,
    Challenge,
    End,
    Page,
    Pong,
    Proof,
    Welcome,
    decode,
    encode,
    greetings,
)
from tests.peers.loopback import KEY, OTHER, behaving, digest_of, linked, settled

HELLO = FilePath("hello.txt")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: accord-peer\r\n\r\n"


async def drained(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


def saying(raw: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await drained(reader)

    return behaviour


def welcoming(
    then: bytes, *, once: bool = False
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A peer with the key that greets as it should and says `then` when it is asked; `once` means that it is gone when asked again."""

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH)
        messages: list[bytes] = []
        deframer = Deframer(1 << 20)

        async def heard() -> bytes:
            while not messages:
                raw = await reader.read(65536)
                if not raw:
                    raise ConnectionResetError
                messages.extend(payload for _, payload in deframer.feed(raw))
            return messages.pop(0)

        hello, challenge = await heard(), Challenge(PROTOCOL_VERSION, b"c" * 32)
        writer.write(framed(challenge))
        assert isinstance(decode(greetings, await heard()), Proof)
        writer.write(framed(Welcome(handshake.proof(KEY, Role.CALLEE, hello, encode(challenge)))))
        await heard()
        writer.write(then)
        if once:
            await heard()
        else:
            await drained(reader)

    return behaviour


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answers, but is no Accord server (HTTP 404)"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "answers, but is no Accord server (HTTP 200)"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "it switched to another protocol"),
        (b"HTTP/1.1 \xff\xfe\r\n\r\n", "answers, but is no Accord server"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "answers, but is no Accord server"),
        (b"\x16\x03\x01" * 50, "answers, but is no Accord server"),
        (b"HTTP/1.1 101" + b"x" * 10_000, "answers, but is no Accord server"),
        (SWITCH + b"\x00\x00\x00\x05\x00hello", "answers, but is no Accord server"),
        (SWITCH + framed(Pong(1)), "answers, but is no Accord server"),
        (SWITCH + data_header(4) + b"data", "answers, but is no Accord server"),
        (SWITCH + framed(Challenge(1, b"c" * 32)), f"speaks protocol 1, this server speaks {PROTOCOL_VERSION}"),
        (
            SWITCH + framed(Challenge(PROTOCOL_VERSION, b"c" * 32)) + framed(Welcome(b"m" * 32)),
            "has another cluster key",
        ),
    ],
)
async def test_whoever_is_no_peer_is_refused_with_a_reason(said: bytes, reason: str) -> None:
    async with behaving(saying(said)) as port, linked(port) as peers:
        status = await settled(peers, PeerState.REFUSED)
        assert status.reason is not None
        assert reason in status.reason
        answer = (await peers.ask(HELLO))[OTHER]
        assert answer == Unreachable(status.reason)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "did not answer the greeting within 0.2 s"),
        (b"HTTP/1.1 101", "did not answer the greeting within 0.2 s"),
        (SWITCH, "did not answer the greeting within 0.2 s"),
        (SWITCH + framed(Challenge(PROTOCOL_VERSION, b"c" * 32))[:20], "did not answer the greeting within 0.2 s"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "answers HTTP 503"),
        (SWITCH + b"\xff" * 20, "sent something that is not the peer protocol"),
    ],
)
async def test_whoever_does_not_finish_the_greeting_is_down(said: bytes, reason: str) -> None:
    async with behaving(saying(said)) as port, linked(port, peer_timeout_s=0.2) as peers:
        status = await settled(peers, PeerState.DOWN)
        assert status.reason is not None
        assert reason in status.reason


async def test_a_greeting_that_drips_costs_the_time_limit() -> None:
    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in SWITCH:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)

    async with behaving(dripping) as port, linked(port, peer_timeout_s=0.2) as peers:
        begun = time.monotonic()
        assert isinstance((await peers.ask(HELLO))[OTHER], Unreachable)
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (framed(Answers([1], [b"x"]))[:-1], "did not answer within 0.3 s"),
        (framed(Answers([2**40], [b"x"])), "did not answer within 0.3 s"),
        (framed(Answers([1, 2], [b"x"])), "sent something that was not asked for"),
        (framed(Page([], [])), "sent something that was not asked for"),
        (data_header(3) + b"abc", "sent something that was not asked for"),
        (b"\x7f\xff\xff\xff\x00", "sent a frame of 2147483647 bytes; at most 8388608 are allowed"),
        (b"\x00\x00\x00\x03\x00abc", "sent something that is not the peer protocol"),
        (framed(Answers([1], [b"\xc1\xc1"])), "sent something that is not the peer protocol"),
    ],
)
async def test_an_answer_that_is_none_is_unreachable(said: bytes, reason: str) -> None:
    async with behaving(welcoming(said)) as port, linked(port, peer_timeout_s=0.3) as peers:
        answer = (await peers.ask(HELLO))[OTHER]
        assert isinstance(answer, Unreachable)
        assert reason in answer.reason


async def test_a_peer_killed_in_the_middle_of_an_answer() -> None:
    behaviour = welcoming(framed(Answers([1], [b"x" * 100]))[:40])

    async def killed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asyncio.get_running_loop().call_later(0.1, writer.transport.abort)
        await behaviour(reader, writer)

    async with behaving(killed) as port, linked(port, peer_timeout_s=30) as peers:
        assert (await peers.ask(HELLO))[OTHER] == Unreachable("connection lost")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "sent nothing for 0.3 s"),
        (data_header(100) + b"half of it", "sent nothing for 0.3 s"),
        (data_header(9_000_000), "sent a frame of 9000000 bytes"),
        (framed(Page([], [])), "not asked for"),
        (framed(Answers([], [])), "not asked for"),
        (b"\x00\x00\x00\x03\x00abc", "not the peer protocol"),
    ],
)
async def test_a_transfer_that_is_none_is_unreachable(said: bytes, reason: str) -> None:
    async with behaving(welcoming(said)) as port, linked(port, peer_timeout_s=0.3) as peers:
        with pytest.raises(PeerUnreachable, match=reason):
            async for _ in peers.fetch(OTHER, HELLO, digest_of(b"x")):
                pass


async def test_a_kept_connection_that_breaks_when_it_is_used_again_is_replaced() -> None:
    """The peer may have closed it at the very moment; a new one tells whether the peer is there."""
    calls = 0

    async def forgetful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await welcoming(framed(End()), once=True)(reader, writer)

    async with behaving(forgetful) as port, linked(port, ping_every_s=60) as peers:
        await settled(peers, PeerState.UP)
        for expected_calls in (2, 3):
            assert [block async for block in peers.fetch(OTHER, HELLO, digest_of(b""))] == []
            assert calls == expected_calls


async def test_more_bytes_than_asked_for_are_refused() -> None:
    async with behaving(welcoming(data_header(11) + b"x" * 11)) as port, linked(port) as peers:
        with pytest.raises(PeerUnreachable, match="not asked for"):
            async for _ in peers.fetch(OTHER, HELLO, digest_of(b"x"), start=10, stop=20):
                pass


@pytest.mark.parametrize("paths", [["b", "a"], ["a", "a"], ["elsewhere"], ["../a"], ["a\n"]])
async def test_a_listing_out_of_order_or_place_is_refused(paths: list[str]) -> None:
    page = framed(Page([f"in/{path}" if path != "elsewhere" else path for path in paths], [b""] * len(paths)))
    async with behaving(welcoming(page)) as port, linked(port) as peers:
        with pytest.raises(PeerUnreachable, match="listed"):
            async for _ in peers.list(OTHER, Prefix("in/"), None):
                pass
