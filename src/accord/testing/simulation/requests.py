"""What a client asks of one server, as the routes of `accord.server` do it: run on the server's behalf, gone with it."""

from __future__ import annotations

from dataclasses import dataclass

from accord.engine.deciding import Wish
from accord.engine.read import Reading, Verify
from accord.engine.transfer import CopyFailed
from accord.engine.write import Written
from accord.errors import AccordError
from accord.model.names import Digest, DigestPrefix, FilePath
from accord.model.verdict import HeldVersion, Verdict
from accord.testing.simulation.server import Server
from accord.testing.simulation.standins import BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Body:
    """What came of a version asked for: the bytes [start, stop) where all of them came, else how it was broken off after `so_far`."""

    digest: Digest
    start: int
    content: bytes | None
    so_far: bytes
    error: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    verdict: Verdict
    reading: Reading
    bodies: tuple[Body, ...]


async def read(
    server: Server, path: FilePath, verify: Verify, *, wants_content: bool, part: tuple[int, int] | None
) -> Read:
    """A verdict and, where they are wanted, the bytes of all versions that somebody holds."""
    reading = await server.reader.read(path, verify)
    try:
        bodies = []
        if wants_content:
            held = [one for one in reading.verdict.versions if one.version.digest is not None and one.holders]
            bodies = [await _body(server, reading, one, part) for one in held]
        return Read(reading.verdict, reading, tuple(bodies))
    finally:
        reading.close()


async def _body(server: Server, reading: Reading, held: HeldVersion, part: tuple[int, int] | None) -> Body:
    digest = held.version.digest
    assert digest is not None
    so_far, start = bytearray(), 0
    try:
        body = server.reader.body(reading, held)
        if part is None:
            blocks = body.blocks()
        else:
            start, stop = min(part[0], body.size), min(part[1], body.size)
            blocks = body.part(start, stop)
        async for block in blocks:
            so_far += block
    except CopyFailed as failure:
        await server.reader.copy_failed(failure)
        return Body(digest, start, None, bytes(so_far), failure.detail)
    except AccordError as error:
        return Body(digest, start, None, bytes(so_far), error.detail)
    return Body(digest, start, bytes(so_far), bytes(so_far))


async def put(server: Server, path: FilePath, content: bytes, wish: Wish) -> Written:
    is_here = len(content) <= BLOCK_BYTES
    writing = await server.writer.begin(path, wish, size=len(content), is_here=is_here)
    try:
        for at in range(0, len(content), BLOCK_BYTES):
            await writing.write(content[at : at + BLOCK_BYTES])
        return await writing.finish()
    finally:
        await writing.abort()


async def delete(server: Server, path: FilePath, wish: Wish) -> Written:
    return await server.writer.delete(path, wish)


async def copy(
    server: Server, source: FilePath, version: DigestPrefix | None, path: FilePath, wish: Wish, *, moves: bool
) -> Written:
    return await server.copier.copy(source, version, path, wish, moves=moves)
