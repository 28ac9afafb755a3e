"""The one module that knows the HTTP library: a request goes out, a reply comes back, foreign exceptions end here.

Two adapters of one port. `AsyncTransport` waits on the event loop. `BlockingTransport` has the same `async` methods, but they never
suspend: it waits in the system call. So everything above is written once, as coroutines, and `accord.Client` runs each to its end
with a single `send` (`client.blocking`). Rejected: a loop in a thread of its own (each block would cross two threads, Ctrl-C would have
to be carried over, and a script that reads one file would pay for importing asyncio), and code generated twice from one source.

A body goes out as it is read, a block at a time; waiting for leave to send it is `client.expect`'s. Which server is asked, and what a
status means, is left to `client.session` and `client.writing`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, ParamSpec, Protocol, TypeVar

import httpcore2
import httpx2

from accord.client.expect import Backend, async_backend
from accord.errors import UsageError

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 30.0
"""Longer than a server's `hash_wait` of 10 s: a server that first has to hash a copy is working, not dead."""
MAX_CONNECTIONS: Final = 32
KEEP_IDLE_S: Final = 5.0
MAX_CONNECT_RETRIES: Final = 1
"""A kept-alive connection that the server closed meanwhile is tried once more, on a new one."""

Given = ParamSpec("Given")
Made = TypeVar("Made")


Body = Iterable[bytes] | AsyncIterable[bytes]


class ServerUnusable(Exception):
    """No reply, or the rest of one, is to be had from this server. The text says why; never leaves `accord.client`.

    `is_untouched`: there was no connection, so that the request has certainly done nothing.
    """

    def __init__(self, reason: str, *, is_untouched: bool = False) -> None:
        super().__init__(reason)
        self.is_untouched = is_untouched


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
    """Not safe to share between threads."""

    async def send(self, method: str, url: str, headers: Mapping[str, str]) -> Reply:
        """A request that changes nothing. Raises `ServerUnusable`. A dropped kept-alive connection is retried here; everything else
        by the caller."""
        ...

    async def submit(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None, patience_s: float
    ) -> Reply:
        """A request that may change something: never sent twice. A server may keep silent for `patience_s` more than usual.

        Raises `ServerUnusable`, and what `body` raises.
        """
        ...

    async def perform(self, work: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        """Do blocking work (the disk) where it holds nobody up."""
        ...

    async def close(self) -> None: ...


class BlockingTransport:
    def __init__(self, *, timeout_s: float = READ_TIMEOUT_S, tls: bool = True) -> None:
        self._client = httpx2.Client(transport=_PooledTransport(tls), **_options(timeout_s))
        self._timeout_s = timeout_s

    async def send(self, method: str, url: str, headers: Mapping[str, str]) -> Reply:
        for attempt in range(MAX_CONNECT_RETRIES + 1):
            try:
                request = self._client.build_request(method, url, headers=dict(headers))
                return _BlockingReply(self._client.send(request, stream=True))
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                if attempt == MAX_CONNECT_RETRIES or not _was_dropped(error):
                    raise ServerUnusable(_reason(error)) from error
        raise AssertionError("unreachable")

    async def submit(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None, patience_s: float
    ) -> Reply:
        if body is not None and not isinstance(body, Iterable):
            raise UsageError("Asynchronous content can be read by AsyncClient only.")
        content = None if body is None else _generated(body)
        timeout = _timeout(self._timeout_s, patience_s)
        try:
            request = self._client.build_request(method, url, headers=dict(headers), content=content, timeout=timeout)
            return _BlockingReply(self._client.send(request, stream=True))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ServerUnusable(_reason(error), is_untouched=_never_sent(error)) from error

    async def perform(self, work: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        return work(*args, **kwargs)

    async def close(self) -> None:
        self._client.close()


class AsyncTransport:
    def __init__(self, *, timeout_s: float = READ_TIMEOUT_S, tls: bool = True) -> None:
        self._client = httpx2.AsyncClient(transport=_AsyncPooledTransport(tls), **_options(timeout_s))
        self._timeout_s = timeout_s

    async def send(self, method: str, url: str, headers: Mapping[str, str]) -> Reply:
        for attempt in range(MAX_CONNECT_RETRIES + 1):
            try:
                request = self._client.build_request(method, url, headers=dict(headers))
                return _AsyncReply(await self._client.send(request, stream=True))
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                if attempt == MAX_CONNECT_RETRIES or not _was_dropped(error):
                    raise ServerUnusable(_reason(error)) from error
        raise AssertionError("unreachable")

    async def submit(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None, patience_s: float
    ) -> Reply:
        content = None if body is None else self._blocks(body)
        timeout = _timeout(self._timeout_s, patience_s)
        try:
            request = self._client.build_request(method, url, headers=dict(headers), content=content, timeout=timeout)
            return _AsyncReply(await self._client.send(request, stream=True))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ServerUnusable(_reason(error), is_untouched=_never_sent(error)) from error

    async def _blocks(self, body: Body) -> AsyncIterator[bytes]:
        """A blocking source is read where it holds nobody up."""
        if isinstance(body, AsyncIterable):
            async for block in body:
                yield block
            return
        blocks = iter(body)
        while block := await self.perform(next, blocks, b""):
            yield block

    async def perform(self, work: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        import asyncio  # here, as the blocking face does without: a tenth of a second that `accord get` saves

        return await asyncio.to_thread(work, *args, **kwargs)

    async def close(self) -> None:
        await self._client.aclose()


class _PooledTransport(httpx2.HTTPTransport):
    """The library's own, over connections that wait for leave to send a body."""

    def __init__(self, tls: bool) -> None:
        self._pool = httpcore2.ConnectionPool(**_pool_options(tls), network_backend=Backend())


class _AsyncPooledTransport(httpx2.AsyncHTTPTransport):
    def __init__(self, tls: bool) -> None:
        self._pool = httpcore2.AsyncConnectionPool(**_pool_options(tls), network_backend=async_backend())


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


def _options(timeout_s: float) -> dict[str, Any]:
    """`trust_env` is off: proxies and .netrc of the environment are for the web, not for a server named by its address.

    `Accept-Encoding: identity`, because a digest is of the file's bytes, and byte ranges must count them.
    """
    return {
        "timeout": _timeout(timeout_s),
        "headers": {"User-Agent": "accord", "Accept-Encoding": "identity"},
        "trust_env": False,
        "follow_redirects": False,
    }


def _pool_options(tls: bool) -> dict[str, Any]:
    """Where no address is https, the context trusts nobody: loading the certificates would cost more than most commands do."""
    return {
        "ssl_context": httpx2.create_ssl_context(trust_env=False) if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        "max_connections": MAX_CONNECTIONS,
        "max_keepalive_connections": MAX_CONNECTIONS,
        "keepalive_expiry": KEEP_IDLE_S,
    }


def _timeout(timeout_s: float, patience_s: float = 0.0) -> httpx2.Timeout:
    return httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S), read=timeout_s + patience_s)


def _generated(body: Iterable[bytes]) -> Iterator[bytes]:
    """A generator of our own: the library would take a list or bytes for something to be sent as a whole."""
    yield from body


def _never_sent(error: Exception) -> bool:
    return isinstance(
        error,
        httpx2.ConnectError
        | httpx2.ConnectTimeout
        | httpx2.PoolTimeout
        | httpx2.UnsupportedProtocol
        | httpx2.InvalidURL,
    )


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
