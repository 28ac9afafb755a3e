"""Where HTTP meets the operating system: a port to listen on, uvicorn set up for Accord, and an orderly end.

What is answered is left to the handlers and to the application; in which order the parts of a server start and stop, to `serving`.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn
from starlette.applications import Starlette

from accord.errors import CannotStart
from accord.server.peer_service import PeerService
from accord.server.protocol import AccordProtocol, Handlers

STOP_PATIENCE_S = 5
STOP_POLL_S = 0.05
KEEP_ALIVE_S = 75
BACKLOG_CONNECTIONS = 2048
KEPT_MEMORY_BYTES = 32 * 1024 * 1024
"""So much freed memory stays with the process: a few transfers' blocks."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h of the GNU C library
ARENAS = 2
"""With one for nearly each thread, which is the custom, blocks that pass from thread to thread are kept in all of them: eight large
downloads at once took 150 MiB, and with two of them 107."""


class HttpServer(uvicorn.Server):
    """uvicorn's server without its signal handlers: it would raise the signal again before the store is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Take no new requests and let those under way end; told twice, wait for nobody."""
        self.force_exit = self.should_exit
        self.should_exit = True


def keep_freed_memory() -> None:
    """Each block of a body is memory of its own. Given back to the system and asked for again, every block costs the kernel clearing
    its pages: a tenth of the processor time of a long body. Does nothing where the C library has no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_MEMORY_BYTES)
        mallopt(_M_MMAP_THRESHOLD, KEPT_MEMORY_BYTES)
        mallopt(_M_ARENA_MAX, ARENAS)


@contextmanager
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Closed again at the end. Raises `CannotStart`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise _cannot_listen(host, port, error) from error
        yield listener


def _cannot_listen(host: str, port: int, error: OSError) -> CannotStart:
    if error.errno == errno.EADDRINUSE:
        return CannotStart(f"Port {port} on {host} is in use: another program (another accord?) listens there.")
    return CannotStart(f"The server cannot listen on {host}:{port}: {error.strerror}.")


def http_server(app: Starlette, handlers: Handlers) -> HttpServer:
    return HttpServer(
        uvicorn.Config(
            app,
            http=partial(AccordProtocol, handlers),  # type: ignore[arg-type]  # called, never subclassed
            loop="none",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_PATIENCE_S,
        )
    )


async def until_listening(http: HttpServer, running: asyncio.Task[None], host: str, port: int) -> None:
    """Raises `CannotStart`, or whatever ended `running`, the task that serves."""
    while not http.started:
        if running.done():
            error = running.exception()
            raise (
                _cannot_listen(host, port, error)
                if isinstance(error, OSError)
                else error or CannotStart("HTTP ended at once.")
            )
        await asyncio.sleep(0)


async def until_stopped(http: HttpServer, answering: PeerService, running: asyncio.Task[None]) -> None:
    """Clients and other servers end what they have begun, for a while; then all connections are closed, and the HTTP server ends."""
    if not running.done():
        http.should_exit = True
        waited = asyncio.create_task(_all_finished(http, answering))
        await asyncio.wait([waited], timeout=STOP_PATIENCE_S)
        waited.cancel()
    await answering.close()
    await asyncio.wait([running])


async def _all_finished(http: HttpServer, answering: PeerService) -> None:
    """Until neither clients nor other servers have anything under way, or nobody is to be waited for any more."""
    finishing = asyncio.create_task(answering.finish())
    try:
        # uvicorn keeps a plain set, and tells nobody.
        while (http.server_state.connections or not finishing.done()) and not http.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(STOP_POLL_S)
    finally:
        finishing.cancel()
