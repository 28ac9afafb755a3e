"""`Expect: 100-continue` beneath the HTTP library, which sends it like any field but does not wait for the answer.

The library writes a request's head, then its body, then reads. The streams here stand between it and the socket: behind a head that
expects it they wait until the server has said something. `100 Continue` lets the body follow. Any other answer is kept for the library
to read, and the writing ends with a `WriteError`: on that it goes on to read the answer, and not one byte of the body is sent.

A server that says nothing for `MAX_WAIT_S` gets the body all the same (RFC 9110, section 10.1.1).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any, Final

import httpcore2

MAX_WAIT_S: Final = 12.0
"""Longer than a server waits for a changed copy to be hashed (`hash_wait`, 10 s) before it knows whether to refuse."""
EXPECTED: Final = "100-continue"
_FIELD: Final = b"\r\nexpect: 100-continue\r\n"
_STATUS_END: Final = len(b"HTTP/1.1 100")
_READ_BYTES: Final = 64 * 1024


class _Early:
    """What the server said before the library asked for it, and whether the next write begins a request."""

    def __init__(self) -> None:
        self.said = b""
        self.is_at_head = True

    def take(self, max_bytes: int) -> bytes:
        """Reading is what ends a request, so that what is written after it is the head of the next one."""
        self.is_at_head = True
        taken, self.said = self.said[:max_bytes], self.said[max_bytes:]
        return taken

    def expects(self, buffer: bytes) -> bool:
        """Only a head is looked at: a body may contain anything."""
        is_head, self.is_at_head = self.is_at_head, False
        return is_head and _FIELD in buffer.lower()

    def is_enough(self, more: bytes) -> bool:
        """Whether the status is there. Raises `WriteError` when it is the answer itself, `ReadError` at the end of the connection."""
        if not more:
            raise httpcore2.ReadError("the server closed the connection before it took the body")
        self.said += more
        if len(self.said) < _STATUS_END:
            return False
        if self.said[_STATUS_END - 3 : _STATUS_END - 2] != b"1":
            raise httpcore2.WriteError("the server answered before the body")
        return True


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._early = _Early()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._early.take(max_bytes) or self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        expects = self._early.expects(buffer)
        self._stream.write(buffer, timeout)
        if not expects:
            return
        try:
            while not self._early.is_enough(self._stream.read(_READ_BYTES, MAX_WAIT_S)):
                pass
        except httpcore2.ReadTimeout:
            return

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _AsyncStream(httpcore2.AsyncNetworkStream):
    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._early = _Early()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._early.take(max_bytes) or await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        expects = self._early.expects(buffer)
        await self._stream.write(buffer, timeout)
        if not expects:
            return
        try:
            while not self._early.is_enough(await self._stream.read(_READ_BYTES, MAX_WAIT_S)):
                pass
        except httpcore2.ReadTimeout:
            return

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        return _AsyncStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class Backend(httpcore2.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        return _Stream(super().connect_tcp(host, port, timeout, local_address, socket_options))


def async_backend() -> httpcore2.AsyncNetworkBackend:
    """Made when it is needed: it imports the loop's libraries, which the blocking client does without."""

    class AsyncBackend(httpcore2.AnyIOBackend):
        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[Any] | None = None,
        ) -> httpcore2.AsyncNetworkStream:
            return _AsyncStream(await super().connect_tcp(host, port, timeout, local_address, socket_options))

    return AsyncBackend()
