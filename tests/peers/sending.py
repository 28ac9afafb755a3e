"""Uploads as tests make them."""

from __future__ import annotations

from typing import Any

from accord.model.history import Deed, Event
from accord.model.names import FilePath
from accord.model.versions import EMPTY_CLOCK, Actor, Clock, Dot, Version, write
from accord.peers.port import Upload
from accord.store.port import BLOCK_BYTES
from tests.peers.loopback import (
    OTHER,
    digest_of,
)

PATH = FilePath("folder/notes.txt")
SMALL = b"a few bytes"
LARGE = bytes(range(251)) * (3 * BLOCK_BYTES // 251) + b"the end"


def made(content: bytes | None = SMALL) -> tuple[Clock, list[Event]]:
    digest = None if content is None else digest_of(content)
    version = Version(digest, len(content or b""), 7, "Zoë")
    clock = write(EMPTY_CLOCK, {}, Actor("server1/x"), version)
    return clock, [Event(Dot(Actor("server1/x"), 1), version, 8, Deed.PUT, (), "why", "from")]


async def sent(upload: Upload, content: bytes = SMALL, *, piece_bytes: int = BLOCK_BYTES) -> None:
    for at in range(0, len(content), piece_bytes):
        await upload.write(content[at : at + piece_bytes])
    await upload.finish(digest_of(content))


async def many(upload: Upload, block: bytes, times: int) -> None:
    for _ in range(times):
        await upload.write(block)


async def put(peers: Any, content: bytes = SMALL, *, piece_bytes: int = BLOCK_BYTES, size: int | None = None) -> None:
    upload: Upload = peers.upload(OTHER, size)
    try:
        await sent(upload, content, piece_bytes=piece_bytes)
        await upload.adopt(PATH, *made(content))
    finally:
        await upload.close()
