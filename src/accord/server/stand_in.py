"""Who reads a connection for a while, into memory of its own choosing, in place of the connection's protocol."""

from __future__ import annotations

import asyncio


class StandIn(asyncio.BufferedProtocol):
    """Has what arrives; all else is still told to `home`, the protocol that it stands in for."""

    def __init__(self, home: asyncio.Protocol) -> None:
        self._home = home

    def eof_received(self) -> bool | None:
        return self._home.eof_received()

    def pause_writing(self) -> None:
        self._home.pause_writing()

    def resume_writing(self) -> None:
        self._home.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._home.connection_lost(exc)
