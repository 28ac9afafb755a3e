"""The one module that knows the HTTP library: a request goes out, a reply comes back, foreign exceptions end here.

Two adapters of one port. `AsyncTransport` waits on the event loop. `BlockingTransport` has the same `async` methods, but they never
suspend: it waits in the system call. So everything above is written once, as coroutines, and `accord.Client` runs each to its end
with a single `send` (`client.blocking`). Rejected: a loop in a thread of its own (each block would cross two threads, Ctrl-C would have
to be carried over, and a script that reads one file would pay for importing asyncio), and code generated twice from one source.

Which server is asked, and what a status means, is left to `client.session`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, ParamSpec, Protocol, TypeVar

import httpx2

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 30.0
"""Longer than a server's `hash_wait` of 10 s: a server that first has to hash a copy is working, not dead."""
MAX_CONNECTIONS: Final = 32
MAX_CONNECT_RETRIES: Final = 1
"""A kept-alive connection that the server closed meanwhile is tried once more, on a new one."""

Given = ParamSpec("Given")
Made = TypeVar("Made")


class ServerUnusable(Exception):
    """No reply, or the rest of one, is to be had from this server. The text says why; never leaves `accord.client`."""


class Reply(Protocol):
    """A status and headers (names in lower case); the body is yet to be read. Close exactly once."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `ServerUnusable` when it breaks off before its announced end."""
        ...

    async def close(self) -> None: ...


class Transport(Protocol):
    """Sends idempotent requests. Not safe to share between threads."""

    async def send(self, method: str, url: str, headers: Mapping[str, str]) -> Reply:
        """Raises `ServerUnusable`. A dropped kept-alive connection is retried here; everything else by the caller."""
        ...

    async def perform(self, work: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        """Do blocking work (the disk) where it holds nobody up."""
        ...

    async def close(self) -> None: ...


class BlockingTransport:
    def __init__(self, *, timeout_s: float = READ_TIMEOUT_S, tls: bool = True) -> None:
        self._client = httpx2.Client(**_options(timeout_s, tls))

    async def send(self, method: str, url: str, headers: Mapping[str, str]) -> Reply:
        for attempt in range(MAX_CONNECT_RETRIES + 1):
            try:
                request = self._client.build_request(method, url, headers=dict(headers))
                return _BlockingReply(self._client.send(request, stream=True))
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                if attempt == MAX_CONNECT_RETRIES or not _was_dropped(error):
                    raise ServerUnusable(_reason(error)) from error
        raise AssertionError("unreachable")

    async def perform(self, work: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        return work(*args, **kwargs)

    async def close(self) -> None:
        self._client.close()


class AsyncTransport:
    def __init__(self, *, timeout_s: float = READ_TIMEOUT_S, tls: bool = True) -> None:
        self._client = httpx2.AsyncClient(**_options(timeout_s, tls))

    async def send(self, method: str, url: str, headers: Mapping[str, str]) -> Reply:
        for attempt in range(MAX_CONNECT_RETRIES + 1):
            try:
                request = self._client.build_request(method, url, headers=dict(headers))
                return _AsyncReply(await self._client.send(request, stream=True))
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                if attempt == MAX_CONNECT_RETRIES or not _was_dropped(error):
                    raise ServerUnusable(_reason(error)) from error
        raise AssertionError("unreachable")

    async def perform(self, work: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        import asyncio  # here, as the blocking face does without: a tenth of a second that `accord get` saves

        return await asyncio.to_thread(work, *args, **kwargs)

    async def close(self) -> None:
        await self._client.aclose()


class _BlockingReply:
    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self._response.iter_raw():
                yield chunk
        except httpx2.HTTPError as error:
            raise ServerUnusable(_reason(error)) from error

    async def close(self) -> None:
        self._response.close()


class _AsyncReply:
    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.aiter_raw():
                yield chunk
        except httpx2.HTTPError as error:
            raise ServerUnusable(_reason(error)) from error

    async def close(self) -> None:
        await self._response.aclose()


def _options(timeout_s: float, tls: bool) -> dict[str, Any]:
    """`trust_env` is off: proxies and .netrc of the environment are for the web, not for a server named by its address.

    `Accept-Encoding: identity`, because a digest is of the file's bytes, and byte ranges must count them.
    Where no address is https, the context trusts nobody: loading the certificates would cost more than most commands do.
    """
    return {
        "timeout": httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
        "limits": httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
        "headers": {"User-Agent": "accord", "Accept-Encoding": "identity"},
        "verify": httpx2.create_ssl_context(trust_env=False) if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        "trust_env": False,
        "follow_redirects": False,
    }


def _was_dropped(error: Exception) -> bool:
    return isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.WriteError)


def _reason(error: Exception) -> str:
    """In a person's words, as the library's are for programmers."""
    match error:
        case httpx2.ConnectTimeout():
            return "no connection in time"
        case httpx2.TimeoutException():
            return "no answer in time"
        case httpx2.ConnectError():
            cause = str(error)
            return "connection refused" if "refused" in cause.lower() else f"no connection ({cause})"
        case httpx2.RemoteProtocolError() | httpx2.ReadError():
            return "the connection broke off"
        case _:
            return str(error) or type(error).__name__
