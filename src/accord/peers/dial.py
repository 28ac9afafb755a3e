"""Calling a peer: address, connection, HTTP upgrade, and the caller's side of the handshake.

What comes back is an authenticated stream; what is said on it is left to `link` and `transfers`.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from accord.errors import ConfigError, PeerFailed, PeerRefused, PeerUnreachable
from accord.model.names import ServerName
from accord.peers import handshake
from accord.peers.framing import MAX_FRAME_BYTES, framed
from accord.peers.handshake import Identity, Reason, Role
from accord.peers.stream import Stream
from accord.peers.wire import (
    NONCE_BYTES,
    STREAM_PATH,
    UPGRADE_TOKEN,
    Challenge,
    Greeting,
    Proof,
    Refused,
    Welcome,
    decode,
    encode,
    greetings,
)

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_GREETINGS = 4


@dataclass(frozen=True, slots=True)
class Address:
    """Where a peer listens. `base` is the path before `STREAM_PATH`, mostly empty."""

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    base: str = ""

    @classmethod
    def parse(cls, url: str, tls: ssl.SSLContext | None = None) -> Address:
        """`tls` is for https only; without it the system's certificates are trusted. Raises `ConfigError`."""
        try:
            parts = urlsplit(url)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
            (parts.hostname or "").encode("idna")
        except ValueError as error:
            raise ConfigError(f"'{url}' is no address of a server: {error}.") from error
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ConfigError(f"'{url}' is no address of a server: write http://HOST:PORT or https://HOST:PORT.")
        context = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        return cls(url, parts.hostname, port, context, parts.path.rstrip("/"))

    def upgrade_request(self) -> bytes:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            f"GET {self.base}{STREAM_PATH} HTTP/1.1\r\nHost: {host}:{self.port}\r\n"
            f"Connection: Upgrade\r\nUpgrade: {UPGRADE_TOKEN}\r\n\r\n"
        ).encode("latin-1", "replace")


class _Greeter:
    """Receives until the handshake is over: at most a few messages, kept for the coroutine that conducts it."""

    def __init__(self) -> None:
        self._received: asyncio.Queue[bytes | PeerFailed] = asyncio.Queue(_MAX_GREETINGS)

    def message(self, payload: bytes) -> None:
        self._put(payload)

    def data(self, piece: bytes) -> None:
        raise PeerRefused("answers, but is no Accord server")

    def lost(self, error: PeerFailed) -> None:
        while self._received.full():
            self._received.get_nowait()
        self._put(error)

    def _put(self, received: bytes | PeerFailed) -> None:
        try:
            self._received.put_nowait(received)
        except asyncio.QueueFull:
            raise PeerRefused("answers, but is no Accord server") from None

    async def next(self) -> tuple[Greeting, bytes]:
        received = await self._received.get()
        if isinstance(received, PeerFailed):
            raise received
        try:
            return decode(greetings, received), received
        except PeerUnreachable as error:
            raise PeerRefused("answers, but is no Accord server") from error


async def dial(
    address: Address,
    me: Identity,
    expected: ServerName,
    *,
    timeout_s: float,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> Stream:
    """An authenticated stream, its receiver still to be set. Raises `PeerUnreachable` or `PeerRefused`, within `timeout_s`."""
    greeter = _Greeter()
    hello = handshake.hello(me, expected, random_bytes(NONCE_BYTES))
    stream = Stream(greeter, framed(hello))
    try:
        async with asyncio.timeout(timeout_s):
            await _connect(address, stream)
            stream.write(address.upgrade_request())
            await _greet(stream, greeter, me, expected, encode(hello))
    except TimeoutError:
        stream.end(PeerUnreachable("timed out"))
        raise PeerUnreachable(f"did not answer the greeting within {timeout_s:g} s") from None
    except BaseException:
        stream.end(PeerUnreachable("given up"))
        raise
    stream.allow(MAX_FRAME_BYTES)
    return stream


async def _connect(address: Address, stream: Stream) -> None:
    try:
        await asyncio.get_running_loop().create_connection(lambda: stream, address.host, address.port, ssl=address.tls)
    except ssl.SSLCertVerificationError as error:
        raise PeerRefused(f"has a certificate that is not trusted ({error.verify_message})") from error
    except ConnectionRefusedError as error:
        raise PeerUnreachable("refused the connection") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise PeerUnreachable(f"cannot be connected to: {reason[:1].lower()}{reason[1:]}") from error
    except ValueError as error:  # of a name that cannot be looked up: `UnicodeError` among others
        raise PeerUnreachable("cannot be connected to: its address is no name of a host") from error


async def _greet(stream: Stream, greeter: _Greeter, me: Identity, expected: ServerName, hello: bytes) -> None:
    challenge, challenge_payload = await greeter.next()
    if not isinstance(challenge, Challenge):
        raise _not_welcome(challenge, me, expected)
    objection = handshake.version_objection(me, challenge)
    if objection is not None:
        raise PeerRefused(objection)
    stream.write(framed(Proof(handshake.proof(me.key, Role.CALLER, hello, challenge_payload))))
    welcome, _ = await greeter.next()
    if not isinstance(welcome, Welcome):
        raise _not_welcome(welcome, me, expected)
    if not handshake.proves(welcome.mac, me.key, Role.CALLEE, hello, challenge_payload):
        raise PeerRefused(handshake.WRONG_KEY)


def _not_welcome(said: Greeting, me: Identity, expected: ServerName) -> PeerFailed:
    if not isinstance(said, Refused):
        return PeerRefused("answers, but is no Accord server")
    reason = handshake.explained(said, me, expected)
    return PeerUnreachable(reason) if said.reason == Reason.BUSY.value else PeerRefused(reason)
