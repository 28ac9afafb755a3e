"""What two servers say to each other, counted: a plain TCP relay between them, on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE_BYTES = 256 * 1024


class Relay:
    """Passes on what comes at `port` to `target`, and back. `passed_bytes` is the sum of both directions so far."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.passed_bytes = 0
        self.target = target
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=2 * _PIECE_BYTES)
        self.port = server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target, limit=2 * _PIECE_BYTES)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE_BYTES):
                self.passed_bytes += len(piece)
                writer.write(piece)
                await writer.drain()
        writer.close()


@contextmanager
def relays(targets: list[int]) -> Iterator[list[Relay]]:
    """A relay to each of the ports."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = [Relay(port) for port in targets]
    try:
        for relay in made:
            asyncio.run_coroutine_threadsafe(relay.start(), loop).result(10)
        yield made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
