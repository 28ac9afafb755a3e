"""Who gets in, and what those learn who do not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import ConfigError, PeerUnreachable
from accord.model.names import FilePath, ServerName
from accord.model.verdict import Unreachable
from accord.peers import handshake
from accord.peers.cluster import PeerLinks
from accord.peers.dial import Address, dial
from accord.peers.framing import Deframer, framed
from accord.peers.handshake import Identity, Role
from accord.peers.message import Message
from accord.peers.port import PeerState
from accord.peers.wire import (
    PROTOCOL_VERSION,
    Challenge,
    Check,
    Fetch,
    Hello,
    Ping,
    Proof,
    Refused,
    decode,
    encode,
    greetings,
)
from accord.server.peer_service import PeerService
from tests.peers.loopback import KEY, ME, OTHER, THIRD, SmallStore, linked, listening, service, settled

keys = st.binary(min_size=1, max_size=40)
nonces = st.binary(min_size=32, max_size=32)
names = st.sampled_from([ME, OTHER, THIRD])

UPGRADE = b"GET /peer/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: accord-peer\r\n\r\n"


@given(keys, keys, nonces, nonces, names, names)
def test_a_proof_holds_for_its_key_role_and_words_only(
    key: bytes, other_key: bytes, nonce: bytes, other_nonce: bytes, name: ServerName, expected: ServerName
) -> None:
    hello = encode(handshake.hello(Identity("home", name, key), expected, nonce))
    challenge = encode(Challenge(PROTOCOL_VERSION, other_nonce))
    mac = handshake.proof(key, Role.CALLER, hello, challenge)
    assert handshake.proves(mac, key, Role.CALLER, hello, challenge)
    assert not handshake.proves(mac, key, Role.CALLEE, hello, challenge)
    assert not handshake.proves(mac, key, Role.CALLER, hello + challenge[:1], challenge[1:])
    assert handshake.proves(mac, other_key, Role.CALLER, hello, challenge) is _same(key, other_key)
    if nonce != other_nonce:
        assert not handshake.proves(mac, key, Role.CALLER, hello, encode(Challenge(PROTOCOL_VERSION, nonce)))


def _same(key: bytes, other: bytes) -> bool:
    """HMAC pads keys shorter than a block with zeros (RFC 2104, section 2)."""
    return key.rstrip(b"\x00") == other.rstrip(b"\x00")


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(Identity("home", ME, b"secret"))


def test_an_empty_key_is_no_key() -> None:
    with pytest.raises(ConfigError):
        Identity("home", ME, b"")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": b"another key"}, "has another cluster key than this server"),
        ({"cluster": "away"}, "belongs to another cluster than 'home'"),
        ({"me": THIRD, "known": [ME, OTHER]}, "it is 'server3', not 'server2'"),
        ({"known": [THIRD]}, "does not know a server named 'server1'"),
    ],
)
async def test_a_peer_that_will_not_talk_says_why(changes: dict[str, object], reason: str) -> None:
    async with listening(service(SmallStore(), **changes)) as port, linked(port) as peers:
        status = await settled(peers, PeerState.REFUSED)
        assert status.reason == reason
        assert await peers.ask(FilePath("a")) == {OTHER: Unreachable(reason)}


async def test_another_protocol_version_is_said_clearly() -> None:
    answering = service(SmallStore())
    answering.me = replace(answering.me, version=PROTOCOL_VERSION + 1)
    async with listening(answering) as port, linked(port) as peers:
        status = await settled(peers, PeerState.REFUSED)
        assert status.reason == f"speaks protocol {PROTOCOL_VERSION + 1}, this server speaks {PROTOCOL_VERSION}"


async def test_a_server_that_calls_itself_refuses_itself() -> None:
    async with listening(service(SmallStore(), known=[ME])) as port, linked(port, me=OTHER) as peers:
        assert (await settled(peers, PeerState.REFUSED)).reason == "does not know a server named 'server2'"


async def test_a_refused_peer_is_welcome_once_the_reason_is_gone() -> None:
    answering = service(SmallStore(), key=b"another key")
    async with listening(answering) as port, linked(port) as peers:
        await settled(peers, PeerState.REFUSED)
        answering.me = replace(answering.me, key=KEY)
        await settled(peers, PeerState.UP)


class Stranger:
    """Somebody who speaks frames by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._deframer = reader, writer, Deframer(1 << 20)
        self.received: list[bytes] = []

    @classmethod
    async def connected(cls, port: int) -> Stranger:
        stranger = cls(*await asyncio.open_connection("127.0.0.1", port))
        stranger.write(UPGRADE)
        head = await stranger._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        return stranger

    def write(self, raw: bytes) -> None:
        self._writer.write(raw)

    def say(self, message: Message) -> None:
        self.write(framed(message))

    async def hears(self) -> object:
        """The next message, or None at the end."""
        while not self.received:
            raw = await self._reader.read(65536)
            if not raw:
                return None
            self.received += [payload for _, payload in self._deframer.feed(raw)]
        return decode(greetings, self.received.pop(0))

    async def leaves(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            pass


HELLO = Hello(PROTOCOL_VERSION, "home", "server1", "server2", b"n" * 32)


@pytest.mark.parametrize(
    "first",
    [
        framed(Check(1, ["hello.txt"], 0, False)),
        framed(Ping(1)),
        framed(Fetch("hello.txt", b"d" * 32, 0, None, 100)),
        framed(Proof(b"m" * 32)),
        b"\x00\x00\x10\x01\x00",
        b"\x00\x00\x00\x05\x01hello",
        b"\x00\x00\x00\x05\x00hello",
        b"\xff" * 100,
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_whoever_does_not_greet_learns_nothing(first: bytes) -> None:
    answering = service(SmallStore({"hello.txt": b"x"}))
    async with listening(answering) as port:
        stranger = await Stranger.connected(port)
        stranger.write(first)
        assert await stranger.hears() == Refused("greeting", PROTOCOL_VERSION, "")
        assert await stranger.hears() is None
        await stranger.leaves()
        assert not answering.proven


async def test_whoever_has_no_key_learns_nothing() -> None:
    async with listening(service(SmallStore({"hello.txt": b"x"}))) as port:
        stranger = await Stranger.connected(port)
        stranger.say(HELLO)
        challenge = await stranger.hears()
        assert isinstance(challenge, Challenge)
        mac = handshake.proof(b"guess", Role.CALLER, encode(HELLO), encode(challenge))
        stranger.say(Proof(mac))
        stranger.say(Check(1, ["hello.txt"], 0, False))
        assert await stranger.hears() == Refused("key", PROTOCOL_VERSION, "")
        assert await stranger.hears() is None
        await stranger.leaves()


async def test_a_proof_cannot_be_used_again() -> None:
    async with listening(service(SmallStore())) as port:
        first = await Stranger.connected(port)
        first.say(HELLO)
        challenge = await first.hears()
        assert isinstance(challenge, Challenge)
        mac = handshake.proof(KEY, Role.CALLER, encode(HELLO), encode(challenge))
        second = await Stranger.connected(port)
        second.say(HELLO)
        assert isinstance(await second.hears(), Challenge)
        second.say(Proof(mac))
        assert await second.hears() == Refused("key", PROTOCOL_VERSION, "")
        await first.leaves()
        await second.leaves()


async def test_an_impostor_cannot_send_a_server_its_own_proof_back() -> None:
    """Somebody on the peer's address, without the key, answers the caller with what the caller's own endpoint says."""
    mine = service(SmallStore(), me=ME, known=[OTHER])
    async with listening(mine) as my_port:

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", my_port)

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while raw := await source.read(65536):
                    sink.write(raw)

            try:
                await asyncio.gather(pump(reader, back), pump(there, writer))
            finally:
                back.transport.abort()

        from tests.peers.loopback import behaving

        async with behaving(relay) as port, linked(port) as peers:
            status = await settled(peers, PeerState.REFUSED)
            assert status.reason == "it is 'server1', not 'server2'"
        assert not mine.proven


async def test_a_greeting_that_is_not_finished_ends_in_time() -> None:
    answering = service(SmallStore(), greeting_limit_s=0.1)
    async with listening(answering) as port:
        stranger = await Stranger.connected(port)
        stranger.write(framed(HELLO)[:10])
        assert await stranger.hears() == Refused("greeting", PROTOCOL_VERSION, "")
        assert await stranger.hears() is None
        await stranger.leaves()


async def test_too_many_unproven_connections_are_turned_away() -> None:
    answering: PeerService = service(SmallStore())
    async with listening(answering) as port:
        strangers = [await Stranger.connected(port) for _ in range(65)]
        assert await strangers[-1].hears() == Refused("busy", PROTOCOL_VERSION, "")
        for stranger in strangers:
            await stranger.leaves()


@pytest.mark.parametrize(
    "url",
    ["ftp://x", "server2:65002", "http://", "http://x:99999999", "http://a@b:1", "http://x?y", "http://a..b:6500"],
)
def test_an_address_that_is_none_is_said(url: str) -> None:
    with pytest.raises(ConfigError, match="no address"):
        Address.parse(url)


async def test_a_host_that_cannot_even_be_looked_up_is_one_that_cannot_be_reached() -> None:
    """Anything else would end the task that dials, and with it every later attempt."""
    nowhere = Address("http://a..b:6500", "a..b", 6500, None)
    with pytest.raises(PeerUnreachable, match="no name of a host"):
        await dial(nowhere, Identity("home", ME, KEY), OTHER, timeout_s=5)


def test_addresses() -> None:
    assert Address.parse("http://127.0.0.1:65002").port == 65002
    assert (
        Address.parse("https://[::1]/base/")
        .upgrade_request()
        .startswith(b"GET /base/peer/stream HTTP/1.1\r\nHost: [::1]:443\r\n")
    )
    assert PeerLinks(ME, "home", KEY, {OTHER: "http://x:1"}, peer_timeout_s=1).names == (OTHER,)
